package token

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

var update = flag.Bool("update", false, "rewrite the published vectors")

const publishedFile = "../../../spec/vectors/tokens.json"

// published is spec/vectors/tokens.json; spec/model.md says what it means.
type published struct {
	Note     string            `json:"note"`
	Families []publishedFamily `json:"families"`
}

type publishedFamily struct {
	Name     string         `json:"family"`
	Metadata publishedKeys  `json:"metadata"`
	Encode   []encodeVector `json:"encode"`
	Decode   []decodeVector `json:"decode"`
}

// publishedKeys is the metadata of a vocabulary.
type publishedKeys struct {
	GeneralName string      `json:"general.name,omitempty"`
	Model       string      `json:"tokenizer.ggml.model"`
	Pre         string      `json:"tokenizer.ggml.pre,omitempty"`
	Tokens      []string    `json:"tokenizer.ggml.tokens"`
	Kinds       []int32     `json:"tokenizer.ggml.token_type"`
	Merges      []string    `json:"tokenizer.ggml.merges,omitempty"`
	Scores      []float32   `json:"tokenizer.ggml.scores,omitempty"`
	BOS         *core.Token `json:"tokenizer.ggml.bos_token_id,omitempty"`
	EOS         *core.Token `json:"tokenizer.ggml.eos_token_id,omitempty"`
	Unknown     *core.Token `json:"tokenizer.ggml.unknown_token_id,omitempty"`
	AddBOS      *bool       `json:"tokenizer.ggml.add_bos_token,omitempty"`
	Prefix      *bool       `json:"tokenizer.ggml.add_space_prefix,omitempty"`
}

// encodeVector: the text (in hexadecimal where it is not UTF-8) gives the ids.
// Decoded they give the text again, or Back where that is set.
type encodeVector struct {
	Text    string       `json:"text,omitempty"`
	Hex     string       `json:"text_hex,omitempty"`
	Special bool         `json:"parse_special,omitempty"`
	BOS     bool         `json:"add_bos,omitempty"`
	IDs     []core.Token `json:"ids"`
	Back    *string      `json:"back,omitempty"`
	BackHex *string      `json:"back_hex,omitempty"`
}

// decodeVector: what a stream of these ids shows of an answer.
type decodeVector struct {
	IDs  []core.Token `json:"ids"`
	Text string       `json:"text"`
}

func (k publishedKeys) metadata() gguf.Metadata {
	var m gguf.Metadata
	key := func(s string) string { return "tokenizer.ggml." + s }
	if k.GeneralName != "" {
		m.Set("general.name", k.GeneralName)
	}
	m.Set(key("model"), k.Model)
	m.Set(key("tokens"), k.Tokens)
	m.Set(key("token_type"), k.Kinds)
	if k.Model == "gpt2" {
		m.Set(key("pre"), k.Pre)
		m.Set(key("merges"), k.Merges)
	} else {
		m.Set(key("scores"), k.Scores)
	}
	for name, id := range map[string]*core.Token{"bos": k.BOS, "eos": k.EOS, "unknown": k.Unknown} {
		if id != nil {
			m.Set(key(name+"_token_id"), uint32(*id))
		}
	}
	for name, b := range map[string]*bool{"add_bos_token": k.AddBOS, "add_space_prefix": k.Prefix} {
		if b != nil {
			m.Set(key(name), *b)
		}
	}
	return m
}

func (v encodeVector) text(t *testing.T) string {
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return v.Text + string(b)
}

func (v encodeVector) back(t *testing.T) string {
	switch {
	case v.Back != nil:
		return *v.Back
	case v.BackHex != nil:
		return encodeVector{Hex: *v.BackHex}.text(t)
	}
	return v.text(t)
}

