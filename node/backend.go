package node

import (
	"bytes"
	"context"
	"errors"
	"os"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/remote"
	"github.com/koinon-network/koinon/infra/engine/seed"
)

// BackendKeyVariable names the environment variable with a back end's key.
const BackendKeyVariable = "KOINON_BACKEND_KEY"

// BackendConfig says which server answers for which model.
type BackendConfig struct {
	URL  string // of an OpenAI-compatible server
	Name string // of the model, to the server
	// Model is the GGUF file of the claimed model, "" for the built-in one. Its
	// header and root are read; its weights stay where they are.
	Model string
	// Context is how many tokens the server holds; 0 stands for the model's own.
	Context int
	// Progress is told in a few words what a long reading does. Optional.
	Progress func(step string)
}

// Backend is a server that answers for a model, on the statistical tier.
type Backend struct {
	*remote.Engine
	Metadata gguf.Metadata
	file     *gguf.File
}

// Close breaks off what runs.
func (b *Backend) Close() error { return errors.Join(b.Engine.Close(), b.file.Close()) }

// OpenBackend reads the claimed model's file and asks the server what it can do.
func OpenBackend(ctx context.Context, c BackendConfig) (*Backend, error) {
	f, err := claimed(c.Model)
	if err != nil {
		return nil, err
	}
	info, err := claim(f, c)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	e, err := remote.Open(ctx, remote.Config{URL: c.URL, Name: c.Name, Key: os.Getenv(BackendKeyVariable), Info: info, Metadata: f.Metadata, Context: c.Context})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Backend{e, f.Metadata, f}, nil
}

// claimed opens the model's file.
func claimed(path string) (*gguf.File, error) {
	if path == "" {
		return gguf.Parse(bytes.Clone(seed.Bytes()))
	}
	f, err := gguf.Open(path)
	if err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the model " + path + " cannot be used", Next: "koinon model inspect " + path, Err: err}
	}
	return f, nil
}

// claim describes the model that the server is said to run.
func claim(f *gguf.File, c BackendConfig) (core.ModelInfo, error) {
	d, err := model.Describe(f)
	if err != nil {
		return core.ModelInfo{}, err
	}
	var tell func(int64)
	if c.Progress != nil {
		total := int64(0)
		for i := range f.Tensors {
			total += int64(f.Tensors[i].Size)
		}
		show := percent(c.Progress)
		tell = func(n int64) { show("computing the root", n, total) }
	}
	root, err := gguf.RootProgress(f, tell)
	if err != nil {
		return core.ModelInfo{}, err
	}
	return core.ModelInfo{ID: root, Name: ModelName(c.Model, false), Architecture: d.Architecture, Parameters: d.Parameters, ContextLength: d.Context,
		Vocabulary: d.Vocabulary, Layers: d.Layers, Width: d.Width, Semantics: core.SemanticsV1}, nil
}
