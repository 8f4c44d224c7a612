package command

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/convert"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
)

func modelCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "Look at model files and make them"}
	cmd.AddCommand(&cobra.Command{Use: "inspect FILE.gguf", Short: "Show what a file holds, its root, and whether it can be served",
		Args: cobra.ExactArgs(1), RunE: runInspect})
	cmd.AddCommand(quantizeCommand(), importCommand())
	return cmd
}

func quantizeCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "quantize IN.gguf OUT.gguf --to TYPE", Short: "Write a model in another weight format", Args: cobra.ExactArgs(2),
		Long: "Write a model with its matrices in the type TYPE: " + strings.Join(convert.Types(), ", ") + `.

Vectors, norms, biases and the routers of experts become F32. The output matrix of a model in Q4_K or Q5_K
becomes Q6_K. A matrix whose rows are no whole number of the type's blocks becomes Q8_0 where they are a multiple
of 32, and F16 otherwise. The same file gives the same bytes, and so the same root, on every machine.`,
		RunE: func(cmd *cobra.Command, args []string) error { return runQuantize(cmd, args[0], args[1], to) },
	}
	cmd.Flags().StringVar(&to, "to", "", "the `TYPE` of the matrices")
	return cmd
}

func importCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "import DIR OUT.gguf", Short: "Make a GGUF file of a folder in the layout of Hugging Face", Args: cobra.ExactArgs(2),
		Long: "Make a GGUF file of a folder with config.json, tokenizer.json and *.safetensors, of the types " + strings.Join(convert.ModelTypes(), ", ") + `.

Matrices keep their type unless --to names another one (see koinon model quantize); vectors become F32. What the
engine would compute otherwise than the model's authors mean it is refused by name.`,
		RunE: func(cmd *cobra.Command, args []string) error { return runImport(cmd, args[0], args[1], to) },
	}
	cmd.Flags().StringVar(&to, "to", "", "the `TYPE` of the matrices")
	return cmd
}

func runImport(cmd *cobra.Command, dir, out, to string) error {
	var kind *gguf.Type
	if to != "" {
		t, err := convert.TypeNamed(to)
		if err != nil {
			return err
		}
		kind = &t
	}
	progress, wait := conversionBar(cmd.Context(), cmd)
	err := convert.Import(cmd.Context(), dir, out, kind, progress)
	wait()
	if err != nil {
		return err
	}
	return reportModel(cmd, out)
}

func runQuantize(cmd *cobra.Command, in, out, to string) error {
	if to == "" {
		return usage("say which type with --to: %s", strings.Join(convert.Types(), ", "))
	}
	kind, err := convert.TypeNamed(to)
	if err != nil {
		return err
	}
	f, err := openModelFile(in)
	if err != nil {
		return err
	}
	defer f.Close()
	progress, wait := conversionBar(cmd.Context(), cmd)
	err = convert.Quantize(cmd.Context(), f, kind, out, progress)
	wait()
	if err != nil {
		return err
	}
	return reportModel(cmd, out)
}

// conversionBar shows progress on a terminal and is silent elsewhere.
func conversionBar(ctx context.Context, cmd *cobra.Command) (convert.Progress, func()) {
	if s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd)); !s.live {
		return nil, func() {}
	}
	p := mpb.NewWithContext(ctx, mpb.WithOutput(cmd.ErrOrStderr()), mpb.WithWidth(40))
	bar := p.AddBar(0, mpb.PrependDecorators(decor.Name("writing "), decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)))
	return func(done, total int64) { bar.SetTotal(total, false); bar.SetCurrent(done) }, func() { bar.Abort(false); p.Wait() }
}

// reportModel tells what was made.
func reportModel(cmd *cobra.Command, path string) error {
	f, err := openModelFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := gguf.Root(f)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, map[string]any{"file": path, "root": root, "bytes": f.Size})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s %s, %s\nroot %s\n", good.Render("✓"), path, binarySize(uint64(f.Size)), root)
	return nil
}

func openModelFile(path string) (*gguf.File, error) {
	f, err := gguf.Open(path)
	if err == nil {
		return f, nil
	}
	e := &core.Error{Code: core.CodeInvalid, Message: path + " cannot be read as a GGUF file", Err: err}
	if stat, failed := os.Stat(path); failed == nil && stat.IsDir() {
		e.Next = "a folder in the layout of Hugging Face becomes a GGUF file by koinon model import"
	}
	return nil, e
}

