package command

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/packed"
	"github.com/koinon-network/koinon/node"
)

// openModel opens a model and shows on a terminal how far it has come.
func openModel(cmd *cobra.Command, path string, kv8 bool) (*model.Model, error) {
	s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd))
	defer s.end()
	return node.OpenModel(path, kv8, s.show)
}

const kv8Usage = "keep keys and values as int8: about a quarter of the memory and half of attention's time, other answers (NAME-kv8)"

// keptState compares what is kept of a model in the cache folder with its root,
// computed anew, and removes it if it is wrong.
func keptState(f *gguf.File, root core.ModelID) string {
	folder := node.KeptModels()
	source, err := packed.Identify(f.Paths()...)
	if err != nil || folder == "" {
		return ""
	}
	err = packed.Audit(folder, source, root)
	switch {
	case err == nil:
		return "sound, in " + folder
	case errors.Is(err, fs.ErrNotExist):
		return ""
	}
	return "not used: " + err.Error()
}
