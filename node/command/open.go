package command

import (
	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/node"
)

// openModel opens a model and shows on a terminal how far it has come.
func openModel(cmd *cobra.Command, path string, kv8 bool) (*model.Model, error) {
	s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd))
	defer s.end()
	return node.OpenModel(path, kv8, s.show)
}

const kv8Usage = "keep keys and values as int8: about a quarter of the memory and half of attention's time, other answers (NAME-kv8)"
