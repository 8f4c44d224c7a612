package verify

import (
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// ClaimText says in words what the challenger of a dispute claims.
func ClaimText(claim []byte) string {
	var c referee.Claim
	if referee.Decode(claim, &c) != nil {
		return "unreadable"
	}
	if c.Search {
		return "the computation differs at some token and layer, to be found"
	}
	if e := c.End; e != nil {
		return fmt.Sprintf("the answer ends otherwise at position %d, or should have", e.Position)
	}
	if t := c.Token; t != nil {
		return fmt.Sprintf("output token %d is %d, and %d wins against it", t.Output, t.Given, t.Better)
	}
	return fmt.Sprintf("the computation first differs at token %d, layer %d", c.Position, c.Layer)
}

// DueText says in words what an open dispute waits for.
func DueText(d *core.Dispute) string {
	if d.Turn == core.SideProvider {
		return fmt.Sprintf("the provider has to show the %s", d.Phase)
	}
	return fmt.Sprintf("the %s has to point at the %s", d.Turn, d.Phase)
}
