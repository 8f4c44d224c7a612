package token

import (
	"errors"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// None is the token that a model does not have.
const None core.Token = -1

// Limits on a vocabulary.
const (
	maxVocabulary = 1 << 20
	maxMerges     = 1 << 21
	maxPiece      = 1 << 12 // bytes of one token
	maxSpecials   = 1 << 18 // bytes of all control and user-defined tokens
)

// Kind says what a token is, numbered as tokenizer.ggml.token_type.
type Kind uint8

// Kinds of tokens.
const (
	Normal      Kind = 1
	Unknown     Kind = 2
	Control     Kind = 3 // structure; never rendered
	UserDefined Kind = 4 // matched in any text before all else
	Unused      Kind = 5
	Byte        Kind = 6 // SentencePiece's fallback, written <0x41>
)

// Tokenizer is a model's vocabulary with its rules.
type Tokenizer struct {
	texts  []string // as in the file
	pieces [][]byte // what a token renders as; nil for control tokens
	kinds  []Kind
	ends   map[core.Token]bool

	bos, eos, unknown core.Token
	addBOS, addEOS    bool
	spacePrefix       bool // SentencePiece puts a space before a text

	special *matcher            // tokens found in the text itself
	strips  map[core.Token]bool // special tokens that swallow the white space behind them
	model   model
}

// model encodes text without special tokens.
type model interface {
	// encode appends the tokens of text. start says that nothing or a special
	// token comes before it. Calls for parts of one text share w and out.
	encode(out []core.Token, text string, start bool, w *workspace) []core.Token
}

// workspace is what encoding a text needs beside its output.
type workspace struct {
	seen *wordCache
	word word   // of byteLevel
	join joiner // of sentencePiece
}

// Options of Encode.
type Options struct {
	// AddBOS puts the beginning-of-text token first if the model's metadata ask
	// for one and the text does not begin with it already.
	AddBOS bool
	// AddEOS puts the end-of-text token last if the model's metadata ask for one,
	// as embedding models do, and the text does not end with it already.
	AddEOS bool
	// ParseSpecial turns control tokens written out in the text, as in
	// "<|im_start|>", into those tokens. For rendered templates, never for a
	// stranger's text.
	ParseSpecial bool
}

// New builds the tokenizer that a file's metadata describe.
func New(m gguf.Metadata) (*Tokenizer, error) {
	t := &Tokenizer{ends: map[core.Token]bool{}}
	name, err := m.Text("tokenizer.ggml.model")
	if err != nil {
		return nil, err
	}
	if name != "gpt2" && name != "llama" { // "t5" is a unigram model, "bert" WordPiece
		return nil, core.Errorf(core.CodeInvalid, "the tokenizer model %.40q is not supported, only \"gpt2\" and \"llama\"", name)
	}
	if err := t.readVocabulary(m); err != nil {
		return nil, err
	}
	t.bos, t.eos, t.unknown = None, None, None
	if name == "llama" { // SentencePiece's own defaults
		t.unknown, t.bos, t.eos, t.addBOS = t.existing(0), t.existing(1), t.existing(2), true
	}
	if err := t.readRoles(m); err != nil {
		return nil, err
	}
	if name == "gpt2" {
		err = t.initByteLevel(m)
	} else {
		err = t.initSentencePiece(m)
	}
	if err != nil {
		return nil, err
	}
	t.special = newMatcher(t.texts, t.kinds)
	name, err = gguf.Or(m.Text("general.name"))("")
	t.setStripping(name)
	return t, err
}

// setStripping marks the tokens that swallow the white space behind them. Files
// do not say; only Phi-3's are known to, and go by the model's name.
func (t *Tokenizer) setStripping(model string) {
	model = strings.ToLower(model)
	if !strings.Contains(model, "phi-3") && !strings.Contains(model, "phi3") {
		return
	}
	t.strips = map[core.Token]bool{}
	for i, s := range t.texts {
		if isSpecial(t.kinds[i]) && s != "<unk>" && s != "<s>" && s != "<|endoftext|>" {
			t.strips[core.Token(i)] = true
		}
	}
}

// existing returns id if the vocabulary is that large.
func (t *Tokenizer) existing(id core.Token) core.Token {
	if int(id) < len(t.texts) {
		return id
	}
	return None
}

func (t *Tokenizer) readVocabulary(m gguf.Metadata) error {
	if v, ok := m.Lookup("tokenizer.ggml.tokens"); ok && (v.Len == 0 || v.Len > maxVocabulary) {
		return core.Errorf(core.CodeInvalid, "a vocabulary of %d tokens is not possible", v.Len)
	}
	var err error
	if t.texts, err = m.Strings("tokenizer.ggml.tokens"); err != nil {
		return err
	}
	kinds, err := gguf.Or(m.Ints("tokenizer.ggml.token_type"))(nil)
	if err != nil {
		return err
	}
	if kinds != nil && len(kinds) != len(t.texts) {
		return core.Errorf(core.CodeInvalid, "the vocabulary has %d tokens but %d token types", len(t.texts), len(kinds))
	}
	t.kinds = make([]Kind, len(t.texts))
	specials := 0
	for i, s := range t.texts {
		t.kinds[i] = Normal
		if kinds != nil {
			if kinds[i] < 0 || kinds[i] > int64(Byte) {
				return core.Errorf(core.CodeInvalid, "token %d has the unknown type %d", i, kinds[i])
			}
			t.kinds[i] = max(Kind(kinds[i]), Normal)
		}
		// Some files mark end tokens as text; rendering them would be wrong.
		if endTexts[s] {
			t.kinds[i] = Control
			t.ends[core.Token(i)] = true
		}
		if isSpecial(t.kinds[i]) {
			specials += len(s)
		}
		if len(s) > maxPiece || specials > maxSpecials {
			return core.Errorf(core.CodeInvalid, "token %d of %d bytes is too long", i, len(s))
		}
	}
	return nil
}

// endTexts are tokens that end an answer wherever they exist, because files
// often name only one of them.
var endTexts = map[string]bool{
	"<|eot_id|>": true, "<|eom_id|>": true, "<|end_of_text|>": true, "<|im_end|>": true, "<|endoftext|>": true,
	"<|end|>": true, "<|return|>": true, "<end_of_turn>": true, "<EOT>": true, "<end_of_utterance>": true,
	"<｜end▁of▁sentence｜>": true, "<|call|>": true, "[EOT]": true,
}

func (t *Tokenizer) readRoles(m gguf.Metadata) error {
	var err error
	role := func(key string, fallback core.Token) core.Token {
		key = "tokenizer.ggml." + key
		if !m.Has(key) {
			return fallback
		}
		id, e := m.Uint(key)
		switch {
		case e != nil:
			err = errors.Join(err, e)
		case id == 1<<32-1: // how some writers spell "none"
		case id >= uint64(len(t.texts)):
			err = errors.Join(err, core.Errorf(core.CodeInvalid, "%s %d is outside the vocabulary", key, id))
		default:
			return core.Token(id)
		}
		return None
	}
	t.bos, t.eos = role("bos_token_id", t.bos), role("eos_token_id", t.eos)
	t.unknown = role("unknown_token_id", t.unknown)
	for _, id := range []core.Token{t.eos, role("eot_token_id", None), role("eom_token_id", None)} {
		if id != None {
			t.ends[id] = true
		}
	}
	for _, id := range []core.Token{t.bos, t.eos} {
		if id != None && t.kinds[id] != UserDefined {
			t.kinds[id] = Control
		}
	}
	var e1, e2, e3 error
	t.addBOS, e1 = gguf.Or(m.Bool("tokenizer.ggml.add_bos_token"))(t.addBOS)
	t.addEOS, e2 = gguf.Or(m.Bool("tokenizer.ggml.add_eos_token"))(false)
	normalises, e3 := gguf.Or(m.Bool("tokenizer.ggml.remove_extra_whitespaces"))(false)
	if normalises {
		e3 = core.Errorf(core.CodeInvalid, "tokenizer.ggml.remove_extra_whitespaces is not supported")
	}
	return errors.Join(err, e1, e2, e3)
}

// Encode returns the tokens of text, which need not be UTF-8.
func (t *Tokenizer) Encode(text string, o Options) []core.Token {
	out := make([]core.Token, 0, len(text)/3+2)
	start := true
	w := workspace{seen: newWordCache(len(text))}
	for len(text) > 0 {
		at, n, id := t.special.next(text, o.ParseSpecial)
		if at > 0 {
			out = t.model.encode(out, text[:at], start, &w)
			start = false
		}
		if n > 0 {
			out = append(out, id)
			start = true
		}
		text = text[at+n:]
		if n > 0 && t.strips[id] {
			text = strings.TrimLeft(text, " \t\n\v\f\r")
		}
	}
	if o.AddBOS && t.addBOS && t.bos != None && (len(out) == 0 || out[0] != t.bos) {
		out = append(out, 0)
		copy(out[1:], out)
		out[0] = t.bos
	}
	if o.AddEOS && t.addEOS && t.eos != None && (len(out) == 0 || out[len(out)-1] != t.eos) {
		out = append(out, t.eos)
	}
	return out
}

// Decode returns the bytes that the tokens stand for, control tokens left out.
// It undoes Encode; for an answer in mid-text use a Decoder.
func (t *Tokenizer) Decode(ids []core.Token) string {
	var b []byte
	first := true
	for _, id := range ids {
		p := t.Piece(id)
		if first && t.spacePrefix && len(p) > 0 && p[0] == ' ' {
			p = p[1:]
		}
		first = first && t.IsControl(id)
		b = append(b, p...)
	}
	return string(b)
}

// Piece returns the bytes that a token adds to the text: none for control
// tokens and for ids outside the vocabulary. A piece need not be whole UTF-8.
// Do not change it.
func (t *Tokenizer) Piece(id core.Token) []byte {
	if uint(id) >= uint(len(t.pieces)) {
		return nil
	}
	return t.pieces[id]
}

// Text returns a token as the vocabulary writes it, such as "<s>".
func (t *Tokenizer) Text(id core.Token) string {
	if uint(id) >= uint(len(t.texts)) {
		return ""
	}
	return t.texts[id]
}

// ID returns the special token (control or user-defined) of this text, or None.
func (t *Tokenizer) ID(text string) core.Token {
	if at, n, id := t.special.next(text, true); at == 0 && n == len(text) && n > 0 {
		return id
	}
	return None
}

// Size is the number of tokens in the vocabulary.
func (t *Tokenizer) Size() int { return len(t.texts) }

// BOS is the beginning-of-text token or None.
func (t *Tokenizer) BOS() core.Token { return t.bos }

// EOS is the end-of-text token or None. An answer may end by others: see IsEnd.
func (t *Tokenizer) EOS() core.Token { return t.eos }

// AddsBOS reports whether prompts of this model begin with BOS.
func (t *Tokenizer) AddsBOS() bool { return t.addBOS && t.bos != None }

// IsEnd reports whether the token ends an answer: end of text, turn or message.
func (t *Tokenizer) IsEnd(id core.Token) bool { return t.ends[id] }

// IsControl reports whether the token is structure rather than text.
func (t *Tokenizer) IsControl(id core.Token) bool {
	return uint(id) < uint(len(t.kinds)) && t.kinds[id] == Control
}
