package verify

import (
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

func TestDisputesInWords(t *testing.T) {
	for claim, want := range map[string]string{
		string(referee.Encode(referee.Claim{Position: 7, Layer: 2})):                                                                "the computation first differs at token 7, layer 2",
		string(referee.Encode(referee.Claim{Token: &referee.TokenClaim{Output: 3, Given: 11, Better: 12, Path: []core.Hash{{1}}}})): "output token 3 is 11, and 12 wins against it",
		string(referee.Encode(referee.Claim{Search: true})):                                                                         "the computation differs at some token and layer, to be found",
		string(referee.Encode(referee.Claim{End: &referee.EndClaim{Position: 9}})):                                                  "the answer ends otherwise at position 9, or should have",
		"":     "unreadable",
		"\xff": "unreadable",
	} {
		if got := ClaimText([]byte(claim)); got != want {
			t.Errorf("claim %x: %q, want %q", claim, got, want)
		}
	}
	for _, d := range []struct {
		phase referee.Phase
		want  string
	}{
		{referee.NeedTiles, "the provider has to show the tiles"},
		{referee.NeedTile, "the challenger has to point at the tile"},
	} {
		if got := DueText(&core.Dispute{Turn: d.phase.Side().String(), Phase: d.phase.String()}); got != d.want {
			t.Errorf("%q, want %q", got, d.want)
		}
	}
}
