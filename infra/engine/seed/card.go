package seed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/train"
)

// Card is what is measured and fixed about the embedded model, kept beside it
// in koinon-seed.json.
type Card struct {
	Name       string `json:"name"`
	Root       string `json:"root"`
	Bytes      int    `json:"bytes"`
	Parameters int    `json:"parameters"`
	Vocabulary int    `json:"vocabulary"`
	Layers     int    `json:"layers"`
	Steps      int    `json:"training_steps"`
	// Corpus is SHA-256 over the first 1,000 training documents, each token as
	// 4 bytes and a mark of whether it is learnt; FirstSteps that over the weights after a run of three steps.
	// Both change when Train would no longer make this file.
	Corpus     string `json:"corpus_sha256"`
	FirstSteps string `json:"three_steps_sha256"`
	// Marks on held-out questions, of the model and of the n-gram baseline that
	// was counted on the same corpus.
	Marks    Marks `json:"marks"`
	Baseline Marks `json:"ngram_marks"`
}

// Describe measures a file made by Train.
func Describe(ctx context.Context, file []byte) (Card, error) {
	f, err := gguf.Parse(bytes.Clone(file))
	if err != nil {
		return Card{}, err
	}
	root, err := gguf.Root(f)
	if err != nil {
		return Card{}, err
	}
	questions, err := Questions()
	if err != nil {
		return Card{}, err
	}
	marks, _, err := Examine(ctx, file, questions)
	if err != nil {
		return Card{}, err
	}
	baseline, err := Baseline(ctx, file, questions)
	if err != nil {
		return Card{}, err
	}
	w, err := loadWeights(f)
	if err != nil {
		return Card{}, err
	}
	corpus, first, err := fingerprint(ctx)
	return Card{
		Name: Name, Root: root.String(), Bytes: len(file), Parameters: w.Config.Parameters(), Vocabulary: w.Config.Vocabulary,
		Layers: w.Config.Layers, Steps: Config().Steps, Corpus: corpus, FirstSteps: first, Marks: marks, Baseline: baseline,
	}, err
}

// fingerprint computes Card.Corpus and Card.FirstSteps.
func fingerprint(ctx context.Context) (corpus, first string, err error) {
	c := Config()
	c.Steps, c.Warmup = 3, 1
	_, documents, err := prepare(&c)
	if err != nil {
		return "", "", err
	}
	h := sha256.New()
	for i := range uint64(1000) {
		d := documents.Document(i)
		for k, t := range d.Tokens {
			learn := byte(0)
			if d.Learn[k] {
				learn = 1
			}
			h.Write(append(binary.BigEndian.AppendUint32(nil, uint32(t)), learn))
		}
	}
	w, err := train.Run(ctx, c, documents, nil)
	if err != nil {
		return "", "", err
	}
	digest := w.Digest()
	return hex.EncodeToString(h.Sum(nil)), hex.EncodeToString(digest[:]), nil
}
