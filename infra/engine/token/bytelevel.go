package token

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// byteLevel is GPT-2's byte-level BPE: a word's bytes are merged pair by pair,
// the merge of lowest rank first.
type byteLevel struct {
	split  splitter
	symbol [256]int32   // the symbol of each byte
	tokens []core.Token // the token of a symbol, or None
	bytes  []string     // the bytes of a symbol without a token
	merges *pairTable
	// words holds the vocabulary where whole words bypass the merges (Llama 3).
	words   map[string]core.Token
	unknown core.Token
}

func (t *Tokenizer) initByteLevel(m gguf.Metadata) error {
	pre, err := gguf.Or(m.Text("tokenizer.ggml.pre"))("default")
	if err != nil {
		return err
	}
	how, known := preTokenizers[pre]
	if !known {
		return core.Errorf(core.CodeInvalid, "the pre-tokenizer %.40q is not supported", pre)
	}
	b := &byteLevel{split: how.split}
	if v, ok := m.Lookup("tokenizer.ggml.merges"); ok && v.Len > maxMerges {
		return core.Errorf(core.CodeInvalid, "%d merges are too many", v.Len)
	}
	merges, err := m.Strings("tokenizer.ggml.merges")
	if err != nil {
		return err
	}
	symbols := t.byteLevelPieces()
	if err := b.index(t, symbols, merges); err != nil {
		return err
	}
	t.addBOS = t.addBOS || how.addBOS && !m.Has("tokenizer.ggml.add_bos_token")
	if how.wholeWords {
		b.words = symbols
	}
	t.model = b
	return nil
}

// byteLevelPieces fills in what each token renders as and returns the
// vocabulary of ordinary tokens by their bytes.
func (t *Tokenizer) byteLevelPieces() map[string]core.Token {
	t.pieces = make([][]byte, len(t.texts))
	byBytes := make(map[string]core.Token, len(t.texts))
	for i, s := range t.texts {
		t.pieces[i] = byteLevelText(s, t.kinds[i])
		p, k := string(t.pieces[i]), t.kinds[i]
		if _, taken := byBytes[p]; !taken && p != "" && (k == Normal || k == Byte) {
			byBytes[p] = core.Token(i)
		}
	}
	return byBytes
}

// byteLevelText is what a token renders as.
func byteLevelText(s string, k Kind) []byte {
	switch k {
	case Control:
		return nil
	case UserDefined:
		return []byte(s)
	}
	return []byte(fromAlphabet(s))
}

// index numbers the symbols that merging passes through. Symbols below the
// vocabulary's size are tokens; the others arise only in odd files.
func (b *byteLevel) index(t *Tokenizer, byBytes map[string]core.Token, merges []string) error {
	b.unknown = t.unknown
	b.tokens = make([]core.Token, len(t.texts))
	for i := range b.tokens {
		b.tokens[i] = core.Token(i)
	}
	extra := map[string]int32{}
	symbolOf := func(s string) int32 {
		if id, ok := byBytes[s]; ok {
			return int32(id)
		}
		id, ok := extra[s]
		if !ok {
			id = int32(len(b.tokens))
			extra[s] = id
			b.tokens = append(b.tokens, None)
			b.bytes = append(b.bytes, s)
		}
		return id
	}
	for c := range 256 {
		s := string([]byte{byte(c)})
		if _, ok := byBytes[s]; !ok && t.unknown == None {
			return core.Errorf(core.CodeInvalid, "the vocabulary has no token for the byte 0x%02x and no unknown token", c)
		}
		b.symbol[c] = symbolOf(s)
	}
	b.merges = newPairTable(len(merges))
	for rank, merge := range merges {
		// A symbol may itself begin with a space in vocabularies without the alphabet.
		cut := 0
		if len(merge) > 1 {
			cut = strings.IndexByte(merge[1:], ' ') + 1
		}
		if cut == 0 || cut == len(merge)-1 || len(merge) > 2*maxPiece {
			return core.Errorf(core.CodeInvalid, "merge %d is not two symbols: %.40q", rank, merge)
		}
		left, right := fromAlphabet(merge[:cut]), fromAlphabet(merge[cut+1:])
		b.merges.add(symbolOf(left), symbolOf(right), int32(rank), symbolOf(left+right))
	}
	return nil
}

func (b *byteLevel) encode(out []core.Token, text string, _ bool, w *workspace) []core.Token {
	b.split(text, func(piece string) {
		if id, ok := b.words[piece]; ok {
			out = append(out, id)
			return
		}
		known := w.seen.find(piece)
		if known.text == piece {
			out = append(out, out[known.start:known.end]...)
			return
		}
		start := len(out)
		out = b.encodeWord(out, piece, &w.word)
		*known = cached{piece, start, len(out)}
	})
	return out
}

// wordCache remembers where in the output a word was encoded before.
type wordCache struct {
	seed  maphash.Seed
	slots []cached
}

type cached struct {
	text       string
	start, end int
}

func newWordCache(textLength int) *wordCache {
	size := 1 << min(14, bits.Len(uint(textLength/8)))
	return &wordCache{maphash.MakeSeed(), make([]cached, size)}
}

// find returns the slot for a word, which may hold another one.
func (c *wordCache) find(word string) *cached {
	return &c.slots[maphash.String(c.seed, word)&uint64(len(c.slots)-1)]
}

func (b *byteLevel) encodeWord(out []core.Token, piece string, w *word) []core.Token {
	w.symbols = w.symbols[:0]
	for i := range len(piece) {
		w.symbols = append(w.symbols, b.symbol[piece[i]])
	}
	w.merge(b.merges)
	for _, s := range w.symbols {
		if id := b.tokens[s]; id != None {
			out = append(out, id)
			continue
		}
		// A merge led to a string that is no token: spell it out.
		for _, c := range []byte(b.bytes[int(s)-(len(b.tokens)-len(b.bytes))]) {
			if id := b.tokens[b.symbol[c]]; id != None {
				out = append(out, id)
			} else {
				out = append(out, b.unknown)
			}
		}
	}
	return out
}

// GPT-2 writes bytes as printable runes: those that are printable in Latin-1
// stand for themselves, the other 68 for U+0100 onwards, in order.
var (
	alphabet [256]rune
	fromRune [0x144]int16 // byte of a rune, or -1
	_        = initAlphabet()
)

func initAlphabet() bool {
	for i := range fromRune {
		fromRune[i] = -1
	}
	next := rune(0x100)
	for c := range 256 {
		r := rune(c)
		if !(r >= '!' && r <= '~' || r >= 0xa1 && r <= 0xac || r >= 0xae) {
			r = next
			next++
		}
		alphabet[c], fromRune[r] = r, int16(c)
	}
	return true
}

// fromAlphabet decodes GPT-2's spelling; runes outside the alphabet stay.
func fromAlphabet(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if int(r) < len(fromRune) && fromRune[r] >= 0 {
			b = append(b, byte(fromRune[r]))
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return string(b)
}

// toAlphabet is the inverse of fromAlphabet for byte strings.
func toAlphabet(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(alphabet[s[i]])
	}
	return b.String()
}
