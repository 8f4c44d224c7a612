package model

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

var update = flag.Bool("update", false, "rewrite the published vectors")

const vectorDir = "../../../spec/vectors/"

// answerVector is one answer of the model in spec/vectors/model.gguf.
type answerVector struct {
	Input        []core.Token      `json:"input"`
	Base         int               `json:"base"`
	Sampler      core.Sampler      `json:"sampler"`
	Seed         core.Hash         `json:"seed"`
	Salt         core.Hash         `json:"salt"`
	Output       []core.Token      `json:"output"`
	Finish       core.FinishReason `json:"finish"`
	BoundaryRoot core.Hash         `json:"boundary_root"`
}

// embeddingVector is one embedding by it.
type embeddingVector struct {
	Input   []core.Token `json:"input"`
	Pooling core.Pooling `json:"pooling"`
	Hash    core.Hash    `json:"sha256"` // of the elements as little-endian f32
}

type modelVectors struct {
	Note       string            `json:"note"`
	Root       core.ModelID      `json:"root"`
	Answers    []answerVector    `json:"answers"`
	Embeddings []embeddingVector `json:"embeddings"`
}

func (v *embeddingVector) run(t *testing.T, m *Model) embeddingVector {
	got := *v
	got.Hash = sha256.Sum256(core.EncodeVector(embed(t, m, v.Input, v.Pooling)))
	return got
}

func (v *answerVector) run(t *testing.T, m *Model) answerVector {
	in := core.SequenceInput{Input: v.Input, Base: v.Base, Sampler: v.Sampler, Seed: core.Seed(v.Seed), Salt: v.Salt, Trace: true}
	r := answer(t, m, in)
	got := *v
	got.Output, got.Finish, got.BoundaryRoot = r.output, r.finish, merkle.Root(r.leaves)
	return got
}

