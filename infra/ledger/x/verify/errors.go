package verify

import "cosmossdk.io/errors"

// Errors of the module's messages, stable for programs.
var (
	ErrInvalid   = errors.Register(ModuleName, 2, "invalid request")
	ErrStranger  = errors.Register(ModuleName, 3, "not a registered provider")
	ErrSequence  = errors.Register(ModuleName, 4, "wrong sequence number")
	ErrAuthority = errors.Register(ModuleName, 5, "not governance")
	ErrModel     = errors.Register(ModuleName, 6, "model cannot be judged")
	ErrReceipt   = errors.Register(ModuleName, 7, "receipt cannot be disputed")
	ErrFunds     = errors.Register(ModuleName, 8, "bond cannot be paid")
	ErrDispute   = errors.Register(ModuleName, 9, "no such open dispute")
	ErrTurn      = errors.Register(ModuleName, 10, "not yours to move")
	ErrMove      = errors.Register(ModuleName, 11, "move does not hold")
	ErrAuditor   = errors.Register(ModuleName, 20, "not possible for an auditor")
	ErrAudit     = errors.Register(ModuleName, 21, "not possible in this audit")
	ErrCanary    = errors.Register(ModuleName, 22, "not a canary")
	ErrOpen      = errors.Register(ModuleName, 12, "too many open disputes about this provider")
)
