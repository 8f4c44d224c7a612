package token

import "cosmossdk.io/errors"

// Errors of the module, stable for programs.
var (
	ErrInvalid   = errors.Register(ModuleName, 2, "invalid request")
	ErrSignature = errors.Register(ModuleName, 3, "invalid signature")
	ErrUsed      = errors.Register(ModuleName, 4, "authorization is used or canceled")
	ErrEarly     = errors.Register(ModuleName, 5, "authorization is not yet valid")
	ErrExpired   = errors.Register(ModuleName, 6, "authorization is expired")
	ErrCaller    = errors.Register(ModuleName, 7, "caller must be the payee")
	ErrFunds     = errors.Register(ModuleName, 8, "transfer amount exceeds balance")
	ErrAllowance = errors.Register(ModuleName, 9, "transfer amount exceeds allowance")
	ErrRecipient = errors.Register(ModuleName, 10, "the account cannot receive money")
)
