package verify

import (
	"fmt"

	"github.com/koinon-network/koinon/core"
)

// Verdict is the outcome of a check.
type Verdict string

// Verdicts, each with a process exit code of its own family.
const (
	Matches          Verdict = "matches"           // exit 0
	Malformed        Verdict = "malformed"         // exit 2: not a receipt file
	WrongSignature   Verdict = "wrong_signature"   // exit 3: a signature or proof does not verify
	Tampered         Verdict = "tampered"          // exit 4: contents contradict what was signed
	WrongModel       Verdict = "wrong_model"       // exit 5: not the model of the receipt
	TokenDiffers     Verdict = "token_differs"     // exit 6: another token, or another length
	FinishDiffers    Verdict = "finish_differs"    // exit 6: ended too early or for another reason
	BoundaryDiffers  Verdict = "boundary_differs"  // exit 7: same tokens, other computation
	LogprobDiffers   Verdict = "logprob_differs"   // exit 9: same tokens, another log-probability
	EmbeddingDiffers Verdict = "embedding_differs" // exit 10: another vector
	Unproven         Verdict = "unproven"          // exit 11: consistent, of a tier that no single answer proves
	Unsupported      Verdict = "unsupported"       // exit 8: a version this program does not know
)

var exitCodes = map[Verdict]int{Matches: 0, Malformed: 2, WrongSignature: 3, Tampered: 4, WrongModel: 5,
	TokenDiffers: 6, FinishDiffers: 6, BoundaryDiffers: 7, Unsupported: 8, LogprobDiffers: 9, EmbeddingDiffers: 10, Unproven: 11}

// ExitCode is the process exit code of `koinon verify`; 1 for an unknown verdict.
func (v Verdict) ExitCode() int {
	if c, ok := exitCodes[v]; ok {
		return c
	}
	return 1
}

// Report says what a check found.
type Report struct {
	Verdict Verdict `json:"verdict"`
	// Message is one sentence for a person.
	Message string `json:"message"`
	// Field names the part of the file that is at fault, "" when none is.
	Field   string         `json:"field,omitempty"`
	Receipt core.ReceiptID `json:"receipt"`
	// Consumer is who signed the request.
	Consumer core.Address `json:"consumer"`
	Token    *TokenDiff   `json:"token,omitempty"`
	Logprob  *LogprobDiff `json:"logprob,omitempty"`
	Boundary *Boundary    `json:"boundary,omitempty"`
	// Unchecked lists what needs facts from the chain that were not given.
	Unchecked []string `json:"unchecked,omitempty"`
}

// NoToken stands where one side has no token.
const NoToken core.Token = -1

// TokenDiff is the first differing output token.
type TokenDiff struct {
	Position int        `json:"position"` // output position, from 0
	Claimed  core.Token `json:"claimed"`  // NoToken when the answer had ended
	Own      core.Token `json:"own"`      // NoToken when this engine would have ended
}

// LogprobDiff is the first differing log-probability.
type LogprobDiff struct {
	Position int           `json:"position"` // output position, from 0
	Rank     int           `json:"rank"`     // 0 is the drawn token, then the likeliest ones
	Claimed  *core.Logprob `json:"claimed"`  // nil when there are fewer
	Own      *core.Logprob `json:"own"`
}

// Boundary is the first differing leaf: what enters a layer at a position.
type Boundary struct {
	Token int `json:"token"` // position in input ‖ output, from 0
	Layer int `json:"layer"` // 0 to L; L is after the last layer
}

// ExitCode is the verdict's.
func (r Report) ExitCode() int { return r.Verdict.ExitCode() }

// Rejected is the error of [Parse], with the verdict it stands for.
type Rejected struct{ Report }

// Error returns the report's message.
func (r *Rejected) Error() string { return r.Message }

func reject(v Verdict, field, format string, args ...any) *Rejected {
	return &Rejected{Report{Verdict: v, Field: field, Message: fmt.Sprintf(format, args...)}}
}
