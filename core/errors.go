package core

import (
	"errors"
	"fmt"
	"time"
)

// Code names a kind of failure, stable for programs.
type Code string

// Codes.
const (
	CodeInvalid       Code = "invalid_request"   // the caller's fault; will fail again
	CodeTooLarge      Code = "request_too_large" // over a size limit
	CodeContextLength Code = "context_length_exceeded"
	CodeUnauthorized  Code = "unauthorized" // wrong or missing signature or key
	CodeUnknownModel  Code = "model_not_found"
	CodeNotFound      Code = "not_found"          // no such receipt or resource
	CodeUnpaid        Code = "insufficient_funds" // escrow spent or wallet empty
	CodeBusy          Code = "overloaded"         // try again after RetryAfter
	CodeNoProvider    Code = "no_provider"        // nobody serves this now
	CodeProvider      Code = "provider_failed"    // a provider broke its word
	CodeUnavailable   Code = "unavailable"        // a local part is not up
	CodeInternal      Code = "internal"
)

// Error is a failure as a person should read it: what happened and why, what
// it cost, and what to do next.
type Error struct {
	Code       Code          `json:"code"`
	Message    string        `json:"message"`         // cause, one sentence
	Charge     Amount        `json:"charge"`          // what was paid all the same
	Next       string        `json:"next,omitempty"`  // the next command or step
	Param      string        `json:"param,omitempty"` // the offending field
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	Err        error         `json:"-"`
}

// Cause is the message with the error behind it.
func (e *Error) Cause() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Error returns cause and next step in one line.
func (e *Error) Error() string {
	s := e.Cause()
	if e.Next != "" {
		s += " (" + e.Next + ")"
	}
	return s
}

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of the given code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of err, CodeInternal when it has none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
