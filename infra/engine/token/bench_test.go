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

	"github.com/koinon-network/koinon/infra/engine/gguf"
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
	models := map[string]*Tokenizer{"sentencepiece": mustNew(t, sentencePieceModel())}
	for _, pre := range splits {
		models[pre] = mustNew(t, byteLevelModel(vectors(t).Merges, pre, "<|im_end|>", "<|im_start|>"))
	}
	for name, tok := range models {
		for _, unit := range []string{"a", " ", "\n", "\t ", "A", "1", "Aa", "中", "中A", "'", "🙂", "👩‍👩‍👧", "\u0301", "\xff", "\xe4\xb8", "\x00", "ab ",
			" \u3000", "<|im_", "<", "e\u0301", "._", "▁", "\r\n "} {
			text := strings.Repeat(unit, 30_000/len(unit))
			start := time.Now()
			tok.Encode(text, Options{ParseSpecial: true})
			if d := time.Since(start); d > 2*time.Second && os.Getenv("CI") == "" {
				t.Errorf("%s: 30 kB of %q took %v", name, unit, d)
			}
		}
	}
}

// splits are pre-tokenizers of each kind.
var splits = []string{"gpt-2", "llama-bpe", "qwen2", "qwen35", "gpt-4o", "tekken", "smollm", "default", "falcon", "deepseek-coder",
	"deepseek-llm", "deepseek-v3", "bloom"}

// A megabyte that one word fills, with merges that go on within it, costs
// little more than four times a quarter of it.
func TestMegabytesCostWhatTheirPartsDo(t *testing.T) {
	pieces := []string{"aa", "aaaa", "aaaaaaaa", "▁▁", "▁▁▁▁", "▁▁▁▁▁▁▁▁", "🙂🙂", "🙂🙂🙂🙂"}
	broken, smile := toAlphabet("\xff"), strings.Split(toAlphabet("🙂"), "")
	merges := []string{"a a", "aa aa", "aaaa aaaa", "Ġ Ġ", "ĠĠ ĠĠ", "ĠĠĠĠ ĠĠĠĠ", broken + " " + broken, broken + broken + " " + broken + broken}
	for i := 1; i < len(smile); i++ {
		merges = append(merges, strings.Join(smile[:i], "")+" "+smile[i])
	}
	merges = append(merges, strings.Join(smile, "")+" "+strings.Join(smile, ""))
	costs := map[string]func(text string){}
	for name, m := range map[string]gguf.Metadata{"sentencepiece": pieceModel(pieces), "byte level": byteLevelModel(merges, "gpt-2")} {
		tok := mustNew(t, m)
		costs[name] = func(text string) { tok.Encode(text, Options{ParseSpecial: true}) }
	}
	for _, pre := range splits {
		costs["the split of "+pre] = func(text string) { preTokenizers[pre].split(text, func(string) {}) }
	}
	for name, cost := range costs {
		for _, unit := range []string{"a", " ", "🙂", "\xff"} {
			took := func(size int) time.Duration {
				text := strings.Repeat(unit, size/len(unit))
				start := time.Now()
				cost(text)
				return time.Since(start)
			}
			// Another program's turn on the processor is no cost of ours: measured again.
			for attempt := 1; ; attempt++ {
				part, whole := min(took(250_000), took(250_000)), took(1_000_000)
				if whole < 8*part || whole < 10*time.Millisecond {
					break
				}
				if attempt == 5 {
					t.Errorf("%s: 250 kB of %q took %v, 1 MB took %v", name, unit, part, whole)
					break
				}
			}
		}
	}
}