func makeVectors(t *testing.T) {
	shape := standard
	shape.vocabulary = 263
	if err := shape.builder(t).Create(vectorDir + "model.gguf"); err != nil {
		t.Fatal(err)
	}
	m := shape.open(t, Options{})
	v := modelVectors{Note: "Answers of model.gguf, semantics version 1; see spec/answer.md.", Root: m.Root()}
	samplers := []core.Sampler{
		{MaxTokens: 16, IgnoreEOS: true},
		{Temperature: 1_000_000, MaxTokens: 90, IgnoreEOS: true},
		{Temperature: 800_000, TopP: 900_000, MaxTokens: 16},
		{Temperature: 1_500_000, TopK: 20, MinP: 20_000, MaxTokens: 16},
	}
	for i, s := range samplers {
		a := answerVector{Input: prompt(m, 5+20*i, uint64(i)), Sampler: s, Seed: core.Hash{byte(i), 1}, Salt: core.Hash{byte(i), 2}}
		v.Answers = append(v.Answers, a.run(t, m))
	}
	long := v.Answers[1]
	stop := long
	for i := 5; stop.Sampler.Stop == nil; i++ {
		if two := text(m, long.Output[i:i+2]); two[0] < 0x7f && two[1] < 0x7f && two[0] > ' ' && two[1] > ' ' {
			stop.Sampler.Stop = []string{two}
		}
	}
	resumed := long
	resumed.Input, resumed.Base = slices.Concat(long.Input, long.Output[:30]), 30
	v.Answers = append(v.Answers, stop.run(t, m), resumed.run(t, m))
	for i, n := range []int{1, 70, 70, 70} {
		e := embeddingVector{Input: prompt(m, n, uint64(i)), Pooling: allPoolings[i%3]}
		v.Embeddings = append(v.Embeddings, e.run(t, m))
	}
	b, err := json.MarshalIndent(v, "", " ")
	if err == nil {
		err = os.WriteFile(vectorDir+"model.json", append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPublishedVectors(t *testing.T) {
	if *update {
		makeVectors(t)
	}
	b, err := os.ReadFile(vectorDir + "model.json")
	if err != nil {
		t.Fatal(err)
	}
	var v modelVectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	m, err := Open(vectorDir+"model.gguf", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Root() != v.Root {
		t.Errorf("the root is %v, published is %v", m.Root(), v.Root)
	}
	if len(v.Answers) < 6 || len(v.Embeddings) < 4 {
		t.Fatal("the vectors are incomplete")
	}
	for i, want := range v.Answers {
		got := want.run(t, m)
		if !slices.Equal(got.Output, want.Output) || got.Finish != want.Finish || got.BoundaryRoot != want.BoundaryRoot {
			t.Errorf("answer %d: %v %q %v", i, got.Output, got.Finish, got.BoundaryRoot.Short())
		}
	}
	for i, want := range v.Embeddings {
		if got := want.run(t, m); got.Hash != want.Hash {
			t.Errorf("embedding %d: %v", i, got.Hash.Short())
		}
	}
}

// publishedFamilies are the models model-*.gguf in spec/vectors.
var publishedFamilies = []struct {
	file  string
	shape tiny
	kv8   bool
}{
	{"mistral", tiny{arch: "llama", kvHeads: 2, keys: map[string]any{"attention.sliding_window": uint32(9)}}, false},
	{"mixtral", tiny{arch: "llama", kvHeads: 2, experts: 5, used: 2, expertHidden: 32}, false},
	{"qwen2moe", tiny{arch: "qwen2moe", kvHeads: 4, experts: 6, used: 3, expertHidden: 32}, false},
	{"qwen3-yarn", tiny{arch: "qwen3", kvHeads: 2, tied: true, ropeBase: 1e6,
		keys: map[string]any{"rope.scaling.type": "yarn", "rope.scaling.factor": float32(4), "rope.scaling.original_context_length": uint32(32)}}, false},
	{"gemma2", tiny{arch: "gemma2", kvHeads: 2, tied: true,
		keys: map[string]any{"attention.sliding_window": uint32(8), "attn_logit_softcapping": float32(3), "final_logit_softcapping": float32(6)}}, false},
	{"gemma3", tiny{arch: "gemma3", kvHeads: 1, tied: true, ropeBase: 1e6, keys: map[string]any{"attention.sliding_window": uint32(8),
		"attention.sliding_window_pattern": uint32(2), "rope.scaling.type": "linear", "rope.scaling.factor": float32(8)}}, false},
	{"phi3-longrope", tiny{arch: "phi3", kvHeads: 2, factors: true,
		keys: map[string]any{"rope.scaling.original_context_length": uint32(16), "rope.scaling.attn_factor": float32(1.19)}}, false},
	// Windows that begin within a block of 32 positions, caps, heads of two blocks.
	{"gemma2-kv8", tiny{arch: "gemma2", heads: 2, kvHeads: 1, headDim: 64, tied: true,
		keys: map[string]any{"attention.sliding_window": uint32(45), "attn_logit_softcapping": float32(3), "final_logit_softcapping": float32(6)}}, true},
}

// familyVector is a model's name under its semantics and one of its answers.
type familyVector struct {
	File      string       `json:"file"`
	Root      core.ModelID `json:"root"`
	Semantics uint32       `json:"semantics,omitempty"` // core.SemanticsV1 where it says none
	answerVector
}

func (v *familyVector) options() Options { return Options{KV8: v.Semantics == core.SemanticsKV8} }

func TestPublishedFamilies(t *testing.T) {
	const index = vectorDir + "architectures.json"
	path := func(file string) string { return vectorDir + "model-" + file + ".gguf" }
	var published struct {
		Note   string         `json:"note"`
		Models []familyVector `json:"models"`
	}
	if *update {
		published.Note = "An answer of a model of each family, semantics version 1 where it says no other; see spec/architectures.md."
		for i, f := range publishedFamilies {
			shape := f.shape
			shape.layers, shape.width, shape.hidden = 2, 32, 32
			if shape.heads == 0 {
				shape.heads, shape.headDim = 4, 16
				if !shape.tied {
					shape.headDim = 8
				}
			}
			shape.vocabulary, shape.context, shape.format, shape.seed = 258, 256, gguf.Q8_0, uint64(40+i)
			if err := shape.builder(t).Create(path(f.file)); err != nil {
				t.Fatal(err)
			}
			v := familyVector{File: f.file}
			input := 40
			if f.kv8 {
				v.Semantics, input = core.SemanticsKV8, 110 // more than a page
			}
			m := shape.open(t, v.options())
			a := answerVector{Input: prompt(m, input, uint64(i)), Sampler: core.Sampler{Temperature: 800_000, MaxTokens: 32, IgnoreEOS: true},
				Seed: core.Hash{byte(i), 3}, Salt: core.Hash{byte(i), 4}}
			v.Root, v.answerVector = m.Root(), a.run(t, m)
			published.Models = append(published.Models, v)
		}
		b, err := json.MarshalIndent(published, "", " ")
		if err == nil {
			err = os.WriteFile(index, append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &published); err != nil {
		t.Fatal(err)
	}
	if len(published.Models) != len(publishedFamilies) {
		t.Fatalf("%d models are published", len(published.Models))
	}
	for _, want := range published.Models {
		m, err := Open(path(want.File), want.options())
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		got := want.run(t, m)
		if m.Root() != want.Root || !slices.Equal(got.Output, want.Output) || got.Finish != want.Finish || got.BoundaryRoot != want.BoundaryRoot {
			t.Errorf("%s: root %v, output %v, boundary root %v", want.File, m.Root(), got.Output, got.BoundaryRoot.Short())
		}
	}
}
