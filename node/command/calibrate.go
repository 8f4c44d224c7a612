package command

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/verify"
	"github.com/koinon-network/koinon/node"
)

func calibrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "calibrate --backend URL --out FILE.json", Short: "Measure how far an honest back end is from the engine", Args: cobra.NoArgs,
		Long: `Ask an OpenAI-compatible server that you trust, compare its answers with the
engine's own draws of the same model, and write what was measured. Auditors weigh
answers of the statistical tier by such files (koinon gateway start --calibration):
measure one per model, weight format and program that you accept as honest.

The prompts should be like those that providers get; the default ones are about
Koinon. A file of prompts has one per line.`,
		Example: "koinon calibrate --model llama.Q8_0.gguf --backend http://127.0.0.1:8000 --weights Q8_0 --out llama.calibration.json",
		RunE:    runCalibrate,
	}
	f := cmd.Flags()
	f.String("backend", "", "`URL` of the server (key in "+node.BackendKeyVariable+")")
	f.String("backend-model", "", "`NAME` of the model on that server (default: as the file is called)")
	f.Int("backend-context", 0, "`TOKENS` that the server's context holds (default: the model's own)")
	f.String("model", "", "`FILE.gguf` of the model (default: the built-in model)")
	f.String("program", "an OpenAI-compatible server", "`NAME` and version of the server's program, for people")
	f.String("weights", "as in the file", "`FORMAT` of the server's weights, for people")
	f.String("prompts", "", "`FILE` with one prompt per line")
	f.Int("answers", 400, "how many answers to compare")
	f.Int("max-tokens", 128, "tokens of an answer at most")
	f.String("out", "", "`FILE.json` to write")
	return cmd
}

func runCalibrate(cmd *cobra.Command, _ []string) error {
	url, _ := cmd.Flags().GetString("backend")
	out, _ := cmd.Flags().GetString("out")
	if url == "" || out == "" {
		return usage("say which server with --backend and where to write with --out")
	}
	o := node.CalibrateOptions{}
	o.Program, _ = cmd.Flags().GetString("program")
	o.Weights, _ = cmd.Flags().GetString("weights")
	o.Answers, _ = cmd.Flags().GetInt("answers")
	o.MaxTokens, _ = cmd.Flags().GetInt("max-tokens")
	if name, _ := cmd.Flags().GetString("prompts"); name != "" {
		var err error
		if o.Prompts, err = readPrompts(name); err != nil {
			return err
		}
	}
	path, _ := cmd.Flags().GetString("model")
	m, err := openModel(cmd, path, false)
	if err != nil {
		return err
	}
	defer m.Close()
	b, err := openBackend(cmd, url, path)
	if err != nil {
		return err
	}
	defer b.Close()
	s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd))
	o.Progress = s.show
	c, err := node.Calibrate(cmd.Context(), m, b, o)
	s.end()
	if err != nil {
		return err
	}
	js, err := c.Encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, js, 0o644); err != nil {
		return &core.Error{Code: core.CodeInvalid, Message: "the calibration cannot be written", Err: err}
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, c)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %d answers, %d tokens compared by margin, %d by likelihood\n", good.Render("✓"), out, c.Answers, c.Tokens(), c.Likelihood.Tokens)
	return err
}

// maxPrompts bounds a file of prompts, in bytes.
const maxPrompts = 16 << 20

func readPrompts(name string) (all []string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the prompts cannot be opened", Err: err}
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxPrompts))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if p := strings.TrimSpace(lines.Text()); p != "" {
			all = append(all, p)
		}
	}
	if lines.Err() != nil || len(all) == 0 {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the file " + name + " has no prompts that can be read", Next: "write one prompt per line", Err: lines.Err()}
	}
	return all, nil
}

// calibrations reads the files that a gateway weighs answers by.
func calibrations(cmd *cobra.Command, cfg *node.GatewayConfig) error {
	names, _ := cmd.Flags().GetStringSlice("calibration")
	share, _ := cmd.Flags().GetFloat64("weigh")
	if !(share > 0 && share <= 1) {
		return usage("--weigh is a share between 0 and 1")
	}
	cfg.WeighShare = max(1, uint32(share*10_000))
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return &core.Error{Code: core.CodeInvalid, Message: "the calibration cannot be opened", Err: err, Next: "measure one with koinon calibrate"}
		}
		c, err := verify.ParseCalibration(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		cfg.Calibrations = append(cfg.Calibrations, c)
	}
	return nil
}
