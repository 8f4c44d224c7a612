package seed

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/token"
	"github.com/koinon-network/koinon/infra/engine/train"
)

// Question is one of the examination, in words that training never showed.
type Question struct {
	Kind    string   `json:"kind"` // "facts", "text" or "unknown"
	Ask     string   `json:"ask"`
	Answers []string `json:"answers"` // any of these is right
}

// Questions is the examination: per topic its held-out questions, two held-out
// frames and one of them carelessly typed; texts with new names and held-out
// questions; held-out questions on what the model does not know.
func Questions() ([]Question, error) {
	topics, err := parseFacts(factsText)
	if err != nil {
		return nil, err
	}
	var list []Question
	for i, t := range topics {
		asks := t.held
		if len(t.terms) > 0 {
			for k := range 2 {
				asks = append(asks, strings.Replace(heldFrames[(i+k)%len(heldFrames)], "%s", t.terms[k%len(t.terms)], 1))
			}
		}
		asks = append(asks, strings.ToLower(strings.TrimRight(asks[len(asks)-1], "?.!")))
		for _, ask := range asks {
			list = append(list, Question{"facts", ask, t.answers})
		}
	}
	r := train.Random(20261123)
	for range 60 {
		q, a := fromContext(&r, true)
		list = append(list, Question{"text", q, []string{a}})
	}
	for range 3 {
		for _, q := range unknownHeld {
			list = append(list, Question{"unknown", fillSlots(&r, q), unknownAnswers})
		}
	}
	return list, nil
}

// Marks are the result of an examination.
type Marks struct {
	Questions int `json:"questions"`
	// Loss is the mean negative log-likelihood of a token of a right answer, in
	// nats; Perplexity its exponential.
	Loss       float64 `json:"loss"`
	Perplexity float64 `json:"perplexity"`
	// Exact is the share of questions answered, greedily, with exactly one of
	// the right answers; F1 the mean overlap of words with the nearest one.
	Exact float64            `json:"exact"`
	F1    float64            `json:"f1"`
	By    map[string]float64 `json:"exact_by_kind"`
}

// paper holds what an examination needs of the model's file.
type paper struct {
	questions []Question
	encode    func(parts []part) train.Document
	tokens    *token.Tokenizer
	corpus    *corpus
}

func newPaper(m gguf.Metadata, questions []Question) (*paper, error) {
	topics, err := parseFacts(factsText)
	if err != nil {
		return nil, err
	}
	tokens, err := token.New(m)
	if err != nil {
		return nil, err
	}
	c := &corpus{writer{topics}, tokens}
	return &paper{questions, c.encode, tokens, c}, nil
}

// solutions are the documents of every question with every right answer.
func (p *paper) solutions() []train.Document {
	var list []train.Document
	for _, q := range p.questions {
		for _, a := range q.Answers {
			list = append(list, p.encode(turn(q.Ask, a)))
		}
	}
	return list
}

// prompt is a question up to where the answer begins.
func (p *paper) prompt(q Question) []core.Token {
	d := p.encode(turn(q.Ask, ""))
	return d.Tokens[:len(d.Tokens)-1]
}

// mark grades the answers, one per question.
func (p *paper) mark(answers []string) Marks {
	m := Marks{Questions: len(p.questions), By: map[string]float64{}}
	asked := map[string]float64{}
	for i, q := range p.questions {
		best := 0.0
		for _, right := range q.Answers {
			best = max(best, overlap(answers[i], right))
			if answers[i] == right {
				m.Exact++
				m.By[q.Kind]++
				break
			}
		}
		asked[q.Kind]++
		m.F1 += best
	}
	m.Exact, m.F1 = round(m.Exact/float64(len(answers))), round(m.F1/float64(len(answers)))
	for k, n := range asked {
		m.By[k] = round(m.By[k] / n)
	}
	return m
}

