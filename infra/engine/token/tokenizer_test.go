package token

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// vectors were encoded by Hugging Face's tokenizers with the merges in the
// file and each model family's own regular expressions.
func vectors(t testing.TB) (v struct {
	Merges  []string
	Vectors []struct {
		Text string
		IDs  map[string][]core.Token
	}
}) {
	t.Helper()
	b, err := os.ReadFile("testdata/bpe.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// byteLevelModel is the metadata of a vocabulary given by its merges.
func byteLevelModel(merges []string, pre string, specials ...string) gguf.Metadata {
	var v Vocabulary
	for c := range 256 {
		v.Tokens = append(v.Tokens, toAlphabet(string([]byte{byte(c)})))
	}
	known := map[string]bool{}
	for _, s := range specials {
		known[s] = true
	}
	for _, m := range merges {
		left, right, _ := strings.Cut(m, " ")
		if !known[left+right] {
			known[left+right] = true
			v.Tokens = append(v.Tokens, left+right)
		}
	}
	v.Kinds = slices.Repeat([]int32{1}, len(v.Tokens))
	for _, s := range specials {
		v.Tokens, v.Kinds = append(v.Tokens, s), append(v.Kinds, 3)
	}
	var m gguf.Metadata
	m.Set("tokenizer.ggml.model", "gpt2")
	m.Set("tokenizer.ggml.pre", pre)
	m.Set("tokenizer.ggml.tokens", v.Tokens)
	m.Set("tokenizer.ggml.token_type", v.Kinds)
	m.Set("tokenizer.ggml.merges", merges)
	return m
}

func mustNew(t testing.TB, m gguf.Metadata) *Tokenizer {
	t.Helper()
	tok, err := New(m)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestPreTokenizersAgreeWithTheirExpressions(t *testing.T) {
	v := vectors(t)
	n := 0
	for pre := range v.Vectors[0].IDs {
		tok := mustNew(t, byteLevelModel(v.Merges, pre))
		for _, c := range v.Vectors {
			n++
			if got := tok.Encode(c.Text, Options{}); !slices.Equal(got, c.IDs[pre]) {
				t.Errorf("%s: %q gives %v, want %v", pre, c.Text, got, c.IDs[pre])
			}
		}
	}
	if n < 400 {
		t.Errorf("only %d vectors", n)
	}
}

func TestSplits(t *testing.T) {
	for _, c := range []struct{ pre, text, want string }{
		{"gpt-2", "I'LL we'll  x\n\n y 123", "I|'|LL| we|'ll| | x|\n\n| y| 123"},
		{"llama-bpe", "I'LL  x\r\n\n y 12345!\n\n", "I|'LL| | x|\r\n\n| y| |123|45|!\n\n"},
		{"qwen2", "a 42 _b", "a| |4|2| _|b"},
		{"smollm", "a 42 b", "a| |4|2| b"},
		{"default", "a 1234 b, c", "a| |123|4| b|,| c"},
		{"gpt-2", "x\u0085y", "x|\u0085|y"}, // next line is white space to Rust and llama.cpp
	} {
		var got []string
		preTokenizers[c.pre].split(c.text, func(w string) { got = append(got, w) })
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s: %q splits into %q, want %q", c.pre, c.text, s, c.want)
		}
	}
}

// The long-word path must agree with the short one.
func TestMergingByHeapEqualsMergingByScan(t *testing.T) {
	v := vectors(t)
	b := mustNew(t, byteLevelModel(v.Merges, "gpt-2")).model.(*byteLevel)
	text := strings.Repeat("thethereturn  error", 40)
	for n := 2; n < 400; n += 7 {
		var a, c word
		for _, x := range []byte(text[:n]) {
			a.symbols, c.symbols = append(a.symbols, b.symbol[x]), append(c.symbols, b.symbol[x])
		}
		a.mergeShort(b.merges)
		c.mergeLong(b.merges)
		if !slices.Equal(a.symbols, c.symbols) {
			t.Fatalf("length %d: %v and %v", n, a.symbols, c.symbols)
		}
	}
}

func TestControlTokensComeOnlyOnRequest(t *testing.T) {
	tok := mustNew(t, byteLevelModel(nil, "qwen2", "<|im_start|>", "<|im_end|>", "<|im|>"))
	text := "a<|im_start|>b<|im_end|>"
	plain := tok.Encode(text, Options{})
	for _, id := range plain {
		if tok.IsControl(id) {
			t.Fatalf("text became the control token %q", tok.Text(id))
		}
	}
	if tok.Decode(plain) != text {
		t.Error(tok.Decode(plain))
	}
	parsed := tok.Encode(text, Options{ParseSpecial: true})
	if want := []core.Token{'a', 256, 'b', 257}; len(parsed) != 4 || parsed[1] != want[1] || parsed[3] != want[3] {
		t.Error(parsed)
	}
	if !tok.IsEnd(257) || tok.IsEnd(256) || tok.Decode(parsed) != "ab" {
		t.Error("ends or rendering of control tokens")
	}
}

// A SentencePiece vocabulary by hand: scores fall with the id, as trained ones'.
func sentencePieceModel() gguf.Metadata {
	tokens := []string{"<unk>", "<s>", "</s>"}
	kinds := []int32{2, 3, 3}
	for c := range 256 {
		tokens, kinds = append(tokens, fmt.Sprintf("<0x%02X>", c)), append(kinds, 6)
	}
	for _, s := range []string{"▁a", "ab", "▁ab", "bc", "a", "b", "c", "▁"} {
		tokens, kinds = append(tokens, s), append(kinds, 1)
	}
	scores := make([]float32, len(tokens))
	for i := 259; i < len(tokens); i++ {
		scores[i] = float32(259 - i)
	}
	var m gguf.Metadata
	m.Set("tokenizer.ggml.model", "llama")
	m.Set("tokenizer.ggml.tokens", tokens)
	m.Set("tokenizer.ggml.scores", scores)
	m.Set("tokenizer.ggml.token_type", kinds)
	return m
}

func TestSentencePiece(t *testing.T) {
	tok := mustNew(t, sentencePieceModel())
	const a, ab, bc, c, sp = 259, 261, 262, 265, 266
	for _, x := range []struct {
		text string
		want []core.Token
	}{
		{"ab", []core.Token{ab}},                                       // ▁ab: ▁a first, then ▁ab
		{"abc", []core.Token{ab, c}},                                   // ▁ab before bc
		{"bc", []core.Token{sp, bc}},                                   // the prefix stays alone
		{"a bc", []core.Token{a, sp, bc}},                              // space inside
		{"é", []core.Token{sp, 3 + 0xc3, 3 + 0xa9}},                    // byte fallback
		{"a\xff", []core.Token{a, 3 + 0xff}},                           // not UTF-8
		{"</s>", []core.Token{sp, 3 + '<', 3 + '/', 3 + 's', 3 + '>'}}, // never control
	} {
		got := tok.Encode(x.text, Options{})
		if !slices.Equal(got, x.want) {
			t.Errorf("%q gives %v, want %v", x.text, got, x.want)
		}
		if d := tok.Decode(got); d != x.text {
			t.Errorf("%q comes back as %q", x.text, d)
		}
	}
	if got := tok.Encode("<s>ab", Options{AddBOS: true, ParseSpecial: true}); !slices.Equal(got, []core.Token{1, ab}) {
		t.Errorf("doubled or lost BOS: %v", got)
	}
	if got := tok.Encode("ab", Options{AddBOS: true}); !slices.Equal(got, []core.Token{1, ab}) {
		t.Error(got)
	}
}

func TestDecoderHoldsBackHalfRunes(t *testing.T) {
	tok := mustNew(t, byteLevelModel(nil, "gpt-2"))
	text := "aé世🙂\xff\xe4\xb8x\xf0\x9f"
	want := "aé世🙂\ufffd\ufffd\ufffdx\ufffd\ufffd"
	ids := tok.Encode(text, Options{})
	for size := 1; size < 5; size++ {
		d, got := tok.NewDecoder(), ""
		for chunk := range slices.Chunk(ids, size) {
			s := d.Write(chunk...)
			if !utf8.ValidString(s) {
				t.Fatalf("%q is not UTF-8", s)
			}
			got += s
		}
		if got += d.Flush(); got != want {
			t.Errorf("in steps of %d: %q, want %q", size, got, want)
		}
	}
	d := tok.NewDecoder()
	if s := d.Write(tok.Encode("é", Options{})[0]); s != "" {
		t.Errorf("half a rune gave %q", s)
	}
}

func TestRefusals(t *testing.T) {
	set := func(key string, v any) gguf.Metadata {
		m := byteLevelModel(nil, "gpt-2")
		m.Set("tokenizer.ggml."+key, v)
		return m
	}
	for _, c := range []struct {
		m    gguf.Metadata
		want string
	}{
		{set("model", "wordpiece"), `"wordpiece"`},
		{set("pre", "kimi-k2"), `"kimi-k2"`},
		{set("merges", []string{"ab"}), "not two symbols"},
		{set("token_type", []int32{1}), "1 token types"},
		{set("eos_token_id", uint32(999)), "outside the vocabulary"},
		{set("tokens", []string{}), "0 tokens"},
		{set("tokens", slices.Repeat([]string{"x"}, 256)), "no token for the byte 0x00"},
	} {
		if _, err := New(c.m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v does not say %s", err, c.want)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	v := vectors(f)
	var toks []*Tokenizer
	for _, pre := range []string{"gpt-2", "llama-bpe", "qwen2", "smollm", "default"} {
		toks = append(toks, mustNew(f, byteLevelModel(v.Merges, pre, "<|im_end|>")))
	}
	for _, c := range v.Vectors {
		f.Add(c.Text)
	}
	f.Add("\xff\xc3(<|im_end|>")
	sp := mustNew(f, sentencePieceModel())
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range toks {
			ids := tok.Encode(text, Options{})
			if got := tok.Decode(ids); got != text {
				t.Fatalf("%q comes back as %q", text, got)
			}
			for _, id := range ids {
				if tok.IsControl(id) {
					t.Fatalf("%q holds a control token", text)
				}
			}
		}
		ids := sp.Encode(text, Options{})
		if got := sp.Decode(ids); got != strings.ReplaceAll(text, lowLine, " ") {
			t.Fatalf("SentencePiece: %q comes back as %q", text, got)
		}
	})
}

func FuzzVocabulary(f *testing.F) {
	f.Add(gguf.ExportBundle(byteLevelModel([]string{"a b", "ab c"}, "default", "<s>")), "abc <s>")
	f.Add(gguf.ExportBundle(sentencePieceModel()), "abc é")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		g, err := gguf.Parse(file)
		if err != nil {
			return
		}
		tok, err := New(g.Metadata)
		if err != nil {
			return
		}
		for _, o := range []Options{{}, {AddBOS: true, ParseSpecial: true}} {
			for _, id := range tok.Encode(text, o) {
				if int(id) < 0 || int(id) >= tok.Size() {
					t.Fatalf("token %d of %d", id, tok.Size())
				}
				tok.NewDecoder().Write(id)
			}
		}
	})
}
