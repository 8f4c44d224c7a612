package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/koinon-network/koinon/core"
)

// statuses maps error codes to HTTP, and to OpenAI's error types.
var statuses = map[core.Code]struct {
	status int
	kind   string
}{
	core.CodeInvalid:       {http.StatusBadRequest, "invalid_request_error"},
	core.CodeContextLength: {http.StatusBadRequest, "invalid_request_error"},
	core.CodeTooLarge:      {http.StatusRequestEntityTooLarge, "invalid_request_error"},
	core.CodeUnauthorized:  {http.StatusUnauthorized, "authentication_error"},
	core.CodeUnknownModel:  {http.StatusNotFound, "invalid_request_error"},
	core.CodeNotFound:      {http.StatusNotFound, "invalid_request_error"},
	core.CodeUnpaid:        {http.StatusPaymentRequired, "insufficient_quota"},
	core.CodeBusy:          {http.StatusTooManyRequests, "rate_limit_error"},
	core.CodeNoProvider:    {http.StatusServiceUnavailable, "server_error"},
	core.CodeProvider:      {http.StatusBadGateway, "server_error"},
	core.CodeUnavailable:   {http.StatusServiceUnavailable, "server_error"},
	core.CodeInternal:      {http.StatusInternalServerError, "server_error"},
}

// apiError is OpenAI's error object with what ours adds: the charge and the
// next step.
type apiError struct {
	Message string    `json:"message"`
	Type    string    `json:"type"`
	Param   *string   `json:"param"`
	Code    core.Code `json:"code"`
	Charge  string    `json:"charge,omitempty"`
	Next    string    `json:"next,omitempty"`
}

type errorBody struct {
	Error apiError `json:"error"`
}

// asError gives every failure its code.
func asError(err error) *core.Error {
	var e *core.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &core.Error{Code: core.CodeUnavailable, Message: "the network did not answer in time", Next: "try again", Err: err}
	}
	return &core.Error{Code: core.CodeInternal, Message: "the gateway failed", Next: "see the log in the home folder", Err: err}
}

func describe(e *core.Error) (int, errorBody) {
	s, ok := statuses[e.Code]
	if !ok {
		s = statuses[core.CodeInternal]
	}
	m := e.Cause()
	if e.Next != "" {
		m += ". Next: " + e.Next
	}
	b := errorBody{apiError{Message: m, Type: s.kind, Code: e.Code, Charge: e.Charge.String(), Next: e.Next}}
	if e.Param != "" {
		b.Error.Param = &e.Param
	}
	return s.status, b
}

// writeError answers with the error in OpenAI's shape.
func writeError(w http.ResponseWriter, err error) { openAI.refuse(w, err) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func invalid(param, format string, args ...any) *core.Error {
	e := core.Errorf(core.CodeInvalid, format, args...)
	e.Param = param
	return e
}
