package command

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/node"
)

func auditorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "auditor", Short: "Check others' answers and be paid for it",
		Long: `An auditor bonds koin and names the models that it holds. The chain draws receipts
for it; it computes the answers again, says right or wrong, and is paid from the
provider's fees. Whoever says "right" about a wrong answer loses part of the bond.`,
	}
	start := &cobra.Command{
		Use: "start", Short: "Audit what the chain draws", Args: cobra.NoArgs,
		Example: "koinon auditor start --model llama.Q8_0.gguf --bond 100koin", RunE: runAuditor,
	}
	roleFlags(start, "auditor")
	start.Flags().StringSlice("model", nil, "`FILE.gguf` that is at hand, may be repeated (default: the built-in model)")
	start.Flags().Bool("kv8", false, kv8Usage)
	start.Flags().String("bond", "50koin", "what shall be bonded at least; greater bonds are drawn more often")
	leave := &cobra.Command{Use: "leave", Short: "Stop auditing; the bond returns after a delay", Args: cobra.NoArgs, RunE: runAuditorLeave}
	roleFlags(leave, "auditor")
	cmd.AddCommand(start, leave)
	return cmd
}

func runAuditor(cmd *cobra.Command, _ []string) (err error) {
	ctx := cmd.Context()
	text, _ := cmd.Flags().GetString("bond")
	cfg := node.ExaminerConfig{Models: map[core.ModelID]*model.Model{}}
	if cfg.Bond, err = core.ParseAmount(text); err != nil {
		return usage("--bond: %v", err)
	}
	paths, _ := cmd.Flags().GetStringSlice("model")
	kv8, _ := cmd.Flags().GetBool("kv8")
	if len(paths) == 0 {
		paths = []string{""}
	}
	for _, p := range paths {
		m, err := openModel(cmd, p, kv8)
		if err != nil {
			return err
		}
		defer m.Close()
		cfg.Models[m.Root()] = m
	}
	r, err := openRole(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.needs(ctx, core.Koin(1), "fees"); err != nil {
		return err
	}
	if cfg.PeerKey, err = r.ring.PeerKey(r.name); err != nil {
		return err
	}
	cfg.Dir, cfg.Client, cfg.Wallet, cfg.Log = r.home.Path("books"), r.client, r.wallet, r.log
	e, err := node.StartExaminer(ctx, cfg)
	if err != nil {
		return err
	}
	err = printRole(cmd, map[string]any{"ready": true, "auditor": r.wallet.Address(), "models": len(cfg.Models)},
		fmt.Sprintf("%s audits; koinon audit list shows what it is drawn for", r.wallet.Address()))
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, e.Close())
}

func runAuditorLeave(cmd *cobra.Command, _ []string) (err error) {
	r, err := openRole(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.wallet.LeaveAuditing(cmd.Context()); err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), "it leaves; koinon audit list shows when the bond returns")
	return nil
}

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "See which answers were drawn and what auditors said",
		Long: `The chain draws a share of all receipts and auditors for each. They commit to a
verdict, reveal it, and are paid or punished.`,
	}
	list := &cobra.Command{Use: "list", Short: "List auditors, and audits, newest first", Args: cobra.NoArgs, RunE: runAuditList}
	show := &cobra.Command{Use: "show ID", Short: "Show one audit", Args: cobra.ExactArgs(1), RunE: runAuditShow}
	for _, c := range []*cobra.Command{list, show} {
		c.Flags().String("home", node.DefaultHome("devnet"), "`DIR` of a devnet to ask")
		c.Flags().String("node", "", "`URL` of a node's CometBFT RPC")
		cmd.AddCommand(c)
	}
	return cmd
}