func TestPublishedTokens(t *testing.T) {
	if *update {
		writePublished(t)
	}
	file, err := os.ReadFile(publishedFile)
	if err != nil {
		t.Fatal(err)
	}
	var p published
	if err := json.Unmarshal(file, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Families) < 9 || len(file) > 300_000 {
		t.Errorf("%d families in %d bytes", len(p.Families), len(file))
	}
	for _, f := range p.Families {
		tok := mustNew(t, f.Metadata.metadata())
		if len(f.Encode) < 50 || len(f.Decode) < 3 {
			t.Errorf("%s: only %d texts and %d answers", f.Name, len(f.Encode), len(f.Decode))
		}
		for _, v := range f.Encode {
			text := v.text(t)
			got := tok.Encode(text, Options{ParseSpecial: v.Special, AddBOS: v.BOS})
			if !slices.Equal(got, v.IDs) {
				t.Errorf("%s, special %v: %q gives %v, want %v", f.Name, v.Special, text, got, v.IDs)
			}
			if got, want := tok.Decode(v.IDs), v.back(t); got != want {
				t.Errorf("%s: %v come back as %q, want %q", f.Name, v.IDs, got, want)
			}
		}
		for _, v := range f.Decode {
			d, got := tok.NewDecoder(), ""
			for _, id := range v.IDs {
				got += d.Write(id)
			}
			if got += d.Flush(); got != v.Text {
				t.Errorf("%s: %v show %q, want %q", f.Name, v.IDs, got, v.Text)
			}
		}
	}
}

// trickyTexts are what tokenizers differ in.
var trickyTexts = []string{
	"", "a", " ", "  ", "   a", "a  b", "Hello, World!", "the cat is returning there", " leading and trailing ",
	"don't we'll I'M they've he'd 's 't ''s", "I'LL YOU'RE", "x'S", "O’Neil’s", // contractions
	"0", "12", "123", "1234", "12345678", "1,000.50", "x1y22z333", "٣٤٥ １２３ ½ Ⅷ", // digits
	"\n", "\n\n", "\n\n\n\n", "a\nb", "a \n b", "a\r\n\r\nb", "\t\tx\t", "if x:\n    y\n\n\tz  ", " \u00a0\u3000x\u2028y\u0085z", "\v\f", // white space
	"camelCase HTTPServer ABCdef aB", "snake_case__x", "!?...->==", "a/b//c\\d", "$x+y^2<z>|~`", "(a)[b]{c}", "“q”—…", "https://a.b/c?d=e#f", "\"a\":\"b\",",
	"中文字符", "日本語 かな カナー", "한국어 ㄱ", "中A文1字", "हिन्दी ไทย العربية עברית", "Ελλάδα Привет ǅ ª ß ŉ İ", // scripts
	"e\u0301 o\u0308\u0301", "\u0301", "a\u0301b\u20dd", // combining marks
	"🙂", "👩‍👩‍👧", "🇩🇪👍🏽❤️", "a🙂b", "𝐀𝐛𐐀𝟙", // beyond the basic plane
	"\x00", "a\x00\x01\x1b\x7fb", "\u200b\ufeff\u00ad\ufffd\u0378\ue000", // controls, unassigned, private
	"a\xff", "\xe4\xb8", "\xf0\x9f\x99x", "\xed\xa0\x80", "\xc3\x28", "\xc0\x80", // not UTF-8
	"▁", "a▁b", "Ġ", "Ċ", "<0x41>", "<0x4", "<unk>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "                                                  ",
}

