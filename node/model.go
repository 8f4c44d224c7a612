package node

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/seed"
)

// KeptModels is the folder where packed models are kept, so that they open at
// once: $KOINON_CACHE, or koinon/packed in the user's cache folder. It is "",
// for none, where KOINON_CACHE is "off" or no folder is known.
func KeptModels() string {
	switch folder := os.Getenv("KOINON_CACHE"); folder {
	case "":
	case "off":
		return ""
	default:
		return folder
	}
	folder, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(folder, "koinon", "packed")
}

// OpenModel opens a GGUF file, or the built-in model when path is empty.
// Progress, which may be nil, is told in a few words what a long first opening
// does. With kv8 it keeps keys and values as int8, under semantics
// core.SemanticsKV8: another model to the network.
func OpenModel(path string, kv8 bool, progress func(step string)) (*model.Model, error) {
	if path == "" {
		// So small a model is done before a second thread has woken up.
		return model.OpenBytes(seed.Bytes(), model.Options{Threads: 1, KV8: kv8})
	}
	o := model.Options{Keep: KeptModels(), KV8: kv8}
	if progress != nil {
		o.Progress = percent(progress)
	}
	m, err := model.Open(path, o)
	if err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the model " + path + " cannot be used", Next: "koinon model inspect " + path, Err: err}
	}
	return m, nil
}

// percent words progress in bytes, once for every hundredth.
func percent(tell func(string)) func(what string, done, total int64) {
	last := ""
	return func(what string, done, total int64) {
		step := what
		if total > 0 && done > 0 {
			step = fmt.Sprintf("%s, %d %%", what, min(100, 100*done/total))
		}
		if step != last {
			last = step
			tell(step)
		}
	}
}

// ModelName is how API clients call a model: the built-in one by its own name,
// a file by its name; with kv8 the name ends in -kv8.
func ModelName(path string, kv8 bool) string {
	name := seed.Name
	if path != "" {
		b := filepath.Base(path)
		name = b[:len(b)-len(filepath.Ext(b))]
	}
	if kv8 {
		name += "-kv8"
	}
	return name
}
