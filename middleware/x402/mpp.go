package x402

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// HeaderReceipt carries MPP's receipt.
const HeaderReceipt = "Payment-Receipt"

const (
	mppScheme = "Payment "
	mppMethod = "evm"
	mppIntent = "charge"
	// mppLife is how long a challenge may be answered.
	mppLife = 5 * time.Minute
)

// mppRequest is the request of an EVM charge. Its JSON is canonical: the fields
// are in order of their names.
type mppRequest struct {
	Amount        string     `json:"amount"`
	Currency      string     `json:"currency"`
	MethodDetails mppDetails `json:"methodDetails"`
	Recipient     string     `json:"recipient"`
}

type mppDetails struct {
	ChainID         uint64   `json:"chainId"`
	CredentialTypes []string `json:"credentialTypes"`
	Decimals        int      `json:"decimals"`
}

// mppChallenge is a challenge as a credential repeats it.
type mppChallenge struct {
	ID      string `json:"id"`
	Realm   string `json:"realm"`
	Method  string `json:"method"`
	Intent  string `json:"intent"`
	Request string `json:"request"` // base64url of the request's JSON
	Expires string `json:"expires"`
}

// challenge writes a WWW-Authenticate header for a call: MPP's charge.
func (p *Paywall) challenge(r *http.Request, q Quote) string {
	request, err := json.Marshal(mppRequest{
		Amount: p.exactPrice(q).String(), Currency: checksum(voucher.NativeToken), Recipient: checksum(p.cfg.PayTo),
		MethodDetails: mppDetails{p.f.cfg.ChainID, []string{"authorization"}, core.Decimals},
	})
	if err != nil {
		panic(err) // our own type
	}
	c := mppChallenge{
		Realm: realm(r), Method: mppMethod, Intent: mppIntent, Request: base64.RawURLEncoding.EncodeToString(request),
		Expires: p.f.now().Add(mppLife).UTC().Format("2006-01-02T15:04:05.000Z"),
	}
	c.ID = p.identify(c)
	return fmt.Sprintf(`Payment id=%q, realm=%q, method=%q, intent=%q, request=%q, expires=%q`, c.ID, c.Realm, c.Method, c.Intent, c.Request, c.Expires)
}

// realm is the host as it was called; what cannot stand in a quoted string does
// not.
func realm(r *http.Request) string {
	return strings.Map(func(c rune) rune {
		if c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			return c
		}
		return -1
	}, r.Host)
}

// identify binds a challenge's id to its content, so that none need be kept.
func (p *Paywall) identify(c mppChallenge) string {
	m := hmac.New(sha256.New, p.secret[:])
	for _, s := range []string{c.Realm, c.Method, c.Intent, c.Request, c.Expires} {
		fmt.Fprintf(m, "%d:%s|", len(s), s)
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func isMPP(r *http.Request) bool {
	h := r.Header.Get("Authorization")
	return len(h) > len(mppScheme) && strings.EqualFold(h[:len(mppScheme)], mppScheme)
}

// DecodeCredential reads the Authorization header of a call paid by MPP.
func DecodeCredential(header string) (c mppCredential, err error) {
	if len(header) > MaxHeader {
		return c, refused("invalid_payload", "the credential has %d bytes, at most %d are read", len(header), MaxHeader)
	}
	b, err := decode64(strings.TrimSpace(header[min(len(mppScheme), len(header)):]))
	if err == nil {
		err = decodeJSON(b, &c)
	}
	if err != nil {
		return c, refused("invalid_payload", "the credential cannot be read: %v", err)
	}
	return c, nil
}

type mppCredential struct {
	Challenge mppChallenge `json:"challenge"`
	Payload   struct {
		Type        string    `json:"type"`
		From        address   `json:"from"`
		To          address   `json:"to"`
		Value       number    `json:"value"`
		ValidAfter  number    `json:"validAfter"`
		ValidBefore number    `json:"validBefore"`
		Nonce       hash      `json:"nonce"`
		Signature   signature `json:"signature"`
	} `json:"payload"`
}

// mppBill checks a call paid by MPP's charge: a transfer like x402's exact, whose
// nonce is bound to our challenge.
func (p *Paywall) mppBill(r *http.Request, q Quote) (*Bill, error) {
	c, err := DecodeCredential(r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	ch, in := c.Challenge, c.Payload
	if !hmac.Equal([]byte(ch.ID), []byte(p.identify(ch))) {
		return nil, refused("invalid_challenge", "the challenge is not one of this gateway's")
	}
	if until, err := time.Parse(time.RFC3339, ch.Expires); err != nil || !p.f.now().Before(until) {
		return nil, refused("expired_challenge", "the challenge ended at %.40q", ch.Expires)
	}
	b, err := base64.RawURLEncoding.DecodeString(ch.Request)
	var want mppRequest
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	offered, perr := core.ParseAmount(want.Amount)
	switch {
	case err != nil || perr != nil || ch.Method != mppMethod || ch.Intent != mppIntent:
		return nil, refused("invalid_challenge", "the challenge is not an EVM charge")
	case offered.Cmp(p.exactPrice(q)) < 0:
		return nil, refused("invalid_challenge", "the challenge is for %s, this call costs %s", offered, p.exactPrice(q))
	case in.Type != "authorization":
		return nil, refused("unsupported_payload_type", "%.40q", in.Type)
	case in.Nonce.Hash != voucher.Keccak([]byte(ch.ID+ch.Realm)):
		return nil, refused("invalid_challenge", "the authorization's nonce is not the challenge's")
	}
	t := &transfer{voucher.Authorization{From: in.From.Address, To: in.To.Address, Value: in.Value.Amount,
		ValidAfter: in.ValidAfter.Amount, ValidBefore: in.ValidBefore.Amount, Nonce: in.Nonce.Hash}, in.Signature.Signature}
	err = p.f.checkTransfer(r.Context(), t, Requirements{PayTo: p.cfg.PayTo.String(), Amount: offered.String()})
	if err != nil {
		return nil, err
	}
	return p.transferBill(r.Context(), t, func(h http.Header, s Settlement) {
		js, _ := json.Marshal(map[string]any{"method": mppMethod, "reference": s.Transaction, "status": "success",
			"timestamp": p.f.now().UTC().Format(time.RFC3339), "challengeId": ch.ID})
		h.Set(HeaderReceipt, base64.RawURLEncoding.EncodeToString(js))
	})
}

// checksum writes an address in EIP-55's mixed case, as MPP's clients compare it.
func checksum(a core.Address) string {
	low := a.String()[2:]
	sum := voucher.Keccak([]byte(low))
	out := []byte("0x" + low)
	for i, c := range []byte(low) {
		if c >= 'a' && sum[i/2]>>(4*(1-i%2))&0xf >= 8 {
			out[2+i] = c - 'a' + 'A'
		}
	}
	return string(out)
}
