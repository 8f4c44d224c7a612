package token

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// sentencePiece is SentencePiece's BPE: neighbouring symbols whose union is in
// the vocabulary are joined, the union of highest score first; what remains
// outside the vocabulary is spelt in bytes.
type sentencePiece struct {
	tokens *pieceTable // ordinary tokens; here and in texts a space is one byte
	scores []float32
	bytes  [256]core.Token
	// ascii and inside hold the pairs of neighbouring runes within ordinary
	// tokens. No token spans any other pair, so the text can be cut there.
	ascii  [utf8.RuneSelf][2]uint64 // a bit for each rune that follows
	inside *pairTable
	prefix bool
}

const lowLine = "\u2581" // how SentencePiece writes a space

// spaced writes a text with spaces, which is shorter.
func spaced(s string) string { return strings.ReplaceAll(s, lowLine, " ") }

func (t *Tokenizer) initSentencePiece(m gguf.Metadata) error {
	sp := &sentencePiece{tokens: newPieceTable(len(t.texts))}
	var err error
	if sp.scores, err = m.Floats("tokenizer.ggml.scores"); err != nil {
		return err
	}
	if len(sp.scores) != len(t.texts) {
		return core.Errorf(core.CodeInvalid, "the vocabulary has %d tokens but %d scores", len(t.texts), len(sp.scores))
	}
	if sp.prefix, err = gguf.Or(m.Bool("tokenizer.ggml.add_space_prefix"))(true); err != nil {
		return err
	}
	t.spacePrefix = sp.prefix
	for c := range sp.bytes {
		sp.bytes[c] = None
	}
	t.pieces = make([][]byte, len(t.texts))
	for i, s := range t.texts {
		if x := sp.scores[i]; x != x || math.IsInf(float64(x), 0) {
			return core.Errorf(core.CodeInvalid, "token %d has no finite score", i)
		}
		t.pieces[i] = sp.addToken(core.Token(i), s, t.kinds[i])
	}
	for c := range sp.bytes {
		if sp.bytes[c] != None {
			continue
		}
		if id := sp.tokens.find(string([]byte{byte(c)})); id != None {
			sp.bytes[c] = id
		} else if t.unknown == None {
			return core.Errorf(core.CodeInvalid, "the vocabulary has no token for the byte 0x%02x and no unknown token", c)
		} else {
			sp.bytes[c] = t.unknown
		}
	}
	sp.indexPairs(t)
	t.model = sp
	return nil
}

// addToken files a token and returns what it renders as.
func (sp *sentencePiece) addToken(id core.Token, s string, k Kind) []byte {
	piece := sentencePieceText(s, k)
	switch k {
	case Byte:
		if len(piece) == 1 && sp.bytes[piece[0]] == None {
			sp.bytes[piece[0]] = id
		}
	case Normal:
		if !strings.Contains(s, " ") { // no text has a space that is not a low line
			sp.tokens.add(spaced(s), id)
		}
	}
	return piece
}

// sentencePieceText is what a token renders as.
func sentencePieceText(s string, k Kind) []byte {
	switch k {
	case Control, Unused:
		return nil
	case Unknown:
		return []byte("\ufffd")
	case Byte:
		var c byte
		if n, err := fmt.Sscanf(s, "<0x%02X>", &c); n == 1 && err == nil && len(s) == 6 {
			return []byte{c}
		}
		return nil
	}
	return []byte(spaced(s))
}

func (sp *sentencePiece) indexPairs(t *Tokenizer) {
	wide := map[[2]rune]bool{}
	for i, piece := range t.pieces {
		if t.kinds[i] != Normal {
			continue
		}
		last := rune(-1)
		for _, r := range string(piece) {
			if last >= 0 && (last|r) < utf8.RuneSelf {
				sp.ascii[last][r>>6] |= 1 << (r & 63)
			} else if last >= 0 {
				wide[[2]rune{last, r}] = true
			}
			last = r
		}
	}
	sp.inside = newPairTable(len(wide))
	for p := range wide {
		sp.inside.add(p[0], p[1], 0, 0)
	}
}

// part is a symbol: text[start:end] while live, linked to its neighbours.
type part struct {
	start, end int32
	prev, next int32
}

