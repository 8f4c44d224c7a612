package x402

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/koinon-network/koinon/core"
)

// Headers of x402 version 2.
const (
	HeaderRequired  = "Payment-Required"
	HeaderSignature = "Payment-Signature"
	HeaderResponse  = "Payment-Response"
)

// Version of x402. Version 1 cannot name chains like ours.
const Version = 2

// Schemes.
const (
	SchemeExact = "exact"
	SchemeBatch = "batch-settlement"
)

// MaxHeader bounds a payment in a header, in bytes. Stock clients send about
// 2,000.
const MaxHeader = 16 << 10

// Requirements say how a call may be paid.
type Requirements struct {
	Scheme            string         `json:"scheme"`
	Network           string         `json:"network"` // CAIP-2
	Amount            string         `json:"amount"`  // akoin
	Asset             string         `json:"asset"`
	PayTo             string         `json:"payTo"`
	MaxTimeoutSeconds int            `json:"maxTimeoutSeconds"`
	Extra             map[string]any `json:"extra"`
}

// Resource is what is paid for.
type Resource struct {
	URL         string `json:"url"`
	Description string `json:"description,omitempty"`
	MimeType    string `json:"mimeType,omitempty"`
}

// Required is the content of the header of a 402.
type Required struct {
	X402Version int            `json:"x402Version"`
	Error       string         `json:"error,omitempty"`
	Resource    Resource       `json:"resource"`
	Accepts     []Requirements `json:"accepts"`
}

// Payload is a client's payment: what it accepted and its signatures.
type Payload struct {
	X402Version int             `json:"x402Version"`
	Accepted    Requirements    `json:"accepted"`
	Payload     json.RawMessage `json:"payload"`
}

// Settlement is the content of the response's header.
type Settlement struct {
	Success      bool           `json:"success"`
	ErrorReason  string         `json:"errorReason,omitempty"`
	ErrorMessage string         `json:"errorMessage,omitempty"`
	Payer        string         `json:"payer,omitempty"`
	Transaction  string         `json:"transaction"`
	Network      string         `json:"network"`
	Amount       string         `json:"amount,omitempty"`
	Extra        map[string]any `json:"extra,omitempty"`
}

// Refusal is a payment that is not accepted, under the standard's own reason.
type Refusal struct {
	Reason string // such as invalid_exact_evm_signature
	Detail string
	Err    error
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Reason
	}
	return r.Reason + ": " + r.Detail
}

func (r *Refusal) Unwrap() error { return r.Err }

func refused(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// DecodePayload reads the header of a paid call.
func DecodePayload(header string) (Payload, error) {
	var p Payload
	if len(header) > MaxHeader {
		return p, refused("invalid_payload", "the payment has %d bytes, at most %d are read", len(header), MaxHeader)
	}
	b, err := decode64(header)
	if err == nil {
		err = decodeJSON(b, &p)
	}
	if err != nil {
		return p, refused("invalid_payload", "the payment cannot be read: %v", err)
	}
	if p.X402Version != Version {
		return p, refused("invalid_x402_version", "version %d, want %d", p.X402Version, Version)
	}
	return p, nil
}

func decode64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// maxDepth bounds the nesting of what a stranger sends.
const maxDepth = 16

// decodeJSON reads exactly one value into v.
func decodeJSON(b []byte, v any) error {
	depth, quoted, escaped := 0, false, false
	for _, c := range b {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errors.New("too deeply nested")
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// encode writes a header's content.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	return base64.StdEncoding.EncodeToString(b)
}

// number is a decimal of at most 78 digits, below 2^256.
type number struct{ core.Amount }

func (n *number) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New("a number is written as a string of digits")
	}
	if s == "" || len(s) > 78 || strings.Trim(s, "0123456789") != "" {
		return errors.New("a number has 1 to 78 digits")
	}
	a, err := core.ParseAmount(s)
	n.Amount = a
	return err
}

// address, hash and signature are hex with 0x, in either case.
type (
	address   struct{ core.Address }
	hash      struct{ core.Hash }
	signature struct{ core.Signature }
)

func (a *address) UnmarshalJSON(b []byte) error   { return unhex(b, a.Address[:]) }
func (h *hash) UnmarshalJSON(b []byte) error      { return unhex(b, h.Hash[:]) }
func (s *signature) UnmarshalJSON(b []byte) error { return unhex(b, s.Signature[:]) }

func unhex(b, into []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if len(s) != 2+2*len(into) || s[0] != '0' || s[1] != 'x' {
		return fmt.Errorf("want 0x and %d hex digits", 2*len(into))
	}
	_, err := hex.Decode(into, []byte(s[2:]))
	return err
}

// hexOf writes a hash, as Ethereum's tools do.
func hexOf(h core.Hash) string { return "0x" + h.String() }

func sameAddress(s string, a core.Address) bool { return strings.EqualFold(s, a.String()) }
