package core

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/koinon-network/koinon/core/merkle"
)

// Auditing is what the chain knows of one auditor (spec/verification.md#audits).
type Auditing struct {
	Account Address   `json:"account"`
	Bond    Amount    `json:"bond"`
	Models  []ModelID `json:"models"`
	Leaves  int64     `json:"leaves,omitempty"` // when the bond is paid out; Unix seconds
	Open    uint32    `json:"open"`             // audits that are not done
	Audits  uint64    `json:"audits"`           // done, of which
	Right   uint64    `json:"right"`
	Wrong   uint64    `json:"wrong"`
	Missed  uint64    `json:"missed"`
	Earned  Amount    `json:"earned"`
	Lost    Amount    `json:"lost"`
}

// Phases of an audit.
const (
	PhaseCommit  = "commit"  // auditors examine and commit
	PhaseSpots   = "spots"   // the chain waits for the beacon
	PhaseReveal  = "reveal"  // auditors reveal
	PhaseWaiting = "waiting" // a dispute about the receipt is open
	PhaseDone    = "done"
)

// Verdicts of an auditor.
const (
	VerdictRight uint32 = 1
	VerdictWrong uint32 = 2
)

// Audit is the examination of one receipt of a batch, as the chain keeps it.
type Audit struct {
	ID       uint64  `json:"id"`
	Provider Address `json:"provider"`
	Sequence uint64  `json:"sequence"` // of the batch
	Index    uint32  `json:"index"`    // in the batch
	Model    ModelID `json:"model"`
	Phase    string  `json:"phase"`
	Drawn    int64   `json:"drawn"` // Unix seconds, as the next two
	Deadline int64   `json:"deadline"`
	Ended    int64   `json:"ended,omitempty"`
	// Receipt is zero until somebody showed it to the chain.
	Receipt ReceiptID `json:"receipt"`
	Pay     Amount    `json:"pay"`
	// Beacon draws the spots; zero before.
	Beacon   Hash    `json:"beacon"`
	Duties   []Duty  `json:"duties"`
	Canary   Address `json:"canary"` // whose canary it was, or zero
	Withheld bool    `json:"withheld,omitempty"`
	Signed   Bytes   `json:"-"` // the receipt in JSON, once somebody showed it
}

// Duty is one auditor's part of an audit.
type Duty struct {
	Auditor    Address `json:"auditor"`
	Commitment Hash    `json:"commitment"` // zero before
	Verdict    uint32  `json:"verdict,omitempty"`
	Key        Hash    `json:"key"`           // X25519, of a demand; zero without
	Due        int64   `json:"due,omitempty"` // when the payload must be there
	Size       uint32  `json:"size,omitempty"`
	Received   uint32  `json:"received,omitempty"`
	Outcome    string  `json:"outcome,omitempty"`
	Paid       Amount  `json:"paid"`
	Lost       Amount  `json:"lost"`
}

// Duty returns the part of an auditor.
func (a *Audit) Duty(of Address) (Duty, bool) {
	for _, d := range a.Duties {
		if d.Auditor == of {
			return d, true
		}
	}
	return Duty{}, false
}

// Docket is the chain as one account's audits use it, as auditor and as provider.
// Methods that write return after the transaction is final.
type Docket interface {
	Address() Address
	// OpenAudits lists those in which the account is provider or auditor.
	OpenAudits(ctx context.Context, of Address) ([]Audit, error)
	Audit(ctx context.Context, id uint64) (Audit, error)
	// Batch returns one committed batch.
	Batch(ctx context.Context, provider Address, sequence uint64) (ReceiptBatch, error)
	CommitVerdict(ctx context.Context, audit uint64, commitment Hash) error
	RevealVerdict(ctx context.Context, r Revelation) error
	Demand(ctx context.Context, audit uint64, key Hash) error
	// Supply sends one piece; the receipt and its path go with the first.
	Supply(ctx context.Context, audit uint64, auditor Address, p Placed, size, offset uint32, data []byte) error
	Expose(ctx context.Context, audit uint64, key []byte) error
	// Payload is what a provider supplied so far.
	Payload(ctx context.Context, audit uint64, auditor Address) ([]byte, error)
}

// Placed is a receipt with its way to the root of its batch.
type Placed struct {
	Receipt SignedReceipt      `json:"receipt"`
	Place   merkle.Proof[Hash] `json:"place"`
}

