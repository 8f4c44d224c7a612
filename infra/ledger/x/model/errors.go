package model

import "cosmossdk.io/errors"

// Errors of the module's messages, stable for programs.
var (
	ErrInvalid   = errors.Register(ModuleName, 2, "invalid model")
	ErrExists    = errors.Register(ModuleName, 3, "model already published")
	ErrNameTaken = errors.Register(ModuleName, 4, "name taken")
	ErrNotFound  = errors.Register(ModuleName, 5, "unknown model")
	ErrNotOwner  = errors.Register(ModuleName, 6, "not the publisher")
	ErrAuthority = errors.Register(ModuleName, 7, "not governance")
	ErrFee       = errors.Register(ModuleName, 8, "publishing fee not paid")
)
