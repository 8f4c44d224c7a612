package core

import "context"

// Dispute is a game about one receipt, as the chain keeps it
// (spec/verification.md).
type Dispute struct {
	ID         uint64    `json:"id"`
	Challenger Address   `json:"challenger"`
	Provider   Address   `json:"provider"`
	Receipt    ReceiptID `json:"receipt"`
	Model      ModelID   `json:"model"`
	// Claim and State are encoded by the rules of the game; State is empty when
	// it is over, and in lists.
	Claim    Bytes  `json:"claim"`
	State    Bytes  `json:"state,omitempty"`
	Phase    string `json:"phase,omitempty"`    // the move that is due
	Turn     string `json:"turn,omitempty"`     // SideChallenger or SideProvider
	Opened   int64  `json:"opened"`             // Unix seconds
	Moved    int64  `json:"moved"`              // since when the turn lasts
	Deadline int64  `json:"deadline,omitempty"` // for the move that is due
	Ended    int64  `json:"ended,omitempty"`
	Moves    uint32 `json:"moves"`
	Size     uint64 `json:"bytes"` // of all moves together
	// Winner is a side, or "" while the game goes on.
	Winner  string        `json:"winner,omitempty"`
	Cause   string        `json:"cause,omitempty"`
	Slashed Amount        `json:"slashed"`
	Bounty  Amount        `json:"bounty"`
	Refund  Amount        `json:"refund"`
	History []DisputeMove `json:"history"`
}

// The sides of a dispute.
const (
	SideChallenger = "challenger" // says that the receipt is wrong
	SideProvider   = "provider"
)

// DisputeMove is one move so far.
type DisputeMove struct {
	Height int64  `json:"height"`
	Side   string `json:"side"`
	Move   string `json:"move"`
	Size   uint32 `json:"bytes"`
}

// Court is the chain as one account's parties of disputes use it. Methods that
// write return after the transaction is final.
type Court interface {
	Address() Address
	// Judged reports whether the model is admitted.
	Judged(ctx context.Context, id ModelID) (bool, error)
	AdmitModel(ctx context.Context, id ModelID, admission []byte) error
	Dispute(ctx context.Context, id uint64) (Dispute, error)
	// Disputes lists the newest disputes first, states left out.
	Disputes(ctx context.Context, limit int) ([]Dispute, error)
	// OpenDisputes lists all that are not over, states left out: those of a party,
	// or with the zero address everybody's.
	OpenDisputes(ctx context.Context, party Address) ([]Dispute, error)
	OpenDispute(ctx context.Context, r SignedReceipt, claim []byte) (id uint64, err error)
	MoveDispute(ctx context.Context, id uint64, move []byte) error
}

// Computation is an answer in question: what it was computed from, and what
// came out.
type Computation struct {
	Receipt Receipt
	Request RequestHead
	Input   SequenceInput
	Output  []Token
	Finish  FinishReason // as the receipt has it
	Root    Hash         // the receipt's boundary root
	// Boundaries are the leaves under it. To point in a search, a challenger has
	// those that it computed itself.
	Boundaries []Hash
}

// Advocate knows a model's weights and finds what to say in disputes about its
// answers. Methods are safe for concurrent use.
type Advocate interface {
	// Admission shows the model's shape to the chain. It fails with CodeInvalid
	// where the chain does not judge such models.
	Admission() ([]byte, error)
	// Accuse names the first thing that is wrong with an answer, given what the
	// model itself makes of it. It fails with CodeInvalid where the rules know no
	// claim.
	Accuse(ctx context.Context, c Computation, own Replayed) (claim []byte, err error)
	// Move finds the next move, for the side whose turn it is.
	Move(ctx context.Context, c Computation, state []byte) ([]byte, error)
}
