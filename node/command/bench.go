package command

import (
	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/infra/engine/bench"
	"github.com/koinon-network/koinon/node"
)

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure this machine and this build"}
	var o node.BenchOptions
	gw := &cobra.Command{
		Use: "gateway", Short: "What gateway, payment and network add to the engine", Args: cobra.NoArgs,
		Long: `Start a devnet in a temporary folder and put the same questions to its gateway
and to the engine directly, in turns: latency of one token at p50 and p99, and
requests per second at several concurrencies.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd))
			o.Progress = s.show
			r, err := node.BenchGateway(cmd.Context(), o)
			s.end()
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, r)
			}
			_, err = cmd.OutOrStdout().Write([]byte(r.Table()))
			return err
		},
	}
	gw.Flags().IntVar(&o.Requests, "requests", 200, "requests per concurrency and side")
	gw.Flags().IntVar(&o.Tokens, "tokens", 16, "tokens of an answer in the throughput part")
	gw.Flags().StringVar(&o.Model, "model", "", "`FILE.gguf` instead of the built-in model")
	cmd.AddCommand(gw, benchEngineCommand(), benchVerifyCommand())
	return cmd
}

func benchEngineCommand() *cobra.Command {
	var o bench.Options
	cmd := &cobra.Command{
		Use: "engine", Short: "How fast this machine runs a model", Args: cobra.NoArgs,
		Long: `Measure prefill and decode, one sequence and several together, and what share of
the memory's bandwidth decode uses; what the trace for receipts costs; how fast
the tokenizer is; how long the model takes to open, and how much memory it holds.
Figures that are compared are taken in turns and are medians.

Without --model it makes a file of random weights in the shape of a model of half
a billion parameters (530 MB).
The speed does not depend on what the weights say. While it runs it keeps the
packed model in the temporary folder, which takes as much again.`,
		Example: "  koinon bench engine\n  koinon bench engine --model FILE.gguf --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd))
			o.Progress = s.show
			r, err := bench.Run(cmd.Context(), o)
			s.end()
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, r)
			}
			_, err = cmd.OutOrStdout().Write([]byte(r.Table()))
			return err
		},
	}
	cmd.Flags().StringVar(&o.Model, "model", "", "`FILE.gguf` instead of random weights")
	cmd.Flags().IntVar(&o.Threads, "threads", 0, "processor threads (default: all)")
	cmd.Flags().IntVar(&o.Prompt, "prompt", 512, "tokens of a prompt")
	cmd.Flags().IntVar(&o.Tokens, "tokens", 128, "tokens of an answer")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 5, "how often each figure is taken")
	return cmd
}
