package seed

import (
	"bytes"
	"context"
	"runtime"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
	"github.com/koinon-network/koinon/infra/engine/train"
)

// ContextLength is the longest prompt and answer together, in tokens.
const ContextLength = 512

// vocabularyTexts is how many documents the vocabulary is made from.
const vocabularyTexts = 6000

// Config returns the training run that made the embedded model.
func Config() train.Config {
	return train.Config{
		Vocabulary: 1536, Dim: 192, Layers: 4, Heads: 6, KVHeads: 2, HeadDim: 32, FeedForward: 512,
		RopeBase: 10000, NormEpsilon: 1e-5, LongestInput: ContextLength,
		Steps: 3000, BatchTokens: 1024, LearningRate: 2.5e-3, FinalRate: 1e-4, Warmup: 100,
		WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.95, ClipNorm: 1, Seed: 1, LookBack: 3, Threads: runtime.GOMAXPROCS(0),
	}
}

// Report says what a training run made.
type Report struct {
	Root       core.ModelID
	Parameters int
	Vocabulary int
	Final      train.Progress
}

// Train repeats the training of the embedded model and returns its GGUF file.
// It takes minutes; progress, if any, is called after every step.
func Train(ctx context.Context, progress func(train.Progress)) ([]byte, Report, error) {
	return build(ctx, Config(), progress)
}

// prepare makes vocabulary, metadata and corpus.
func prepare(c *train.Config) (*gguf.Builder, *corpus, error) {
	topics, err := parseFacts(factsText)
	if err != nil {
		return nil, nil, err
	}
	w := writer{topics}
	var all strings.Builder
	for i := range uint64(vocabularyTexts) {
		all.WriteString(text(w.document(i)))
	}
	vocabulary, err := token.TrainBPE(all.String(), c.Vocabulary, []string{markSystem, markUser, markAssistant, markEnd})
	if err != nil {
		return nil, nil, err
	}
	c.Vocabulary = len(vocabulary.Tokens)
	var b gguf.Builder
	if err := vocabulary.Describe(&b.Metadata, "", markEnd); err != nil {
		return nil, nil, err
	}
	describe(&b.Metadata, *c)
	tokens, err := token.New(b.Metadata)
	if err != nil {
		return nil, nil, err
	}
	return &b, &corpus{w, tokens}, nil
}

func describe(m *gguf.Metadata, c train.Config) {
	for key, value := range map[string]any{
		"general.architecture": "llama",
		"general.type":         "model",
		"general.name":         Name,
		"general.description":  "A very small model that answers questions about Koinon, trained by Koinon on its own documentation.",
		"general.license":      "apache-2.0",
		"general.languages":    []string{"en"},
		"general.file_type":    uint32(7), // mostly Q8_0
		// So small a model is at its best where it is surest.
		"general.sampling.temp": float32(0),

		"llama.context_length":                   uint32(ContextLength),
		"llama.embedding_length":                 uint32(c.Dim),
		"llama.block_count":                      uint32(c.Layers),
		"llama.feed_forward_length":              uint32(c.FeedForward),
		"llama.attention.head_count":             uint32(c.Heads),
		"llama.attention.head_count_kv":          uint32(c.KVHeads),
		"llama.attention.key_length":             uint32(c.HeadDim),
		"llama.attention.value_length":           uint32(c.HeadDim),
		"llama.attention.layer_norm_rms_epsilon": c.NormEpsilon,
		"llama.rope.freq_base":                   c.RopeBase,
		"llama.rope.dimension_count":             uint32(c.HeadDim),
		"llama.vocab_size":                       uint32(c.Vocabulary),

		"tokenizer.chat_template": ChatTemplate,
	} {
		m.Set(key, value)
	}
}

func build(ctx context.Context, c train.Config, progress func(train.Progress)) ([]byte, Report, error) {
	var last train.Progress
	b, corpus, err := prepare(&c)
	if err != nil {
		return nil, Report{}, err
	}
	w, err := train.Run(ctx, c, corpus, func(p train.Progress) {
		last = p
		if progress != nil {
			progress(p)
		}
	})
	if err != nil {
		return nil, Report{}, err
	}
	file, root, err := assemble(b, w)
	return file, Report{root, c.Parameters(), c.Vocabulary, last}, err
}

// assemble quantises the weights and writes the file: matrices as Q8_0, norms
// as F32.
func assemble(b *gguf.Builder, w *train.Weights) ([]byte, core.ModelID, error) {
	for _, t := range w.Tensors() {
		format := gguf.Q8_0
		if len(t.Dims) == 1 {
			format = gguf.F32
		}
		if err := b.AddFloats(t.Name, format, t.Dims, t.Data); err != nil {
			return nil, core.ModelID{}, err
		}
	}
	var out bytes.Buffer
	if _, err := b.WriteTo(&out); err != nil {
		return nil, core.ModelID{}, err
	}
	f, err := gguf.Parse(bytes.Clone(out.Bytes()))
	if err != nil {
		return nil, core.ModelID{}, err
	}
	root, err := gguf.Root(f)
	return out.Bytes(), root, err
}
