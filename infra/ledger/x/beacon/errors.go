package beacon

import "cosmossdk.io/errors"

// Errors of the module's messages, stable for programs.
var (
	ErrInvalid   = errors.Register(ModuleName, 2, "invalid request")
	ErrValidator = errors.Register(ModuleName, 3, "not a validator")
	ErrKeyTaken  = errors.Register(ModuleName, 4, "key belongs to another validator")
	ErrProof     = errors.Register(ModuleName, 5, "possession of the key not proven")
	ErrAuthority = errors.Register(ModuleName, 6, "not governance")
)
