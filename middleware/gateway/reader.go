package gateway

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// reader turns one answer's tokens into what the API shows: text before the
// first stop string, calls of tools, and log-probabilities.
type reader struct {
	text  *Text
	calls callReader // nil where no tool may be called
	most  int        // calls that are shown; 0 is no bound
	shown int        // calls so far

	waiting []waiting // log-probabilities whose token's text is still held back
	fed     int       // bytes of text that the tokens so far stand for
	visible int       // bytes of it that were let through
}

type waiting struct {
	probs core.TokenLogprobs
	start int // byte of the text at which the token begins
}

// delta is what a run of tokens adds to an answer.
type delta struct {
	text  string
	calls []callPart
	probs []core.TokenLogprobs
}

// whole are the calls put together.
func (d *delta) whole() (out []chat.ToolCall) {
	for _, p := range d.calls {
		if p.begins {
			out = append(out, chat.ToolCall{ID: p.id, Name: p.name})
		}
		last := &out[len(out)-1]
		last.Arguments = append(last.Arguments, p.arguments...)
	}
	return out
}

func (d delta) empty() bool { return d.text == "" && len(d.calls) == 0 && len(d.probs) == 0 }

func (d *delta) join(more delta) {
	d.text += more.text
	d.calls, d.probs = append(d.calls, more.calls...), append(d.probs, more.probs...)
}

// add takes the next tokens and their log-probabilities, if any were ordered.
func (r *reader) add(ts []core.Token, ps []core.TokenLogprobs) delta {
	var d delta
	for i, t := range ts {
		if len(ps) > i && !r.text.stop.stopped && !r.text.hidden(t) {
			r.waiting = append(r.waiting, waiting{ps[i], r.fed})
		}
		in, out := r.text.step(t)
		r.fed += in
		r.pass(&d, out)
	}
	return d
}

// end returns what is left of an answer.
func (r *reader) end() delta {
	var d delta
	r.pass(&d, r.text.End())
	if !r.text.stop.stopped {
		r.visible = r.fed + 1
		r.release(&d)
	}
	if r.calls != nil {
		r.take(&d, r.calls.end)
	}
	return d
}

// pass lets text through, and the log-probabilities of the tokens that begin in it.
func (r *reader) pass(d *delta, text string) {
	r.visible += len(text)
	r.release(d)
	if text == "" {
		return
	}
	if r.calls == nil {
		d.text += text
		return
	}
	r.take(d, func() (string, []callPart) { return r.calls.write(text) })
}

func (r *reader) release(d *delta) {
	for len(r.waiting) > 0 && (r.waiting[0].start < r.visible || r.visible == r.fed && !r.text.stop.stopped) {
		d.probs = append(d.probs, r.waiting[0].probs)
		r.waiting = r.waiting[1:]
	}
}

func (r *reader) take(d *delta, read func() (string, []callPart)) {
	text, calls := read()
	d.text += text
	for _, p := range calls {
		if p.begins {
			r.shown++
		}
		if r.most == 0 || r.shown <= r.most {
			d.calls = append(d.calls, p)
		}
	}
}