// Handed is what a provider hands to a drawn auditor.
type Handed struct {
	Evidence Evidence           `json:"evidence"` // without leaves
	Place    merkle.Proof[Hash] `json:"place"`    // of the receipt in its batch
}

// Revelation opens a commitment.
type Revelation struct {
	Audit   uint64
	Verdict uint32
	Trace   Hash
	Salt    Hash
	Placed  *Placed // nil where the chain has the receipt
	Spots   []Spot
}

// Spot opens one drawn position of a trace.
type Spot struct {
	Leaf  Hash
	Place merkle.Proof[Hash] // under the boundary root
	Trace []Hash             // path of the keyed leaf under the trace
}

// Spots is how many positions a verdict opens.
const Spots = 2

// SpotAt is the j-th drawn position among n leaves.
func SpotAt(beacon Hash, audit uint64, j uint32, n uint64) uint64 {
	h := newDigest("koinon/audit-spot/1").hash(beacon).u64(audit).u32(j).sum()
	return binary.BigEndian.Uint64(h[:]) % n
}

// TraceLeaf is a boundary leaf under an auditor's name.
func TraceLeaf(audit uint64, auditor Address, leaf Hash) Hash {
	return newDigest("koinon/audit-leaf/1").u64(audit).address(auditor).hash(leaf).sum()
}

// TraceOf is the root over an auditor's keyed leaves, zero without leaves.
func TraceOf(audit uint64, auditor Address, leaves []Hash) Hash {
	if len(leaves) == 0 {
		return Hash{}
	}
	return merkle.Root(keyed(audit, auditor, leaves))
}

func keyed(audit uint64, auditor Address, leaves []Hash) []Hash {
	out := make([]Hash, len(leaves))
	for i, l := range leaves {
		out[i] = TraceLeaf(audit, auditor, l)
	}
	return out
}

// OpenSpots opens the drawn positions of a trace.
func OpenSpots(beacon Hash, audit uint64, auditor Address, leaves []Hash) (out []Spot, err error) {
	names := keyed(audit, auditor, leaves)
	for j := range uint32(Spots) {
		i := int(SpotAt(beacon, audit, j, uint64(len(leaves))))
		s := Spot{Leaf: leaves[i]}
		if s.Place, err = merkle.Prove(leaves, i); err != nil {
			return nil, err
		}
		p, err := merkle.Prove(names, i)
		if err != nil {
			return nil, err
		}
		s.Trace = p.Path
		out = append(out, s)
	}
	return out, nil
}

// CheckSpot reports whether a spot is the j-th drawn one and fits both roots.
func CheckSpot(beacon Hash, audit uint64, auditor Address, j uint32, s Spot, boundary, trace Hash) bool {
	p := s.Place
	if p.Size == 0 || p.Index != SpotAt(beacon, audit, j, p.Size) || !merkle.Verify(boundary, s.Leaf, p) {
		return false
	}
	return merkle.Verify(trace, TraceLeaf(audit, auditor, s.Leaf), merkle.Proof[Hash]{Index: p.Index, Size: p.Size, Path: s.Trace})
}

// AuditCommitment hides a verdict until it is revealed.
func AuditCommitment(audit uint64, auditor Address, verdict uint32, trace, salt Hash) Hash {
	return newDigest("koinon/audit-commitment/1").u64(audit).address(auditor).u32(verdict).hash(trace).hash(salt).sum()
}

// AuditDraw is the seed that draws the receipts of a batch.
func AuditDraw(beacon Hash, b ReceiptBatch) Hash {
	return newDigest("koinon/audit-draw/1").hash(beacon).address(b.Provider).u64(b.Sequence).hash(b.Root).sum()
}

// CanaryRoot is the boundary root of a canary: no Merkle root, since it is the
// hash of something else.
func CanaryRoot(secret Hash) Hash { return newDigest("koinon/canary-root/1").hash(secret).sum() }

// CanaryHash is what is committed to before a canary's batch.
func CanaryHash(receipt ReceiptID, secret Hash) Hash {
	return newDigest("koinon/canary/1").hash(receipt).hash(secret).sum()
}

// AuditQuery is what a drawn auditor signs to ask a provider for evidence.
func AuditQuery(chainID uint64, provider Address, audit uint64, unix int64) Hash {
	return newDigest("koinon/audit-query/1").u64(chainID).address(provider).u64(audit).u64(uint64(unix)).sum()
}

