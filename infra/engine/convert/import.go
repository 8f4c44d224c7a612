package convert

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
)

// Import writes the model in a folder in Hugging Face's layout to path. Matrices
// get the type to; nil keeps that of the largest part of the source. It ends with
// ctx. A model that the engine would not serve is refused.
func Import(ctx context.Context, dir, path string, to *gguf.Type, progress Progress) error {
	err := importModel(ctx, dir, path, to, progress)
	var known *core.Error
	if err == nil || errors.As(err, &known) || ctx.Err() != nil {
		return err
	}
	return &core.Error{Code: core.CodeInvalid, Message: dir + " cannot be imported", Err: err,
		Next: "check that the folder holds config.json, tokenizer.json and complete *.safetensors of a supported model"}
}

func importModel(ctx context.Context, dir, path string, to *gguf.Type, progress Progress) error {
	c, err := readModelConfig(dir)
	if err != nil {
		return err
	}
	files, err := openWeights(dir)
	if err != nil {
		return err
	}
	defer files.Close()
	tensors, err := c.assemble(files)
	if err != nil {
		return err
	}
	var m gguf.Metadata
	factors, err := c.metadata(&m)
	if err != nil {
		return err
	}
	if err := readTokenizer(dir, c, &m); err != nil {
		return err
	}
	if absolute, err := filepath.Abs(dir); err == nil {
		m.Set("general.name", filepath.Base(absolute))
	}
	tensors = append(tensors, factors...)
	kind := mostStored(tensors)
	if to != nil {
		kind = *to
	}
	if err := writeModel(ctx, path, m, tensors, kind, progress); err != nil {
		return err
	}
	if err := checkResult(path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// mostStored is the type that holds most values.
func mostStored(tensors []tensor) gguf.Type {
	values := map[gguf.Type]int{}
	best := gguf.F32
	for i := range tensors {
		t := &tensors[i]
		if values[t.stored] += t.height() * t.cols(); values[t.stored] > values[best] {
			best = t.stored
		}
	}
	return best
}

// checkResult makes sure that the engine can serve what was written.
func checkResult(path string) error {
	f, err := gguf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = model.Describe(f)
	return err
}
