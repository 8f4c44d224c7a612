package console

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

var (
	liar     = core.Address{1}
	monikers = map[core.Address]string{liar: "<liar>"}
	noon     = time.Unix(1_000_000, 0)
)

// disputed is a dispute after its first moves.
func disputed(id uint64, moves int) core.Dispute {
	d := core.Dispute{ID: id, Provider: liar, Receipt: core.ReceiptID{0xab, 0xcd, 0xef, 0x12}, Claim: referee.Encode(referee.Claim{Position: 7, Layer: 2}),
		Deadline: noon.Unix() + 13}
	all := []core.DisputeMove{{Side: "challenger", Move: "claim", Size: 1000}, {Side: "provider", Move: "layer", Size: 500},
		{Side: "challenger", Move: "pick operator", Size: 9}, {Side: "provider", Move: "tiles", Size: 12_345}}
	for i, m := range all[:moves] {
		d.History = append(d.History, m)
		d.Moves++
		d.Size += uint64(m.Size)
		d.Turn, d.Phase = all[(i+1)%4].Side, []string{"layer", "operator", "tiles", "tile"}[i]
	}
	return d
}

func ended(d core.Dispute, winner, cause string) core.Dispute {
	d.Winner, d.Cause, d.Turn, d.Phase, d.Deadline = winner, cause, "", "", 0
	return d
}

func listed(ds ...core.Dispute) (v networkView) {
	for i := range ds {
		v.Disputes = append(v.Disputes, viewDispute(&ds[i], monikers, noon))
	}
	return v
}

var tags = regexp.MustCompile(`<[^>]*>|\s+`)

// text is what a reader sees of the panel.
func text(t *testing.T, v networkView) string {
	t.Helper()
	html, err := render(t.Context(), disputesPanel(v))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(tags.ReplaceAllString(html, " ")), " ")
}

func TestDisputesPanel(t *testing.T) {
	slashed := ended(disputed(1, 3), core.SideChallenger, "the provider did not show the tiles in time")
	slashed.Slashed, slashed.Refund, slashed.Bounty = core.Koin(500), core.Koin(1), core.Koin(150)
	for _, c := range []struct {
		name string
		v    networkView
		want []string
	}{
		{"empty", networkView{}, []string{"Nobody has disputed", "koinon devnet --cheat flip-weight"}},
		{"claimed", listed(disputed(1, 1)), []string{"Dispute 1", " open ", "&lt;liar&gt;", "receipt abcdef12", "first differs at token 7, layer 2",
			"The provider has to show the layer 13 s left", "1 move, 1.0 kB on chain", "claim 1.0 kB 1 layer"}},
		{"provider's turn", listed(disputed(1, 3)), []string{"The provider has to show the tiles", "3 moves, 1.5 kB on chain", "claim 1.0 kB 1 layer 500 B operator 9 B 2 tiles"}},
		{"challenger's turn", listed(disputed(1, 2)), []string{"The challenger has to point at the operator 13 s left", "layer 500 B operator 2"}},
		{"convicted", listed(slashed), []string{"proven wrong", "The provider did not show the tiles in time",
			"Slashed 500 koin Back to the consumer 1 koin Bounty 150 koin Burned 349 koin", "operator 9 B 2 nothing"}},
		{"bankrupt", listed(ended(disputed(1, 3), core.SideChallenger, "late")), []string{"proven wrong", "Late; nothing was left to slash"}},
		{"acquitted", listed(ended(disputed(1, 4), core.SideProvider, "the step holds")), []string{"the answer held", "The step holds", "tiles 12.3 kB"}},
		{"newest first", listed(disputed(2, 1), disputed(1, 1)), []string{"Dispute 2", "Dispute 1"}},
	} {
		got := text(t, c.v)
		rest := got
		for _, w := range c.want {
			_, after, ok := strings.Cut(rest, w)
			if !ok {
				t.Errorf("%s: no %q, in this order, in %q", c.name, w, got)
				break
			}
			rest = after
		}
	}
	if got := text(t, listed(disputed(1, 2))); strings.Contains(got, "nothing") {
		t.Errorf("an open dispute says that nothing was shown: %q", got)
	}
	if got := text(t, networkView{Problem: "no answer"}); strings.Contains(got, "Nobody") {
		t.Errorf("a failure looks like peace: %q", got)
	}
}

func TestTimeLeft(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "time is over", 0: "time is over", 90 * time.Second: "90 s left", 20 * time.Minute: "20 min left", 3 * time.Hour: "3 h left"} {
		if got := left(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// TestDocketSendsWhatChanged follows a page from its first disputes on: what
// the reader unfolded is touched by nothing but a new page.
func TestDocketSendsWhatChanged(t *testing.T) {
	var k docket
	for _, c := range []struct {
		what string
		v    networkView
		want []string // ids of the elements sent, at the least
		not  []string
	}{
		{"nothing yet", networkView{}, []string{`id="disputes"`}, nil},
		{"nothing still", networkView{}, nil, []string{"event:"}},
		{"the first", listed(disputed(1, 1)), []string{`id="disputes"`, `id="dispute-1"`}, nil},
		{"a move", listed(disputed(1, 2)), []string{`id="dispute-1-standing"`, `id="dispute-1-rounds"`}, []string{"<details", `id="dispute-1-head"`}},
		{"a second", listed(disputed(2, 1), disputed(1, 2)), []string{"selector #docket", "mergeMode prepend", `id="dispute-2"`}, []string{`id="dispute-1`}},
		{"a verdict", listed(disputed(2, 1), ended(disputed(1, 2), core.SideProvider, "late")), []string{`id="dispute-1-head"`, "the answer held"}, []string{"<details", "dispute-2"}},
		{"silence", networkView{Problem: "the ledger does not answer"}, nil, []string{"event:"}},
		{"the oldest leaves", listed(disputed(2, 1)), []string{"remove-fragments", "selector #dispute-1"}, []string{"<details"}},
		{"all quiet", listed(disputed(2, 1)), nil, []string{"event:"}},
	} {
		w := httptest.NewRecorder()
		if err := k.send(open(w, httptest.NewRequest("GET", "/console/live", nil)), c.v); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		body := w.Body.String()
		for _, s := range c.want {
			if !strings.Contains(body, s) {
				t.Errorf("%s: %q is not sent: %s", c.what, s, body)
			}
		}
		for _, s := range c.not {
			if strings.Contains(body, s) {
				t.Errorf("%s: %q is sent: %s", c.what, s, body)
			}
		}
	}
}