// union is a possible join of the part at left with its neighbour.
type union struct {
	score     float32
	left, end int32 // the join covers text[parts[left].start:end]
	mid       int32 // where the two parts meet
	id        core.Token
}

func (a union) before(b union) bool {
	return a.score > b.score || a.score == b.score && a.left < b.left
}

func (sp *sentencePiece) encode(out []core.Token, text string, start bool, w *workspace) []core.Token {
	text = spaced(text)
	if start && sp.prefix {
		text = " " + text
	}
	last, n := utf8.DecodeRuneInString(text)
	for begin, end := 0, n; begin < len(text); end += n {
		var r rune
		if end < len(text) {
			r, n = utf8.DecodeRuneInString(text[end:])
			if sp.joins(last, r) {
				last = r
				continue
			}
		}
		run := text[begin:end]
		if known := w.seen.find(run); known.text == run {
			out = append(out, out[known.start:known.end]...)
		} else {
			at := len(out)
			out = sp.encodeRun(out, run, &w.join)
			*known = cached{run, at, len(out)}
		}
		begin, last = end, r
	}
	return out
}

// joins reports whether some token spans this pair of neighbours.
func (sp *sentencePiece) joins(left, right rune) bool {
	if (left | right) < utf8.RuneSelf {
		return sp.ascii[left][right>>6]>>(right&63)&1 > 0
	}
	return sp.inside.rank(left, right) != noRank
}

// joiner is working memory, reused from run to run.
type joiner struct {
	parts []part
	heap  unionHeap
}

func (sp *sentencePiece) encodeRun(out []core.Token, text string, j *joiner) []core.Token {
	if _, n := utf8.DecodeRuneInString(text); n == len(text) {
		return sp.spell(out, text)
	}
	j.parts = j.parts[:0]
	for i := 0; i < len(text); {
		_, n := utf8.DecodeRuneInString(text[i:])
		k := int32(len(j.parts))
		j.parts = append(j.parts, part{int32(i), int32(i + n), k - 1, k + 1})
		i += n
	}
	j.parts[len(j.parts)-1].next = -1
	sp.join(text, j)
	for i := int32(0); i >= 0; i = j.parts[i].next {
		out = sp.spell(out, text[j.parts[i].start:j.parts[i].end])
	}
	return out
}

// spell appends the token of a part, or those of its bytes.
func (sp *sentencePiece) spell(out []core.Token, part string) []core.Token {
	if id := sp.tokens.find(part); id != None {
		return append(out, id)
	}
	if part == " " {
		part = lowLine
	}
	for i := range len(part) {
		out = append(out, sp.bytes[part[i]])
	}
	return out
}

func (sp *sentencePiece) join(text string, j *joiner) {
	parts, h := j.parts, &j.heap
	propose := func(left int32) {
		l := parts[left]
		if l.next < 0 {
			return
		}
		end := parts[l.next].end
		if end-l.start > maxPiece {
			return
		}
		if id := sp.tokens.find(text[l.start:end]); id != None {
			h.push(union{sp.scores[id], left, end, l.end, id})
		}
	}
	for i := range int32(len(parts) - 1) {
		propose(i)
	}
	for len(*h) > 0 {
		u := h.pop()
		l := &parts[u.left]
		if l.end != u.mid || l.next < 0 || parts[l.next].end != u.end {
			continue // one of the two was joined elsewhere
		}
		right := parts[l.next]
		parts[l.next].end = -1
		l.end, l.next = right.end, right.next
		if l.next >= 0 {
			parts[l.next].prev = u.left
			propose(u.left)
		}
		if l.prev >= 0 {
			propose(l.prev)
		}
	}
}

type unionHeap []union

func (h *unionHeap) push(u union) {
	s := append(*h, u)
	i := len(s) - 1
	for i > 0 && u.before(s[(i-1)/2]) {
		s[i] = s[(i-1)/2]
		i = (i - 1) / 2
	}
	s[i] = u
	*h = s
}

func (h *unionHeap) pop() union {
	s := *h
	top, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	for i := 0; len(s) > 0; {
		k := 2*i + 1
		if k+1 < len(s) && s[k+1].before(s[k]) {
			k++
		}
		if k >= len(s) || !s[k].before(last) {
			s[i] = last
			break
		}
		s[i] = s[k]
		i = k
	}
	*h = s
	return top
}
