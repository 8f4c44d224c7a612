package train

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// counting is a corpus with something to learn: arithmetic sequences modulo
// the vocabulary, of varied length, the first two tokens given.
type counting struct{ vocabulary, longest int }

func (c counting) Document(i uint64) Document {
	r := Random(i)
	n := 4 + r.Below(c.longest-3)
	at, step := r.Below(c.vocabulary), 1+r.Below(3)
	d := Document{Learn: make([]bool, n)}
	for j := range n {
		d.Tokens = append(d.Tokens, core.Token(at))
		d.Learn[j] = j >= 2
		at = (at + step) % c.vocabulary
	}
	return d
}

func tiny() Config {
	return Config{
		Vocabulary: 37, Dim: 24, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, FeedForward: 40,
		RopeBase: 10000, NormEpsilon: 1e-5, LongestInput: 20,
		Steps: 90, BatchTokens: 150, LearningRate: 1e-2, FinalRate: 1e-3, Warmup: 5,
		WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.95, ClipNorm: 1, Seed: 7, LookBack: 2, Threads: 1,
	}
}

// TestGradient compares the gradient of every tensor with finite differences
// of the loss along random directions.
func TestGradient(t *testing.T) {
	c := tiny()
	w := initialize(c)
	r := Random(3)
	for _, l := range w.layers { // norm weights other than 1
		for j := range l.attnNorm {
			l.attnNorm[j] += 0.2 * r.Normal()
			l.ffnNorm[j] += 0.2 * r.Normal()
		}
	}
	var b batch
	if _, err := b.fill(c, counting{c.Vocabulary, c.LongestInput}, 0); err != nil {
		t.Fatal(err)
	}
	p := newPass(c)
	loss := func() float64 {
		p.forward(w, &b)
		p.loss(&b)
		return p.meanLoss(&b)
	}
	loss()
	g := view(c, make([]float32, len(w.all)))
	p.backward(w, g, &b)
	gradients := g.Tensors()
	for i, tensor := range w.Tensors() {
		direction := make([]float32, len(tensor.Data))
		var want, length float64
		for j := range direction {
			// Half along the gradient, so that the slope stands out of the noise.
			direction[j] = gradients[i].Data[j]
			length += float64(direction[j]) * float64(direction[j])
		}
		deviation := float32(math.Sqrt(length / float64(len(direction))))
		length = 0
		for j := range direction {
			direction[j] += deviation * r.Normal()
			length += float64(direction[j]) * float64(direction[j])
		}
		for j := range direction {
			direction[j] /= float32(math.Sqrt(length))
			want += float64(direction[j]) * float64(gradients[i].Data[j])
		}
		const h = 1e-2
		at := append([]float32(nil), tensor.Data...)
		move := func(s float32) float64 {
			for j := range at {
				tensor.Data[j] = at[j] + s*direction[j]
			}
			return loss()
		}
		got := (move(h) - move(-h)) / (2 * h)
		copy(tensor.Data, at)
		if math.Abs(got-want) > 1e-3+0.01*math.Abs(want) {
			t.Errorf("%s: slope is %.6f, the gradient says %.6f", tensor.Name, got, want)
		}
	}
}

// vector is spec/vectors/training.json.
type vector struct {
	Config   Config `json:"config"`
	Corpus   string `json:"corpus"`
	Initial  string `json:"initial"`
	Trained  string `json:"trained"`
	Document []int  `json:"document_0"`
}

// TestVector trains the published run at several thread counts; its digest is
// the same on every architecture. Set KOINON_UPDATE=1 to rewrite the file after
// a deliberate change of the definition.
func TestVector(t *testing.T) {
	const path = "../../../spec/vectors/training.json"
	c := tiny()
	corpus := counting{c.Vocabulary, c.LongestInput}
	initial := initialize(c).Digest()
	var digest [32]byte
	for _, threads := range []int{1, 3} {
		c.Threads = threads
		var first, last float64
		w, err := Run(context.Background(), c, corpus, func(p Progress) {
			if p.Step == 1 {
				first = p.Loss
			}
			last = p.Loss
		})
		if err != nil {
			t.Fatal(err)
		}
		if !(first > 3.3 && last < 1.2) {
			t.Errorf("the loss went from %.2f to %.2f, expected to learn", first, last)
		}
		if d := w.Digest(); threads == 1 {
			digest = d
		} else if d != digest {
			t.Errorf("%d threads give %x, one gives %x", threads, d, digest)
		}
	}
	c.Threads = 0
	got := vector{Config: c, Corpus: "arithmetic sequences, see counting in infra/engine/train/train_test.go",
		Initial: hex.EncodeToString(initial[:]), Trained: hex.EncodeToString(digest[:])}
	for _, v := range corpus.Document(0).Tokens {
		got.Document = append(got.Document, int(v))
	}
	if os.Getenv("KOINON_UPDATE") != "" {
		text, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want vector
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if got.Config != want.Config || got.Initial != want.Initial || got.Trained != want.Trained {
		t.Errorf("got initial %s, trained %s; published are %s, %s", got.Initial, got.Trained, want.Initial, want.Trained)
	}
}

func TestEvaluateIsTheTrainingLoss(t *testing.T) {
	c := tiny()
	c.Steps = 1
	corpus := counting{c.Vocabulary, c.LongestInput}
	w := initialize(c)
	var documents []Document
	for i := range uint64(40) {
		documents = append(documents, corpus.Document(i))
	}
	scores, err := w.Evaluate(documents)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range scores {
		alone, err := w.Evaluate(documents[i : i+1])
		if err != nil {
			t.Fatal(err)
		}
		if s != alone[0] {
			t.Errorf("document %d scores %v in a batch and %v alone", i, s, alone[0])
		}
		if want := len(documents[i].Tokens) - 2; s.Count != want || s.Loss/float64(want) > 6 {
			t.Errorf("document %d: %+v, expected %d tokens near chance", i, s, want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	c := tiny()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, run := range map[string]func() error{
		"cancelled": func() error { _, err := Run(ended, c, counting{c.Vocabulary, 8}, nil); return err },
		"long document": func() error {
			_, err := Run(context.Background(), c, counting{c.Vocabulary, 90}, nil)
			return err
		},
		"foreign token": func() error { _, err := Run(context.Background(), c, counting{50, 20}, nil); return err },
		"odd heads": func() error {
			c := c
			c.KVHeads = 3
			_, err := Run(context.Background(), c, counting{c.Vocabulary, 8}, nil)
			return err
		},
	} {
		if run() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