// fixedFamilies are the published vocabularies.
func fixedFamilies() []publishedFamily {
	training := peerTexts(1, 1500, "")
	merges := unsplit(training, 256+250)
	pieces := append([]string{"▁▁", "▁▁▁▁", "▁t", "he", "▁the", "in", "re", "aa", "aaaa", "é中"}, trainPieces(training[:300], 220)...)
	no := false
	byteLevel := func(pre string, specials ...string) publishedFamily {
		m := byteLevelModel(merges, pre, specials...)
		k := publishedKeys{Model: "gpt2", Pre: pre, Merges: merges, AddBOS: &no}
		k.read(m)
		bos, eos := core.Token(len(k.Tokens)-len(specials)), core.Token(len(k.Tokens)-len(specials)+1)
		k.BOS, k.EOS = &bos, &eos
		if pre == "llama-bpe" || pre == "tekken" {
			k.AddBOS = nil // these ask for one unless the file says otherwise
		}
		return publishedFamily{Name: pre, Metadata: k}
	}
	sentence := func(family, name string, prefix bool, control []string, userDefined ...string) publishedFamily {
		m := pieceModel(pieces, append(userDefined, control...)...)
		k := publishedKeys{Model: "llama", GeneralName: name, Prefix: &prefix}
		k.read(m)
		k.Scores, _ = m.Floats("tokenizer.ggml.scores")
		for i, s := range k.Tokens {
			if slices.Contains(control, s) {
				k.Kinds[i] = int32(Control)
			}
		}
		bos, eos, unknown := core.Token(1), core.Token(2), core.Token(0)
		k.BOS, k.EOS, k.Unknown = &bos, &eos, &unknown
		return publishedFamily{Name: family, Metadata: k}
	}
	return []publishedFamily{
		sentence("sentencepiece", "", true, nil),
		sentence("gemma", "", false, []string{"<start_of_turn>", "<end_of_turn>"}, "\n\n", "\n\n\n", "\n\n\n\n", "▁▁▁▁▁▁▁▁", "  ", "<table>", "\t\t"),
		sentence("phi-3", "Phi-3 mini", true, []string{"<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"}),
		byteLevel("gpt-2", "<|startoftext|>", "<|endoftext|>"),
		byteLevel("llama-bpe", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
		byteLevel("qwen2", "<|im_start|>", "<|im_end|>", "<|im|>"),
		byteLevel("tekken", "<s>", "</s>", "[INST]", "[/INST]"),
		byteLevel("gpt-4o", "<|startoftext|>", "<|endoftext|>", "<|end|>"),
		byteLevel("deepseek-v3", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
	}
}

func (k *publishedKeys) read(m gguf.Metadata) {
	k.Tokens, _ = m.Strings("tokenizer.ggml.tokens")
	kinds, _ := m.Ints("tokenizer.ggml.token_type")
	for _, kind := range kinds {
		k.Kinds = append(k.Kinds, int32(kind))
	}
}

func writePublished(t *testing.T) {
	p := published{Note: "Small vocabularies of each family, with texts and their tokens; see spec/model.md, Tokens."}
	for _, f := range fixedFamilies() {
		tok := mustNew(t, f.Metadata.metadata())
		add := func(text string, o Options) {
			v := encodeVector{Special: o.ParseSpecial, BOS: o.AddBOS, IDs: tok.Encode(text, o)}
			v.Text = text
			if !utf8.ValidString(text) {
				v.Text, v.Hex = "", hex.EncodeToString([]byte(text))
			}
			if back := tok.Decode(v.IDs); back != text {
				if utf8.ValidString(back) {
					v.Back = &back
				} else {
					x := hex.EncodeToString([]byte(back))
					v.BackHex = &x
				}
			}
			f.Encode = append(f.Encode, v)
		}
		for _, text := range trickyTexts {
			add(text, Options{})
		}
		var special []string
		for i, s := range f.Metadata.Tokens {
			if isSpecial(tok.kinds[i]) {
				special = append(special, s)
			}
		}
		mixed := "a" + strings.Join(special, " b\n") + "c"
		for _, text := range []string{mixed, strings.Join(special, ""), special[1] + "  \n x" + special[1][:len(special[1])-1], "<|im_start|>user\nhi<|im_end|>"} {
			add(text, Options{})
			add(text, Options{ParseSpecial: true})
		}
		add("the", Options{AddBOS: true})
		add(tok.Text(tok.BOS())+"the", Options{AddBOS: true, ParseSpecial: true})
		show := func(ids ...core.Token) {
			d := tok.NewDecoder()
			f.Decode = append(f.Decode, decodeVector{ids, d.Write(ids...) + d.Flush()})
		}
		emoji := tok.Encode("👩‍👩‍👧 x", Options{})
		show(emoji...)
		show(emoji[:len(emoji)-3]...)
		show(emoji[1:]...)
		show(tok.Encode("a\xe4\xb8 \xff", Options{})...)
		show(append(tok.Encode("a", Options{}), tok.BOS(), tok.EOS(), core.Token(tok.Size()), 7)...)
		p.Families = append(p.Families, f)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		t.Fatal(err)
	}
	// A line per family, vector and key is enough to read a difference.
	text := b.String()
	for _, at := range []string{`{"family"`, `"metadata"`, `"tokenizer.`, `"encode"`, `"decode"`, `{"text"`, `{"text_hex"`, `{"ids"`} {
		text = strings.ReplaceAll(text, at, "\n"+at)
	}
	if err := os.WriteFile(publishedFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
