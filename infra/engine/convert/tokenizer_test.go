package convert

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// sentencePieceTokenizer is a tokenizer.json as Llama 2's, over a few letters.
func sentencePieceTokenizer(r *rand.Rand, prefix bool) (file map[string]any, merges []merge) {
	vocabulary := map[string]int{"<unk>": 0, "<s>": 1, "</s>": 2}
	for b := range 256 {
		vocabulary[fmt.Sprintf("<0x%02X>", b)] = len(vocabulary)
	}
	pieces := []string{"a", "b", "c", "\u2581", "ü"}
	for _, p := range pieces {
		vocabulary[p] = len(vocabulary)
	}
	var made []string
	for len(made) < 40 {
		p := pieces[r.IntN(len(pieces))] + pieces[r.IntN(len(pieces))]
		if _, ok := vocabulary[p]; ok || len(p) > 12 {
			continue
		}
		vocabulary[p] = len(vocabulary)
		pieces, made = append(pieces, p), append(made, p)
	}
	// As SentencePiece's merges are written: every pair that makes a piece, in
	// the order of the pieces.
	for _, p := range made {
		for i := range p {
			_, left := vocabulary[p[:i]]
			_, right := vocabulary[p[i:]]
			if left && right {
				merges = append(merges, merge{p[:i], p[i:]})
			}
		}
	}
	var written []any
	for _, m := range merges {
		written = append(written, []string{m.left, m.right})
	}
	normalizers := []any{map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "\u2581"}}
	if prefix {
		normalizers = append([]any{map[string]any{"type": "Prepend", "prepend": "\u2581"}}, normalizers...)
	}
	return map[string]any{
		"added_tokens": []any{map[string]any{"id": 0, "content": "<unk>", "special": true}, map[string]any{"id": 1, "content": "<s>", "special": true},
			map[string]any{"id": 2, "content": "</s>", "special": true}},
		"normalizer":    map[string]any{"type": "Sequence", "normalizers": normalizers},
		"pre_tokenizer": nil,
		"post_processor": map[string]any{"type": "TemplateProcessing",
			"single": []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>"}}, map[string]any{"Sequence": map[string]any{"id": "A"}}}},
		"model": map[string]any{"type": "BPE", "vocab": vocabulary, "merges": written, "unk_token": "<unk>", "byte_fallback": true},
	}, merges
}

// mergeByRank is BPE as tokenizer.json means it: of all neighbours the pair of
// the lowest rank is joined, the leftmost first.
func mergeByRank(symbols []string, merges []merge) []string {
	for {
		best, at := len(merges), -1
		for i := 0; i+1 < len(symbols); i++ {
			if rank := slices.Index(merges, merge{symbols[i], symbols[i+1]}); rank >= 0 && rank < best {
				best, at = rank, i
			}
		}
		if at < 0 {
			return symbols
		}
		symbols = slices.Concat(symbols[:at], []string{symbols[at] + symbols[at+1]}, symbols[at+2:])
	}
}

func TestSentencePieceMergesByRank(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	for round := range 20 {
		prefix := round%2 == 0
		file, merges := sentencePieceTokenizer(r, prefix)
		b, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		var m gguf.Metadata
		if err := convertTokenizer(b, &tokenizerConfig{BOS: "<s>", EOS: "</s>", Unknown: "<unk>"}, &modelConfig{}, &m); err != nil {
			t.Fatal(err)
		}
		tokenizer, err := token.New(m)
		if err != nil {
			t.Fatal(err)
		}
		if tokenizer.BOS() != 1 || tokenizer.EOS() != 2 || !tokenizer.AddsBOS() {
			t.Errorf("BOS %d, EOS %d", tokenizer.BOS(), tokenizer.EOS())
		}
		vocabulary := file["model"].(map[string]any)["vocab"].(map[string]int)
		for range 50 {
			var text strings.Builder
			for range 1 + r.IntN(30) {
				text.WriteString([]string{"a", "b", "c", " ", "ü", "z"}[r.IntN(6)])
			}
			normal := strings.ReplaceAll(text.String(), " ", "\u2581")
			if prefix {
				normal = "\u2581" + normal
			}
			want := []core.Token{1}
			for _, piece := range mergeByRank(strings.Split(normal, ""), merges) {
				if id, ok := vocabulary[piece]; ok {
					want = append(want, core.Token(id))
					continue
				}
				for _, c := range []byte(piece) {
					want = append(want, core.Token(vocabulary[fmt.Sprintf("<0x%02X>", c)]))
				}
			}
			if got := tokenizer.Encode(text.String(), token.Options{AddBOS: true}); !slices.Equal(got, want) {
				t.Fatalf("%q: %v, want %v", text.String(), got, want)
			}
		}
	}
}

func TestByteLevelTokenizer(t *testing.T) {
	b, err := json.Marshal(byteLevelTokenizer())
	if err != nil {
		t.Fatal(err)
	}
	var m gguf.Metadata
	if err := convertTokenizer(b, &tokenizerConfig{BOS: "<s>", EOS: "</s>"}, &modelConfig{Vocabulary: 262}, &m); err != nil {
		t.Fatal(err)
	}
	tokenizer, err := token.New(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := tokenizer.Encode("<s>abc ü", token.Options{AddBOS: true, ParseSpecial: true}); !slices.Equal(got, []core.Token{256, 258, 'c', ' ', 0xc3, 0xbc}) {
		t.Errorf("encoded as %v", got)
	}
	if tokenizer.Size() != 262 || tokenizer.Text(261) != "[PAD261]" {
		t.Errorf("%d tokens, the last %q", tokenizer.Size(), tokenizer.Text(261))
	}
}

func TestTokenizersThatAreRefused(t *testing.T) {
	for says, change := range map[string]func(map[string]any){
		`normalizer "Lowercase"`: func(f map[string]any) { f["normalizer"] = map[string]any{"type": "Lowercase"} },
		"is not one that the engine": func(f map[string]any) {
			f["pre_tokenizer"] = map[string]any{"type": "Split", "pattern": map[string]any{"Regex": `\w+`}, "behavior": "Isolated"}
		},
		"neither byte-level":         func(f map[string]any) { f["pre_tokenizer"] = nil },
		`pre-tokenizer "Whitespace"`: func(f map[string]any) { f["pre_tokenizer"] = map[string]any{"type": "Whitespace"} },
		"have one id":                func(f map[string]any) { f["model"].(map[string]any)["vocab"].(map[string]int)["zz"] = 5 },
		"has the id 400":             func(f map[string]any) { f["model"].(map[string]any)["vocab"].(map[string]int)["zz"] = 400 },
		"is not of two pieces":       func(f map[string]any) { f["model"].(map[string]any)["merges"] = []string{"a b c"} },
		"continuing_subword_prefix":  func(f map[string]any) { f["model"].(map[string]any)["continuing_subword_prefix"] = "##" },
	} {
		file := byteLevelTokenizer()
		change(file)
		b, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		var m gguf.Metadata
		if err := convertTokenizer(b, &tokenizerConfig{}, &modelConfig{Vocabulary: 300}, &m); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}
