package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/verify"
)

// docketLength is how many disputes the page lists.
const docketLength = 5

// disputeView is a dispute, worded.
type disputeView struct {
	ID                uint64
	Provider, Receipt string
	Claim             string
	State, Verdict    string // class and words of the verdict, "" while open
	Due, Left         string // while open
	Cause             string // of the verdict
	Money             []moneyView
	Rounds            []roundView
	Size              string
	Expanded          bool // rounds are seen at first
}

// moneyView is where a part of the stake went.
type moneyView struct{ What, Amount string }

// roundView is what the challenger pointed at and what the provider showed.
type roundView struct{ Challenger, Provider moveView }

// moveView is one move, or what stands in its place.
type moveView struct {
	What  string
	Size  string // "" of what is no move
	Share string // width in percent of the dispute's largest move
	Due   bool   // the game waits for it
}

func viewDispute(d *core.Dispute, monikers map[core.Address]string, now time.Time) disputeView {
	v := disputeView{ID: d.ID, Provider: monikers[d.Provider], Receipt: d.Receipt.String(), Claim: verify.ClaimText(d.Claim), Rounds: rounds(d)}
	if v.Provider == "" {
		v.Provider = d.Provider.String()
	}
	v.Size = fmt.Sprintf("%d moves, %s on chain", d.Moves, size(d.Size))
	if d.Moves == 1 {
		v.Size = fmt.Sprintf("1 move, %s on chain", size(d.Size))
	}
	switch d.Winner {
	case "":
		v.Due, v.Left = sentence(verify.DueText(d)), left(time.Unix(d.Deadline, 0).Sub(now))
		return v
	case core.SideChallenger:
		v.State, v.Verdict = "bad", "proven wrong"
	default:
		v.State, v.Verdict = "good", "the answer held"
	}
	v.Cause = sentence(d.Cause)
	if !d.Slashed.IsZero() {
		v.Money = []moneyView{{"Slashed", koin(d.Slashed)}, {"Back to the consumer", koin(d.Refund)}, {"Bounty", koin(d.Bounty)},
			{"Burned", koin(d.Slashed.Less(d.Refund).Less(d.Bounty))}}
	} else if d.Winner == core.SideChallenger {
		v.Cause += "; nothing was left to slash"
	}
	return v
}

// rounds pairs what was pointed at with what was shown, and leaves a place for
// the move that is due.
func rounds(d *core.Dispute) (rs []roundView) {
	largest := uint32(1)
	for _, m := range d.History {
		largest = max(largest, m.Size)
	}
	put := func(side string, v moveView) {
		if n := len(rs); side == core.SideProvider && n > 0 && rs[n-1].Provider == (moveView{}) {
			rs[n-1].Provider = v
		} else if side == core.SideProvider {
			rs = append(rs, roundView{Provider: v})
		} else {
			rs = append(rs, roundView{Challenger: v})
		}
	}
	for _, m := range d.History {
		put(m.Side, moveView{What: strings.TrimPrefix(m.Move, "pick "), Size: size(uint64(m.Size)), Share: fmt.Sprintf("%.1f", max(1.5, 100*float64(m.Size)/float64(largest)))})
	}
	if d.Winner == "" {
		put(d.Turn, moveView{What: d.Phase, Due: true})
	} else if n := len(rs); n > 0 && rs[n-1].Provider == (moveView{}) {
		rs[n-1].Provider.What = "nothing"
	}
	return rs
}

// left writes how much time there is.
func left(t time.Duration) string {
	s := int(t / time.Second)
	switch {
	case s <= 0:
		return "time is over"
	case s < 120:
		return fmt.Sprintf("%d s left", s)
	case s < 2*3600:
		return fmt.Sprintf("%d min left", s/60)
	}
	return fmt.Sprintf("%d h left", s/3600)
}

func size(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1000)
}

// sentence begins a text with a capital letter.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// docket keeps the disputes of an open page up to date. It sends the parts of a
// dispute that changed, so that what the reader unfolded stays unfolded.
type docket struct {
	ids  []uint64          // listed
	sent map[string]string // the parts on the page
}

func (k *docket) send(out *stream, v networkView) error {
	if v.Problem != "" {
		return nil // what was seen last stands
	}
	whole := k.sent == nil || (len(k.ids) == 0) != (len(v.Disputes) == 0)
	if whole {
		if err := out.morph(disputesPanel(v)); err != nil {
			return err
		}
	}
	var ids []uint64
	sent := map[string]string{}
	for _, d := range slices.Backward(v.Disputes) {
		ids = append(ids, d.ID)
		known := whole || slices.Contains(k.ids, d.ID)
		if !known {
			if err := out.fragments(disputeItem(d), "selector #docket", "mergeMode prepend"); err != nil {
				return err
			}
		}
		for name, part := range map[string]templ.Component{"head": disputeHead(d), "standing": disputeStanding(d), "rounds": disputeRounds(d)} {
			name = fmt.Sprintf("%d-%s", d.ID, name)
			html, err := render(out.ctx, part)
			if err != nil {
				return err
			}
			sent[name] = html
			if whole || !known || k.sent[name] == html {
				continue
			}
			if err := out.morph(part); err != nil {
				return err
			}
		}
	}
	if !whole {
		for _, id := range k.ids {
			if !slices.Contains(ids, id) {
				if err := out.remove(fmt.Sprintf("#dispute-%d", id)); err != nil {
					return err
				}
			}
		}
	}
	k.ids, k.sent = ids, sent
	return nil
}