func runAuditList(cmd *cobra.Command, _ []string) error {
	c, err := openChain(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	auditors, err := c.Auditors(cmd.Context())
	if err != nil {
		return err
	}
	audits, err := c.Audits(cmd.Context(), 0)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, map[string]any{"auditors": auditors, "audits": audits})
	}
	w := cmd.OutOrStdout()
	for _, a := range auditors {
		note := ""
		if a.Leaves != 0 {
			note = dim.Render("  leaves at " + time.Unix(a.Leaves, 0).Format(time.DateTime))
		}
		fmt.Fprintf(w, "auditor %s  bond %s  %d audits: %d right, %d wrong, %d missed  earned %s, lost %s%s\n",
			a.Account, a.Bond.Format(), a.Audits, a.Right, a.Wrong, a.Missed, a.Earned.Format(), a.Lost.Format(), note)
	}
	if len(auditors) == 0 {
		fmt.Fprintln(w, "nobody audits yet. Begin: koinon auditor start")
		return nil
	}
	if len(audits) == 0 {
		fmt.Fprintln(w, "nothing was drawn yet: ask something, and a minute later some receipts are")
		return nil
	}
	for _, a := range audits {
		fmt.Fprintf(w, "%4d  %s  provider %s  batch %d, receipt %d  %s\n", a.ID, time.Unix(a.Drawn, 0).Format(time.DateTime), a.Provider, a.Sequence, a.Index, standing(&a))
	}
	fmt.Fprintf(w, "%s\n", dim.Render(fmt.Sprintf("koinon audit show %d", audits[0].ID)))
	return nil
}

// standing is how an audit stands, in a few words.
func standing(a *core.Audit) string {
	var said []string
	for _, d := range a.Duties {
		said = append(said, saidText(d))
	}
	s := strings.Join(said, ", ")
	if a.Phase != core.PhaseDone {
		return dim.Render(a.Phase) + ": " + s
	}
	return s
}

// saidText is what an auditor did, in a few words.
func saidText(d core.Duty) string {
	verdict := map[uint32]string{core.VerdictRight: good.Render("right"), core.VerdictWrong: bad.Render("wrong")}[d.Verdict]
	switch {
	case d.Outcome == "" && verdict != "":
		return verdict
	case d.Outcome == "" && !d.Commitment.IsZero():
		return "committed"
	case d.Outcome == "" && d.Due != 0:
		return fmt.Sprintf("demanded the payload on chain, %d of %d bytes are there", d.Received, d.Size)
	case d.Outcome == "":
		return "examining"
	case verdict == "":
		return bad.Render(d.Outcome)
	}
	return verdict + " (" + d.Outcome + ")"
}

func runAuditShow(cmd *cobra.Command, args []string) error {
	id, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return usage("%q is no number of an audit", args[0])
	}
	c, err := openChain(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	a, err := c.Audit(cmd.Context(), id)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, a)
	}
	printAudit(cmd.OutOrStdout(), &a)
	return nil
}

func printAudit(w io.Writer, a *core.Audit) {
	line := func(what, text string) { fmt.Fprintf(w, "  %s %s\n", dim.Render(fmt.Sprintf("%-11s", what)), text) }
	fmt.Fprintf(w, "%s\n\n", bold.Render(fmt.Sprintf("Audit %d", a.ID)))
	line("provider", a.Provider.String())
	line("place", fmt.Sprintf("batch %d, receipt %d", a.Sequence, a.Index))
	line("model", a.Model.String())
	if a.Receipt.IsZero() {
		line("receipt", "not shown to the chain yet")
	} else {
		line("receipt", a.Receipt.String())
	}
	line("drawn", time.Unix(a.Drawn, 0).Format(time.DateTime))
	for _, d := range a.Duties {
		line("auditor", fmt.Sprintf("%s  %s  paid %s, lost %s", d.Auditor, saidText(d), d.Paid.Format(), d.Lost.Format()))
	}
	if a.Withheld {
		line("withheld", "the provider did not hand over the payload, and paid for it")
	}
	if !a.Canary.IsZero() {
		line("canary", "false on purpose, by "+a.Canary.String())
	}
	next := map[string]string{
		core.PhaseCommit:  "auditors examine until " + time.Unix(a.Deadline, 0).Format(time.TimeOnly),
		core.PhaseSpots:   "the beacon draws the spots in a few blocks",
		core.PhaseReveal:  "auditors reveal until " + time.Unix(a.Deadline, 0).Format(time.TimeOnly),
		core.PhaseWaiting: "a dispute decides: koinon dispute list",
		core.PhaseDone:    "it is over",
	}[a.Phase]
	line("next", next)
}
