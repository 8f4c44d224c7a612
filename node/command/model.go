package command

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

func modelCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "Look at model files"}
	cmd.AddCommand(&cobra.Command{Use: "inspect FILE.gguf", Short: "Show what a file holds, and its root", Args: cobra.ExactArgs(1), RunE: runInspect})
	return cmd
}

type tensorEntry struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Dims []int  `json:"dims"`
}

func runInspect(cmd *cobra.Command, args []string) error {
	f, err := gguf.Open(args[0])
	if err != nil {
		return &core.Error{Code: core.CodeInvalid, Message: args[0] + " cannot be read as a GGUF file", Err: err}
	}
	defer f.Close()
	out := struct {
		File    string        `json:"file"`
		Root    string        `json:"root"`
		Problem string        `json:"problem,omitempty"`
		Arch    string        `json:"architecture"`
		Name    string        `json:"name"`
		Tensors []tensorEntry `json:"tensors"`
	}{File: args[0]}
	out.Arch, _ = f.Metadata.Text("general.architecture")
	out.Name, _ = f.Metadata.Text("general.name")
	for _, t := range f.Tensors {
		dims := make([]int, len(t.Dims))
		for i, d := range t.Dims {
			dims[i] = int(d)
		}
		out.Tensors = append(out.Tensors, tensorEntry{t.Name, t.Type.String(), dims})
	}
	if id, err := gguf.Root(f); err != nil {
		out.Problem = err.Error()
	} else {
		out.Root = id.String()
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, out)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "name\t%s\narchitecture\t%s\n", out.Name, out.Arch)
	if out.Problem != "" {
		fmt.Fprintf(w, "root\t%s\n", bad.Render("none: "+out.Problem))
	} else {
		fmt.Fprintf(w, "root\t%s\n", out.Root)
	}
	for _, t := range out.Tensors {
		fmt.Fprintf(w, "%s\t%s\t%v\n", t.Name, t.Type, t.Dims)
	}
	return w.Flush()
}