// MaxPayload bounds a sealed payload in bytes: what governance may set at most,
// and what providers rely on when they admit requests.
const MaxPayload = 2 << 20

// Payload is what re-executing an answer needs besides receipt and model.
type Payload struct {
	Request SignedRequest `json:"request"`
	Nonce   Hash          `json:"nonce"`
	VRF     Bytes         `json:"vrf"`
	VRFKey  Bytes         `json:"vrf_key"`
	Seed    Hash          `json:"seed"`
	Output  []Token       `json:"output"`
}

// PayloadBound is the most bytes that the sealed payload of a request's answer
// can have, tokens being below vocabulary.
func PayloadBound(r *Request, vocabulary int) int {
	n := 8<<10 + (len(strconv.Itoa(vocabulary))+1)*(len(r.Input)+int(min(r.Sampler.MaxTokens, MaxPayload)))
	js := *r
	js.Input = nil
	b, err := json.Marshal(js)
	if err != nil {
		return MaxPayload + 1
	}
	return n + len(b)
}

// PayloadOf takes the payload out of evidence whose seed is known.
func PayloadOf(e *Evidence, seed Seed) Payload {
	q := e.Request
	q.Voucher = nil
	return Payload{Request: q, Nonce: e.Nonce, VRF: e.VRF, VRFKey: e.VRFKey, Seed: Hash(seed), Output: e.Output}
}

// Evidence joins a payload with its receipt.
func (p *Payload) Evidence(r SignedReceipt) Evidence {
	return Evidence{Version: 1, Receipt: r, Request: p.Request, Nonce: p.Nonce, VRF: p.VRF, VRFKey: p.VRFKey, Output: p.Output}
}

// Check returns what contradicts the receipt, or "".
func (p *Payload) Check(r *Receipt) string {
	q := &p.Request.Request
	switch {
	case r.RequestHash != q.Digest():
		return "the request is another one"
	case r.InputHash != HashTokens(q.Input) || uint64(r.Input) != uint64(len(q.Input)):
		return "the input is another one"
	case q.Pooling == "" && r.OutputHash != HashTokens(p.Output), uint64(r.Output) != uint64(len(p.Output)):
		return "the output is another one"
	case r.Sampler != q.Sampler.Digest():
		return "the sampler is another one"
	case r.Seed != Seed(p.Seed).Commitment():
		return "the seed is another one"
	}
	return ""
}

// payloadInfo binds a sealed payload to its audit and auditor.
func payloadInfo(audit uint64, auditor Address) []byte {
	return newDigest("koinon/audit-payload/1").u64(audit).address(auditor).b
}

// SealPayload encrypts a payload to an X25519 public key (HPKE, RFC 9180).
func SealPayload(key Hash, audit uint64, auditor Address, p Payload) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(key[:])
	if err != nil {
		return nil, err
	}
	k, err := hpke.NewDHKEMPublicKey(pub)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(k, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), payloadInfo(audit, auditor), b)
}

// OpenPayload decrypts a payload with the private key and reads it strictly. Its
// error says what is wrong with the payload.
func OpenPayload(private []byte, audit uint64, auditor Address, sealed []byte) (p Payload, err error) {
	priv, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return p, err
	}
	k, err := hpke.NewDHKEMPrivateKey(priv)
	if err != nil {
		return p, err
	}
	b, err := hpke.Open(k, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), payloadInfo(audit, auditor), sealed)
	if err != nil {
		return p, fmt.Errorf("it does not decrypt: %w", err)
	}
	return ParsePayload(b)
}

// OneTimeKey reports whether a private key belongs to a public one.
func OneTimeKey(private []byte, public Hash) bool {
	k, err := ecdh.X25519().NewPrivateKey(private)
	return err == nil && bytes.Equal(k.PublicKey().Bytes(), public[:])
}

// ParsePayload reads a payload of at most [MaxPayload] bytes.
func ParsePayload(b []byte) (p Payload, err error) {
	if len(b) > MaxPayload {
		return p, fmt.Errorf("it has %d bytes, at most %d are possible", len(b), MaxPayload)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Payload{}, fmt.Errorf("it is no payload: %w", err)
	}
	if d.More() {
		return Payload{}, fmt.Errorf("something follows it")
	}
	return p, nil
}
