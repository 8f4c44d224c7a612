package command

import (
	"github.com/spf13/cobra"

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
	cmd.AddCommand(gw)
	return cmd
}
