package token

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// prose is ordinary text: this repository's documents and code.
var prose = sync.OnceValue(func() string {
	var b strings.Builder
	for _, pattern := range []string{"../../../*.md", "../../../docs/*.md", "../../../spec/*.md", "../*/*.go", "../../../middleware/gateway/*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err == nil {
				b.Write(text)
			}
		}
	}
	return b.String()
})

// realSize is a byte-level vocabulary of the size that models have: what the
// prose teaches, filled up with merges of made-up words.
var realSize = sync.OnceValue(func() []string {
	v, err := TrainBPE(prose(), 20_000, nil)
	if err != nil {
		panic(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	known := map[string]bool{}
	var parts []string
	for _, m := range v.Merges {
		joined := strings.Replace(m, " ", "", 1)
		known[joined] = true
		if len(joined) < 8 {
			parts = append(parts, joined)
		}
	}
	merges := v.Merges
	for len(merges) < 128_000 {
		a, b := parts[r.IntN(len(parts))], parts[r.IntN(len(parts))]
		if !known[a+b] && !strings.Contains(b, "Ġ") {
			known[a+b] = true
			merges = append(merges, a+" "+b)
		}
	}
	return merges
})

func realPieces() []string {
	var pieces []string
	for _, m := range realSize()[:31_000] {
		joined := strings.Replace(m, " ", "", 1)
		if p := strings.ReplaceAll(fromAlphabet(joined), " ", lowLine); !strings.Contains(strings.TrimLeft(p, lowLine), lowLine) {
			pieces = append(pieces, p)
		}
	}
	return pieces
}

func BenchmarkEncode(b *testing.B) {
	text := prose()
	for _, c := range []struct {
		name string
		tok  *Tokenizer
	}{
		{"llama-bpe", mustNew(b, byteLevelModel(realSize(), "llama-bpe"))},
		{"qwen2", mustNew(b, byteLevelModel(realSize(), "qwen2"))},
		{"gpt-4o", mustNew(b, byteLevelModel(realSize(), "gpt-4o"))},
		{"deepseek-v3", mustNew(b, byteLevelModel(realSize(), "deepseek-v3"))},
		{"sentencepiece", mustNew(b, pieceModel(realPieces()))},
	} {
		b.Run(fmt.Sprintf("%s/vocabulary=%d", c.name, c.tok.Size()), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				c.tok.Encode(text, Options{ParseSpecial: true})
			}
		})
	}
}

// A text of one letter, of blanks, of emoji or of no UTF-8 at all must cost
// about what any text of its length does.
func TestCostIsNearLinear(t *testing.T) {
	v := vectors(t)
	models := map[string]*Tokenizer{"sentencepiece": mustNew(t, sentencePieceModel())}
	for _, pre := range []string{"gpt-2", "llama-bpe", "qwen2", "qwen35", "gpt-4o", "tekken", "smollm", "default", "falcon", "deepseek-coder",
		"deepseek-llm", "deepseek-v3", "bloom"} {
		models[pre] = mustNew(t, byteLevelModel(v.Merges, pre, "<|im_end|>", "<|im_start|>"))
	}
	for name, tok := range models {
		for _, unit := range []string{"a", " ", "\n", "\t ", "A", "1", "Aa", "中", "中A", "'", "🙂", "👩‍👩‍👧", "\u0301", "\xff", "\xe4\xb8", "\x00", "ab ",
			" \u3000", "<|im_", "<", "e\u0301", "._", "▁", "\r\n "} {
			text := strings.Repeat(unit, 60_000/len(unit))
			start := time.Now()
			tok.Encode(text, Options{ParseSpecial: true})
			if d := time.Since(start); d > 2*time.Second && os.Getenv("CI") == "" {
				t.Errorf("%s: 60 kB of %q took %v", name, unit, d)
			}
		}
	}
}
