package token

import (
	"container/heap"
	"errors"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// trainedPre is the pre-tokenizer of vocabularies made here: Qwen 2's, which
// keeps every digit apart.
const trainedPre = "qwen2"

// Vocabulary is a byte-level BPE vocabulary as TrainBPE makes it: the 256
// bytes, then one token per merge, then the special tokens.
type Vocabulary struct {
	Tokens []string // in GPT-2's spelling
	Merges []string // "left right", in order of rank
	Kinds  []int32  // tokenizer.ggml.token_type
}

// TrainBPE makes a vocabulary of at most size tokens from a corpus by merging
// the most frequent pair of neighbours again and again; of equally frequent
// pairs the one with the lowest token ids. It is deterministic. The vocabulary
// is smaller than size when the corpus offers no pair that occurs twice.
func TrainBPE(corpus string, size int, specials []string) (Vocabulary, error) {
	if size < 256+len(specials) || size > maxVocabulary {
		return Vocabulary{}, errors.New("token: the vocabulary must hold the 256 bytes and the special tokens")
	}
	tr := newTrainer(corpus, preTokenizers[trainedPre].split)
	var v Vocabulary
	for len(tr.bytes)+len(specials) < size {
		p, ok := tr.best()
		if !ok {
			break
		}
		v.Merges = append(v.Merges, toAlphabet(tr.bytes[p.left])+" "+toAlphabet(tr.bytes[p.right]))
		tr.merge(p)
	}
	for _, b := range tr.bytes {
		v.Tokens, v.Kinds = append(v.Tokens, toAlphabet(b)), append(v.Kinds, int32(Normal))
	}
	for _, s := range specials {
		if s == "" || slices.Contains(v.Tokens, s) {
			return Vocabulary{}, errors.New("token: a special token is empty or occurs twice")
		}
		v.Tokens, v.Kinds = append(v.Tokens, s), append(v.Kinds, int32(Control))
	}
	return v, nil
}

// Describe sets the metadata that New reads. bos and eos are special tokens of
// the vocabulary; an empty bos means none.
func (v Vocabulary) Describe(m *gguf.Metadata, bos, eos string) error {
	m.Set("tokenizer.ggml.model", "gpt2")
	m.Set("tokenizer.ggml.pre", trainedPre)
	m.Set("tokenizer.ggml.tokens", v.Tokens)
	m.Set("tokenizer.ggml.token_type", v.Kinds)
	m.Set("tokenizer.ggml.merges", v.Merges)
	m.Set("tokenizer.ggml.add_bos_token", bos != "")
	for key, text := range map[string]string{"bos": bos, "eos": eos} {
		if text == "" && key == "bos" {
			continue
		}
		id := slices.Index(v.Tokens, text)
		if id < 0 || Kind(v.Kinds[id]) != Control {
			return core.Errorf(core.CodeInvalid, "%q is not a special token of the vocabulary", text)
		}
		m.Set("tokenizer.ggml."+key+"_token_id", uint32(id))
	}
	return nil
}

// trainer holds the corpus as distinct words with their frequency.
type trainer struct {
	bytes []string // of each token so far
	words [][]int32
	times []int64
	count map[pair]int64
	where map[pair][]int32 // words in which a pair occurs or once did
	queue pairQueue
}

type pair struct{ left, right int32 }

func newTrainer(corpus string, split splitter) *trainer {
	tr := &trainer{count: map[pair]int64{}, where: map[pair][]int32{}}
	for c := range 256 {
		tr.bytes = append(tr.bytes, string([]byte{byte(c)}))
	}
	index := map[string]int{}
	split(corpus, func(w string) {
		i, ok := index[w]
		if !ok {
			i = len(tr.words)
			index[w] = i
			symbols := make([]int32, len(w))
			for k := range len(w) {
				symbols[k] = int32(w[k])
			}
			tr.words, tr.times = append(tr.words, symbols), append(tr.times, 0)
		}
		tr.times[i]++
	})
	for i := range tr.words {
		tr.add(i, 1, nil)
	}
	for p, n := range tr.count {
		tr.queue = append(tr.queue, queued{p, n})
	}
	heap.Init(&tr.queue)
	return tr
}

// add counts the pairs of a word, sign times, and notes those changed.
func (tr *trainer) add(word int, sign int64, changed map[pair]bool) {
	s := tr.words[word]
	for k := range max(0, len(s)-1) {
		p := pair{s[k], s[k+1]}
		tr.count[p] += sign * tr.times[word]
		if changed != nil {
			changed[p] = true
		}
		if sign > 0 {
			if at := tr.where[p]; len(at) == 0 || at[len(at)-1] != int32(word) {
				tr.where[p] = append(at, int32(word))
			}
		}
	}
}

// best returns the pair to merge next; ok is false when none occurs twice.
func (tr *trainer) best() (pair, bool) {
	for len(tr.queue) > 0 {
		top := heap.Pop(&tr.queue).(queued)
		if now := tr.count[top.pair]; now == top.count {
			return top.pair, now > 1
		}
	}
	return pair{}, false
}

func (tr *trainer) merge(p pair) {
	id := int32(len(tr.bytes))
	tr.bytes = append(tr.bytes, tr.bytes[p.left]+tr.bytes[p.right])
	changed := map[pair]bool{}
	for _, word := range tr.where[p] {
		s := tr.words[word]
		if !slices.Contains(s, p.left) {
			continue
		}
		tr.add(int(word), -1, changed)
		out := s[:0]
		for k := 0; k < len(s); k++ {
			if k+1 < len(s) && s[k] == p.left && s[k+1] == p.right {
				out = append(out, id)
				k++
			} else {
				out = append(out, s[k])
			}
		}
		tr.words[word] = out
		tr.add(int(word), 1, changed)
	}
	delete(tr.count, p)
	delete(tr.where, p)
	for q := range changed {
		if n := tr.count[q]; n > 0 && q != p {
			heap.Push(&tr.queue, queued{q, n})
		} else if q != p {
			delete(tr.count, q)
			delete(tr.where, q)
		}
	}
}

// queued is a pair with the count it had when it was queued.
type queued struct {
	pair
	count int64
}

// pairQueue is a heap in a total order, so that the order in which a map hands
// out its keys cannot matter.
type pairQueue []queued

func (q pairQueue) Len() int      { return len(q) }
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q pairQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	switch {
	case a.count != b.count:
		return a.count > b.count
	case a.left != b.left:
		return a.left < b.left
	}
	return a.right < b.right
}
func (q *pairQueue) Push(x any) { *q = append(*q, x.(queued)) }
func (q *pairQueue) Pop() any {
	s := *q
	x := s[len(s)-1]
	*q = s[:len(s)-1]
	return x
}
