package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/verify"
	"github.com/koinon-network/koinon/node"
)

func disputeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dispute", Short: "See how wrong answers are proven on chain",
		Long: `A dispute is a game about one receipt: the challenger points, the provider shows,
and the chain computes the last step itself. The loser pays.`,
	}
	list := &cobra.Command{Use: "list", Short: "List disputes, newest first", Args: cobra.NoArgs, RunE: runDisputeList}
	show := &cobra.Command{Use: "show ID", Short: "Replay one dispute, move by move", Args: cobra.ExactArgs(1), RunE: runDisputeShow}
	for _, c := range []*cobra.Command{list, show} {
		c.Flags().String("home", node.DefaultHome("devnet"), "`DIR` of a devnet to ask")
		c.Flags().String("node", "", "`URL` of a node's CometBFT RPC")
		cmd.AddCommand(c)
	}
	return cmd
}

func runDisputeList(cmd *cobra.Command, _ []string) error {
	c, err := openChain(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ds, err := c.Disputes(cmd.Context(), 0)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, ds)
	}
	w := cmd.OutOrStdout()
	if len(ds) == 0 {
		fmt.Fprintln(w, "no disputes yet. See one: koinon devnet --reset --cheat "+node.Cheats[0])
		return nil
	}
	for _, d := range ds {
		fmt.Fprintf(w, "%4d  %s  receipt %s  provider %s  %s\n", d.ID, time.Unix(d.Opened, 0).Format(time.DateTime), d.Receipt.Short(), d.Provider, outcome(d))
	}
	return nil
}

// outcome is how a dispute stands, in a few words.
func outcome(d core.Dispute) string {
	switch d.Winner {
	case "":
		return dim.Render("open: " + verify.DueText(&d))
	case core.SideChallenger:
		return bad.Render("wrong") + ": " + d.Cause
	}
	return good.Render("right") + ": " + d.Cause
}

func runDisputeShow(cmd *cobra.Command, args []string) error {
	id, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return usage("%q is no number of a dispute", args[0])
	}
	c, err := openChain(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	d, err := c.Dispute(cmd.Context(), id)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, d)
	}
	printDispute(cmd.OutOrStdout(), d)
	return nil
}

func printDispute(w io.Writer, d core.Dispute) {
	line := func(what, text string) { fmt.Fprintf(w, "  %s %s\n", dim.Render(fmt.Sprintf("%-11s", what)), text) }
	fmt.Fprintf(w, "%s\n\n", bold.Render(fmt.Sprintf("Dispute %d", d.ID)))
	line("receipt", d.Receipt.String())
	line("provider", d.Provider.String())
	line("challenger", d.Challenger.String())
	line("claim", verify.ClaimText(d.Claim))
	fmt.Fprintln(w)
	for i, m := range d.History {
		fmt.Fprintf(w, "  %2d  block %-6d %-11s %-14s %s\n", i+1, m.Height, m.Side, m.Move, dim.Render(fmt.Sprintf("%d bytes", m.Size)))
	}
	fmt.Fprintln(w)
	line("outcome", outcome(d))
	line("size", fmt.Sprintf("%d moves, %d bytes on chain", d.Moves, d.Size))
	if d.Winner == core.SideChallenger {
		line("slashed", d.Slashed.Format())
		line("refund", d.Refund.Format()+" to the consumer")
		line("bounty", d.Bounty.Format()+" to the challenger; the rest is burned")
	}
}

// printIncident writes one line per thing that happened to a receipt.
func printIncident(cmd *cobra.Command, info node.DevnetInfo, i verify.Incident) error {
	w := cmd.OutOrStdout()
	if wantsJSON(cmd) {
		return json.NewEncoder(w).Encode(map[string]any{"incident": i})
	}
	name := i.Provider.String()
	for _, p := range info.Providers {
		if p.Address == i.Provider {
			name = p.Moniker
		}
	}
	now := dim.Render(time.Now().Format(time.TimeOnly))
	var err error
	switch i.Kind {
	case verify.Audited:
		_, err = fmt.Fprintf(w, "%s %s  %-12s audit: %s\n", bad.Render("✗"), now, name, i.Text)
	case verify.Opened:
		_, err = fmt.Fprintf(w, "%s %s  %-12s dispute %d about receipt %s\n", bad.Render("⚖"), now, name, i.Dispute, i.Receipt.Short())
	case verify.Moved:
		_, err = fmt.Fprintf(w, "  %s  %-12s dispute %d: the %s %s\n", now, name, i.Dispute, i.Side, i.Text)
	case verify.Refused:
		_, err = fmt.Fprintf(w, "  %s  %-12s dispute %d: the %s has no move: %s\n", now, name, i.Dispute, i.Side, i.Text)
	case verify.Verdicts:
		mark := good.Render("✓")
		if i.Side == core.SideChallenger {
			mark = bad.Render("✗")
		}
		_, err = fmt.Fprintf(w, "%s %s  %-12s dispute %d: the %s wins: %s\n", mark, now, name, i.Dispute, i.Side, i.Text)
		if err == nil {
			_, err = fmt.Fprintf(w, "  %s\n", dim.Render(fmt.Sprintf("koinon dispute show %d", i.Dispute)))
		}
	}
	return err
}