type tensorEntry struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Dims []int  `json:"dims"`
}

type typeEntry struct {
	Type    string `json:"type"`
	Tensors int    `json:"tensors"`
	Bytes   uint64 `json:"bytes"`
}

// inspection is what a file holds.
type inspection struct {
	File    string             `json:"file"`
	Files   int                `json:"files"`
	Bytes   int64              `json:"bytes"`
	Root    string             `json:"root"`
	Problem string             `json:"problem,omitempty"` // why there is no root
	Arch    string             `json:"architecture"`
	Name    string             `json:"name"`
	Served  bool               `json:"served"`
	Refusal string             `json:"refusal,omitempty"` // why it cannot be served
	Kept    string             `json:"kept,omitempty"`    // whether what is kept of it packed is sound
	Model   *model.Description `json:"model,omitempty"`
	Types   []typeEntry        `json:"types"`
	Tensors []tensorEntry      `json:"tensors"`
}

func runInspect(cmd *cobra.Command, args []string) error {
	f, err := openModelFile(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	out := inspect(args[0], f)
	if wantsJSON(cmd) {
		return printJSON(cmd, out)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	out.print(w)
	return w.Flush()
}

func inspect(path string, f *gguf.File) *inspection {
	out := &inspection{File: path, Files: f.Parts, Bytes: f.Size}
	out.Arch, _ = f.Metadata.Text("general.architecture")
	out.Name, _ = f.Metadata.Text("general.name")
	at := map[string]int{}
	for _, t := range f.Tensors {
		dims := make([]int, len(t.Dims))
		for i, d := range t.Dims {
			dims[i] = int(d)
		}
		kind := t.Type.String()
		out.Tensors = append(out.Tensors, tensorEntry{t.Name, kind, dims})
		if _, ok := at[kind]; !ok {
			at[kind] = len(out.Types)
			out.Types = append(out.Types, typeEntry{Type: kind})
		}
		entry := &out.Types[at[kind]]
		entry.Tensors++
		entry.Bytes += t.Size
	}
	if id, err := gguf.Root(f); err != nil {
		out.Problem = err.Error()
	} else {
		out.Root, out.Kept = id.String(), keptState(f, id)
	}
	description, err := model.Describe(f)
	if out.Model, out.Served = description, err == nil; err != nil {
		out.Refusal = err.Error()
	}
	return out
}

func (out *inspection) print(w *tabwriter.Writer) {
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("name", "%s", out.Name)
	row("architecture", "%s", out.Arch)
	if out.Problem != "" {
		row("root", "%s", bad.Render("none: "+out.Problem))
	} else {
		row("root", "%s", out.Root)
	}
	size := binarySize(uint64(out.Bytes))
	if out.Files > 1 {
		size += fmt.Sprintf(" in %d files", out.Files)
	}
	row("size", "%s", size)
	if out.Served {
		row("served", "%s", good.Render("yes"))
	} else {
		row("served", "%s", bad.Render("no: "+out.Refusal))
	}
	if out.Kept != "" {
		row("kept packed", "%s", out.Kept)
	}
	if m := out.Model; m != nil {
		row("parameters", "%.4g million", float64(m.Parameters)/1e6)
		row("layers", "%d of width %d, feed-forward %d", m.Layers, m.Width, m.Hidden)
		row("heads", "%d of %d, %d for keys and values", m.Heads, m.HeadDim, m.KVHeads)
		if m.Experts > 0 {
			row("experts", "%d, of which a token uses %d", m.Experts, m.ExpertsUsed)
		}
		context := fmt.Sprintf("%d tokens", m.Context)
		if m.WindowLayers > 0 {
			context += fmt.Sprintf("; %d layers see the last %d", m.WindowLayers, m.Window)
		}
		row("context", "%s", context)
		template := "no chat template"
		if m.Template {
			template = "with a chat template"
		}
		row("vocabulary", "%d tokens, %s, %s", m.Vocabulary, m.Tokenizer, template)
	}
	for _, t := range out.Types {
		row("weights", "%s: %d tensors, %s", t.Type, t.Tensors, binarySize(t.Bytes))
	}
	for _, t := range out.Tensors {
		fmt.Fprintf(w, "%s\t%s\t%v\n", t.Name, t.Type, t.Dims)
	}
}

func binarySize(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
