package market

import "cosmossdk.io/errors"

// Errors of the module's messages, stable for programs.
var (
	ErrInvalid      = errors.Register(ModuleName, 2, "invalid request")
	ErrRegistered   = errors.Register(ModuleName, 3, "already registered")
	ErrUnregistered = errors.Register(ModuleName, 4, "not a registered provider")
	ErrPeer         = errors.Register(ModuleName, 5, "peer identity not proven")
	ErrPeerTaken    = errors.Register(ModuleName, 6, "peer identity bound to another provider")
	ErrBond         = errors.Register(ModuleName, 7, "bond too small")
	ErrFunds        = errors.Register(ModuleName, 8, "bond not paid")
	ErrJailed       = errors.Register(ModuleName, 9, "provider is jailed")
	ErrModel        = errors.Register(ModuleName, 10, "unknown model")
	ErrUnbondings   = errors.Register(ModuleName, 11, "too many pending unbondings")
	ErrAuthority    = errors.Register(ModuleName, 12, "not governance")
)
