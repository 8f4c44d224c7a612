package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/verify"
)

func verifyCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "verify RECEIPT.json", Short: "Re-execute an answer and compare", Args: cobra.ExactArgs(1),
		Long: `Check a receipt's signatures and hashes and re-execute the answer on this
machine, without a network. It prints "matches", or the first token and layer
that differ.

Exit codes: 0 matches, 2 not a receipt, 3 wrong signature, 4 tampered contents,
5 another model, 6 a token or the end differs, 7 same tokens from another
computation, 8 a version this program does not know, 9 a log-probability
differs, 10 an embedding differs, 11 nothing is wrong, and nothing proven: the
answer is of the statistical tier.`,
		Example: "curl -s http://127.0.0.1:8080/v1/receipts/ID > receipt.json\nkoinon verify receipt.json",
		RunE:    func(cmd *cobra.Command, args []string) error { return runVerify(cmd, args[0], path) },
	}
	cmd.Flags().StringVar(&path, "model", "", "`FILE.gguf` of the receipt's model (default: the built-in model)")
	return cmd
}

func runVerify(cmd *cobra.Command, file, path string) error {
	f, err := os.Open(file)
	if err != nil {
		return &exit{2, &core.Error{Code: core.CodeInvalid, Message: "the receipt cannot be opened", Next: "koinon verify --help", Err: err}}
	}
	defer f.Close()
	ev, err := verify.Parse(f)
	if err != nil {
		if r, ok := err.(*verify.Rejected); ok {
			return report(cmd, r.Report)
		}
		return err
	}
	// A broken receipt needs no model to be refused.
	if r := verify.Check(ev, verify.Facts{}); r.Verdict != verify.Matches {
		return report(cmd, r)
	}
	kv8 := core.NumericsOf(ev.Receipt.Semantics) == core.SemanticsKV8
	if builtIn, err := core.ParseHash(seed.Root); err != nil {
		return err
	} else if path == "" && ev.Receipt.Model != core.ModelVariant(builtIn, core.NumericsOf(ev.Receipt.Semantics)) {
		return report(cmd, verify.Report{Verdict: verify.WrongModel, Field: "receipt.model", Receipt: ev.Receipt.Digest(),
			Message: fmt.Sprintf("the receipt is for model %s (%s), not for the built-in one; give its file with --model", ev.Receipt.Model.Short(), ev.ModelName)})
	}
	m, err := openModel(cmd, path, kv8)
	if err != nil {
		return err
	}
	defer m.Close()
	r, err := verify.Verify(cmd.Context(), ev, m, verify.Facts{})
	if err != nil {
		return err
	}
	return report(cmd, r)
}

// report prints a verdict; all but "matches" are errors with their own codes.
func report(cmd *cobra.Command, r verify.Report) error {
	if wantsJSON(cmd) {
		if err := printJSON(cmd, r); err != nil {
			return err
		}
	}
	if r.Verdict != verify.Matches {
		return &exit{r.ExitCode(), &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("%s: %s", r.Verdict, r.Message), Param: r.Field}}
	}
	if wantsJSON(cmd) {
		return nil
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", good.Render("✓"), r.Message)
	return err
}
