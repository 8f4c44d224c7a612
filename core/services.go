package core

import "context"

// Signer holds an account's key. Implementations never reveal it.
type Signer interface {
	Address() Address
	// Sign signs a 32-byte digest as it is.
	Sign(digest Hash) (Signature, error)
}

// VRF proves unpredictable, unforgeable randomness (RFC 9381,
// ECVRF-EDWARDS25519-SHA512-ELL2).
type VRF interface {
	// PublicKey is the ed25519 public key, 32 bytes.
	PublicKey() []byte
	// Prove returns the proof (80 bytes) and its output (64 bytes).
	Prove(message []byte) (proof, output []byte, err error)
}

// Engine runs one model. Methods are safe for concurrent use except that a
// Sequence belongs to one caller at a time.
type Engine interface {
	Info() ModelInfo
	// NewSequence admits a request: it finds the longest cached prefix and
	// reserves KV memory. It fails with CodeContextLength or CodeBusy.
	NewSequence(in SequenceInput) (Sequence, error)
	// Step advances every sequence by one piece of work: a chunk of its prefill
	// or one token. The result of a sequence never depends on its neighbours.
	Step(ctx context.Context, batch []Sequence) error
	// Replay re-executes an answer by one teacher-forced prefill of in.Input and
	// output: what an audit does, and what it must equal.
	Replay(ctx context.Context, in SequenceInput, output []Token) (Replayed, error)
	// Embed returns one vector of unit length per input, of Info().Width elements,
	// each of which depends on its own input alone (spec/answer.md). Steps of
	// sequences go on meanwhile. It fails with CodeInvalid where the model has no
	// such pooling, CodeContextLength or CodeBusy.
	Embed(ctx context.Context, inputs [][]Token, p Pooling) ([][]float32, error)
	Close() error
}

// Reference is an engine that says how another one's answer stands in its own
// distribution. Methods are safe for concurrent use.
type Reference interface {
	Info() ModelInfo
	// Stand returns one standing per token of output by one teacher-forced
	// prefill, and one more, [Unthinkable], for an end that the answer claims and
	// does not have. seeded says that the seed drove the draws, which then are among
	// the StatisticalTopK likeliest tokens where there is a temperature.
	Stand(ctx context.Context, in SequenceInput, output []Token, finish FinishReason, seeded bool) ([]Standing, error)
}

// Seedless is a [Sequence] that says whether something else than the seed drew
// its tokens: then the receipt commits to no seed.
type Seedless interface{ Seedless() bool }

// Replayed is what an engine itself would have answered, position by position,
// given that all tokens before each position are as claimed.
type Replayed struct {
	// Tokens[i] is the token drawn at output position i.
	Tokens []Token
	// Finish is the reason to end after the last claimed token; "" means that
	// the engine would have gone on.
	Finish FinishReason
	// Ended is the first output position after which the engine would have
	// ended, or -1: an answer that runs past it is padded.
	Ended int
	// Logprobs[i] are those of output position i, when the sampler asks for them.
	Logprobs []TokenLogprobs
	// Boundaries are the leaves, [token][layer] flat.
	Boundaries []Hash
}

// SequenceInput is what a sequence starts from.
type SequenceInput struct {
	Input   []Token
	Sampler Sampler
	Seed    Seed
	// Base is how many tokens at the end of Input are output of the same answer,
	// delivered earlier: sampling positions, stop strings and MaxTokens go on
	// from there. It is 0 for a fresh request.
	Base int
	// Salt keys the boundary leaves; Trace switches the commitment on.
	Salt  Hash
	Trace bool
}

// Sequence is one answer in the making.
type Sequence interface {
	// Output returns all tokens sampled so far; the slice only grows.
	Output() []Token
	// Logprobs returns one element per token of Output, when the sampler asks for
	// them; the slice only grows.
	Logprobs() []TokenLogprobs
	// Finish is "" while the sequence runs.
	Finish() FinishReason
	// Cached is how many input tokens came from the prefix cache.
	Cached() int
	// Boundaries returns the leaves of every processed position, [token][layer].
	Boundaries() []Hash
	// Release gives the KV memory back to the cache. The sequence is then dead.
	Release()
}

// Chain is read access to the ledger.
type Chain interface {
	Status(ctx context.Context) (ChainStatus, error)
	Balance(ctx context.Context, a Address) (Amount, error)
	Manifests(ctx context.Context) ([]Manifest, error)
	Providers(ctx context.Context) ([]Provider, error)
	Channel(ctx context.Context, id ChannelID) (Channel, error)
	// Channels lists the channels in which a is payer or provider.
	Channels(ctx context.Context, a Address) ([]Channel, error)
	// Batches lists a provider's committed receipt batches, newest first.
	Batches(ctx context.Context, provider Address, limit int) ([]ReceiptBatch, error)
}

