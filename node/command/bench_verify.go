package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/node/trial"
)

func benchVerifyCommand() *cobra.Command {
	var o trial.Options
	cmd := &cobra.Command{
		Use: "verify", Short: "Try to get false answers past verification and disputes", Args: cobra.NoArgs,
		Long: `Write answers of the built-in model with random prompts and samplers, in batches
of random size. Verify each one under other threads and chunks, and a forgery of
each one, bent in one way at a random place: by an editor of the file, or by the
provider, who signs the lie. Play disputes of a provider with one bent weight
against an honest challenger, and of an honest provider against one who points
at random, by the rules of the chain: half of them about small random models, of
every architecture in turn. Measure the moves, their bytes, the check of a step,
and what an audit costs.

The exit code is 1 where a forgery matched, an honest answer did not, or the
honest side of a dispute lost.`,
		Example: "  koinon bench verify\n  koinon bench verify --forgeries 10000 --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Forgeries < 1 || o.Games < 0 {
				return usage("--forgeries must be at least 1 and --games not negative")
			}
			s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd))
			o.Progress = func(what string, done, total int) { s.show(bar(what, done, total)) }
			r, err := trial.Run(cmd.Context(), o)
			s.end()
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd, r)
			} else {
				_, err = cmd.OutOrStdout().Write([]byte(r.Table()))
			}
			if err != nil || !r.Failed() {
				return err
			}
			return &exit{1, &core.Error{Code: core.CodeInternal, Message: fmt.Sprintf("%d forgeries escaped, %d honest answers were convicted, honest sides lost %d disputes",
				r.Escaped, r.Convicted, r.Lying.Lost+r.True.Lost), Next: fmt.Sprintf("run it again with --seed %d and report what it names", r.Seed)}}
		},
	}
	cmd.Flags().IntVar(&o.Forgeries, "forgeries", 500, "honest answers, and as many forgeries")
	cmd.Flags().IntVar(&o.Games, "games", 0, "disputes of either kind (default: a hundredth of the forgeries, at least 50)")
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "of all random choices")
	return cmd
}

// bar draws how far one part of a long work has come.
func bar(what string, done, total int) string {
	const width = 30
	full := width * done / max(total, 1)
	return fmt.Sprintf("%s [%s%s] %d of %d", what, strings.Repeat("=", full), strings.Repeat(" ", width-full), done, total)
}
