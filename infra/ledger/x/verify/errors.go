package verify

import "cosmossdk.io/errors"

// Errors of the module's messages, stable for programs.
var (
	ErrInvalid   = errors.Register(ModuleName, 2, "invalid request")
	ErrStranger  = errors.Register(ModuleName, 3, "not a registered provider")
	ErrSequence  = errors.Register(ModuleName, 4, "wrong sequence number")
	ErrAuthority = errors.Register(ModuleName, 5, "not governance")
)