// ChainStatus is a moment of the chain.
type ChainStatus struct {
	ChainID    string `json:"chain_id"` // Cosmos chain id
	EVMChainID uint64 `json:"evm_chain_id"`
	Height     int64  `json:"height"`
	Time       int64  `json:"time"` // Unix milliseconds of the last block
	Validators int    `json:"validators"`
	CatchingUp bool   `json:"catching_up"`
	Supply     Amount `json:"supply"`
}

// Wallet is write access to the ledger for one account. Every method returns
// after the transaction is final (or has failed, with the chain's reason) and
// keeps the account's sequence numbers straight between concurrent callers.
type Wallet interface {
	Signer
	PublishModel(ctx context.Context, m Manifest) error
	// RegisterProvider bonds p.Bond and binds the peer id by peerSignature, the
	// peer key's ed25519 signature over PeerBinding(address).
	RegisterProvider(ctx context.Context, p Provider, peerSignature []byte) error
	PostOffers(ctx context.Context, offers []Offer) error
	OpenChannel(ctx context.Context, c Channel) (ChannelID, error)
	TopUp(ctx context.Context, id ChannelID, amount Amount) error
	Claim(ctx context.Context, vouchers []Voucher) error
	RequestWithdrawal(ctx context.Context, id ChannelID) error
	FinalizeWithdrawal(ctx context.Context, id ChannelID) error
	CommitReceipts(ctx context.Context, b ReceiptBatch) error
	Send(ctx context.Context, to Address, amount Amount) error
}

// PeerBinding is the message a libp2p identity signs to be bound to an account.
func PeerBinding(chainID string, a Address) []byte {
	return newDigest("koinon/peer-binding/1").text(chainID).address(a).b
}

// Cashier is the provider's side of payment channels.
type Cashier interface {
	// Admit checks the request's signature against the channel's signer and that
	// the channel is open, ours and rich enough for the request's worst case.
	// It fails with CodeUnauthorized or CodeUnpaid.
	Admit(ctx context.Context, r *SignedRequest) (Tab, error)
	// Accept credits a voucher to its channel; it is on disk when Accept returns.
	Accept(ctx context.Context, v Voucher) error
}

// Tab is what one request owes.
type Tab interface {
	// Charge records the request's cumulative debt; it never shrinks.
	Charge(due Amount)
	// Settle waits until no more than credit of the channel's debt is unpaid.
	Settle(ctx context.Context, credit Amount) error
	// Close ends the request. Debt that is still unpaid bars the channel from
	// new requests until it is paid.
	Close()
}

// Notary makes receipts binding.
type Notary interface {
	// Seal signs the receipt in e and stores e; it is on disk when Seal returns.
	Seal(ctx context.Context, e Evidence) (SignedReceipt, error)
}

// Exchange is one request on its way, as the consumer sees it.
type Exchange interface {
	// Recv returns the next event; io.EOF after Done was returned. When the
	// provider breaks off it returns an Error with CodeProvider.
	Recv(ctx context.Context) (Event, error)
	// Pay hands over a voucher for the amount due.
	Pay(v Voucher) error
	// Cancel asks the provider to stop; Recv then ends with Done soon.
	Cancel() error
	Close() error
}

// Event is one of: *Accepted, *Chunk, *Done.
type Event interface{ event() }

// Accepted says that the provider took the request, with its VRF proof.
type Accepted struct {
	Proof Bytes `json:"proof"` // empty with a UserSeed
	Queue int   `json:"queue"` // requests ahead
}

// Done ends an answer.
type Done struct {
	Finish     FinishReason  `json:"finish"`
	Usage      Usage         `json:"usage"`
	Receipt    SignedReceipt `json:"receipt"`
	Due        Amount        `json:"due"` // cumulative for this request, prompt included
	Boundaries []Hash        `json:"boundaries,omitempty"`
	// Embedding is the vector that was ordered, as EncodeVector writes it.
	Embedding Bytes `json:"embedding,omitempty"`
}

func (*Accepted) event() {}
func (*Chunk) event()    {}
func (*Done) event()     {}

// Dialer reaches providers.
type Dialer interface {
	// Infer opens an exchange: it sends the request and reveals nonce once the
	// provider has committed itself. It fails with the provider's own *Error.
	Infer(ctx context.Context, p Provider, r SignedRequest, nonce Hash) (Exchange, error)
}