func (m *Marks) setLoss(sum float64, count int) {
	m.Loss = round(sum / float64(count))
	m.Perplexity = round(math.Exp(sum / float64(count)))
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// overlap is the F1 measure of the words of two texts.
func overlap(a, b string) float64 {
	words := func(s string) []string { return strings.Fields(strings.ToLower(s)) }
	count := map[string]int{}
	for _, w := range words(b) {
		count[w]++
	}
	common := 0
	for _, w := range words(a) {
		if count[w] > 0 {
			count[w]--
			common++
		}
	}
	if common == 0 {
		return 0
	}
	return 2 * float64(common) / float64(len(words(a))+len(words(b)))
}

// Examine marks a model file made by [Train]: answers come from the engine,
// the loss from the trainer's float32 forward pass over the file's weights.
func Examine(ctx context.Context, file []byte, questions []Question) (Marks, []string, error) {
	f, err := gguf.Parse(bytes.Clone(file))
	if err != nil {
		return Marks{}, nil, err
	}
	p, err := newPaper(f.Metadata, questions)
	if err != nil {
		return Marks{}, nil, err
	}
	answers, err := p.generate(ctx, file)
	if err != nil {
		return Marks{}, nil, err
	}
	m := p.mark(answers)
	w, err := loadWeights(f)
	if err != nil {
		return Marks{}, nil, err
	}
	scores, err := w.Evaluate(p.solutions())
	if err != nil {
		return Marks{}, nil, err
	}
	var sum float64
	var count int
	for _, s := range scores {
		sum += s.Loss
		count += s.Count
	}
	m.setLoss(sum, count)
	return m, answers, nil
}

// loadWeights reads a file made by assemble back into float32.
func loadWeights(f *gguf.File) (*train.Weights, error) {
	c := Config()
	for key, field := range map[string]*int{
		"vocab_size": &c.Vocabulary, "block_count": &c.Layers, "embedding_length": &c.Dim, "feed_forward_length": &c.FeedForward,
		"attention.head_count": &c.Heads, "attention.head_count_kv": &c.KVHeads, "attention.key_length": &c.HeadDim,
	} {
		n, err := f.Metadata.Int("llama." + key)
		if err != nil {
			return nil, err
		}
		*field = n
	}
	var tensors []train.Tensor
	for i := range f.Tensors {
		t := &f.Tensors[i]
		data, err := f.Data(t)
		if err != nil {
			return nil, err
		}
		x := train.Tensor{Name: t.Name, Data: make([]float32, t.Elements())}
		for _, d := range t.Dims {
			x.Dims = append(x.Dims, int(d))
		}
		gguf.Dequantize(t.Type, data, x.Data)
		tensors = append(tensors, x)
	}
	return train.Load(c, tensors)
}

// generate answers all questions greedily in the engine.
func (p *paper) generate(ctx context.Context, file []byte) ([]string, error) {
	engine, err := model.OpenBytes(bytes.Clone(file), model.Options{})
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	answers := make([]string, len(p.questions))
	const together = 16
	for lo := 0; lo < len(answers); lo += together {
		hi := min(lo+together, len(answers))
		batch := make([]core.Sequence, 0, together)
		for _, q := range p.questions[lo:hi] {
			s, err := engine.NewSequence(core.SequenceInput{Input: p.prompt(q), Sampler: core.Sampler{MaxTokens: 120}})
			if err != nil {
				return nil, err
			}
			batch = append(batch, s)
		}
		for running := batch; len(running) > 0; {
			if err := engine.Step(ctx, running); err != nil {
				return nil, err
			}
			var next []core.Sequence
			for _, s := range running {
				if s.Finish() == "" {
					next = append(next, s)
				}
			}
			running = next
		}
		for i, s := range batch {
			answers[lo+i] = p.tokens.Decode(s.Output())
			s.Release()
		}
	}
	return answers, nil
}

// baselineOrder and baselineDocuments size the n-gram model: six tokens, and
// the first documents of the training corpus.
const (
	baselineOrder     = 6
	baselineDocuments = 20000
)

// Baseline marks the n-gram model on the same questions.
func Baseline(ctx context.Context, file []byte, questions []Question) (Marks, error) {
	f, err := gguf.Parse(bytes.Clone(file))
	if err != nil {
		return Marks{}, err
	}
	p, err := newPaper(f.Metadata, questions)
	if err != nil {
		return Marks{}, err
	}
	g := newNgram(baselineOrder, p.tokens.Size())
	for i := range uint64(baselineDocuments) {
		if i&1023 == 0 && ctx.Err() != nil {
			return Marks{}, ctx.Err()
		}
		g.learn(p.corpus.Document(i).Tokens)
	}
	end := p.tokens.ID(markEnd)
	if end == token.None {
		return Marks{}, errors.New("seed: the vocabulary has no end token")
	}
	var answers []string
	for _, q := range questions {
		answers = append(answers, p.tokens.Decode(g.complete(p.prompt(q), end, 120)))
	}
	m := p.mark(answers)
	var sum float64
	var count int
	for _, d := range p.solutions() {
		for i, t := range d.Tokens {
			if d.Learn[i] {
				sum -= math.Log(g.probability(d.Tokens[:i], t))
				count++
			}
		}
	}
	m.setLoss(sum, count)
	return m, nil
}
