package payment

import "cosmossdk.io/errors"

// Errors of the module's messages, stable for programs.
var (
	ErrInvalid      = errors.Register(ModuleName, 2, "invalid request")
	ErrExists       = errors.Register(ModuleName, 3, "channel exists")
	ErrNotFound     = errors.Register(ModuleName, 4, "unknown channel")
	ErrNotParty     = errors.Register(ModuleName, 5, "not a party of the channel")
	ErrState        = errors.Register(ModuleName, 6, "not possible in the channel's state")
	ErrVoucher      = errors.Register(ModuleName, 7, "voucher not signed by the channel's signer")
	ErrReplay       = errors.Register(ModuleName, 8, "voucher already claimed")
	ErrOverClaim    = errors.Register(ModuleName, 9, "voucher exceeds the deposit")
	ErrAttribution  = errors.Register(ModuleName, 10, "attributions do not fit the claim")
	ErrFunds        = errors.Register(ModuleName, 11, "deposit not paid")
	ErrNotYet       = errors.Register(ModuleName, 12, "the challenge window still runs")
	ErrAuthority    = errors.Register(ModuleName, 13, "not governance")
	ErrDepositRange = errors.Register(ModuleName, 14, "deposit out of range")
)
