package command

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
)

type modelList struct {
	Object string       `json:"object"`
	Data   []modelEntry `json:"data"`
}

type modelEntry struct {
	ID     string `json:"id"`
	Koinon struct {
		Root      core.ModelID `json:"root"`
		Context   uint32       `json:"context_length"`
		Providers int          `json:"providers"`
		Tier      core.Tier    `json:"tier"`
		PriceIn   *core.Amount `json:"price_in"`
		PriceOut  *core.Amount `json:"price_out"`
	} `json:"koinon"`
}

func modelsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "models", Short: "List the models on the market with their prices", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list modelList
			if err := get(cmd.Context(), cmd, "/v1/models", &list); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, list)
			}
			return printModels(cmd, list)
		},
	}
	gatewayFlag(cmd)
	return cmd
}

func printModels(cmd *cobra.Command, list modelList) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MODEL\tROOT\tCONTEXT\tPROVIDERS\tPROOF\tIN / 1M TOKENS\tOUT / 1M TOKENS")
	for _, m := range list.Data {
		k := m.Koinon
		in, out := "-", "-"
		if k.PriceIn != nil && k.PriceOut != nil {
			in, out = k.PriceIn.Mul(1_000_000).Format(), k.PriceOut.Mul(1_000_000).Format()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", m.ID, k.Root.Short(), k.Context, k.Providers, k.Tier, in, out)
	}
	return w.Flush()
}
