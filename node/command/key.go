package command

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/middleware/apikey"
	"github.com/koinon-network/koinon/node"
)

func keyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Give others keys with budgets to your gateway",
		Long: `A key lets a program use your gateway without a wallet: you pay, within the key's
budget. Once a key was made, calls of the API need one. KEY is an id or a name.`,
		Example: "koinon key create app --budget 5koin --per-day 1koin --expires 30d --models koinon-seed\nkoinon key statement app --csv"}
	cmd.PersistentFlags().String("home", node.DefaultHome("devnet"), "`DIR` of the gateway, or of the devnet")
	cmd.AddCommand(keyCreate(), keyList(), keyRevoke(), keyStatement())
	return cmd
}

// withKeys runs a command on the keys of --home.
func withKeys(run func(cmd *cobra.Command, o apikey.Owner, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		home, _ := cmd.Flags().GetString("home")
		o, err := node.OpenKeys(home)
		if err != nil {
			return err
		}
		return errors.Join(run(cmd, o, args), o.Close())
	}
}

// budget reads an amount; a bare number is koin.
func budget(cmd *cobra.Command, flag string) (core.Amount, error) {
	s, _ := cmd.Flags().GetString(flag)
	if s == "" {
		return core.Amount{}, nil
	}
	if strings.Trim(s, "0123456789.") == "" {
		s += core.Denom
	}
	a, err := core.ParseAmount(s)
	switch {
	case err != nil:
		return a, usage("--%s: %v", flag, err)
	case a.IsZero():
		return a, usage("--%s: must be more than nothing; leave it out for no bound", flag)
	}
	return a, nil
}

// lifetime reads a duration that may be in days.
func lifetime(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, usage("--expires: %q is no length of time; write 30d or 12h", s)
}

func keyCreate() *cobra.Command {
	cmd := &cobra.Command{Use: "create [NAME]", Short: "Make a key; prints its secret once", Args: cobra.MaximumNArgs(1)}
	f := cmd.Flags()
	f.String("budget", "", "`AMOUNT` that the key may spend in all (5 or 5koin; default: no bound)")
	f.String("per-day", "", "`AMOUNT` that the key may spend on one day, UTC (default: no bound)")
	f.String("expires", "", "`TIME` after which the key ends, as 30d or 12h (default: never)")
	f.StringSlice("models", nil, "`NAMES` of the models that it may ask, with commas (default: all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var t apikey.Terms
		var err error
		if t.Budget, err = budget(cmd, "budget"); err != nil {
			return err
		}
		if t.PerDay, err = budget(cmd, "per-day"); err != nil {
			return err
		}
		if s, _ := f.GetString("expires"); s != "" {
			d, err := lifetime(s)
			if err != nil {
				return err
			}
			t.Expires = time.Now().Add(d).Unix()
		}
		t.Models, _ = f.GetStringSlice("models")
		t.Name = strings.Join(args, "")
		return withKeys(func(cmd *cobra.Command, o apikey.Owner, _ []string) error {
			secret, k, err := o.Create(t)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, map[string]any{"secret": secret, "key": k})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", secret, dim.Render("This is shown once. The key's id is "+k.ID+"; calls of the API need a key from now on."))
			return err
		})(cmd, args)
	}
	return cmd
}

func keyList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List keys and what they spent", Args: cobra.NoArgs, RunE: withKeys(func(cmd *cobra.Command, o apikey.Owner, _ []string) error {
		ks, err := o.List()
		if err != nil {
			return err
		}
		if wantsJSON(cmd) {
			return printJSON(cmd, ks)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tNAME\tSPENT\tBUDGET\tTODAY\tPER DAY\tENDS\tMODELS")
		for _, k := range ks {
			ends := "never"
			if k.Expires != 0 {
				ends = time.Unix(k.Expires, 0).UTC().Format(time.DateTime)
			}
			if k.Revoked != 0 {
				ends = "revoked"
			}
			models := strings.Join(k.Models, ",")
			if models == "" {
				models = "all"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Spent.Format(), bound(k.Budget), k.Today.Format(), bound(k.PerDay), ends, models)
		}
		return w.Flush()
	})}
}

func bound(a core.Amount) string {
	if a.IsZero() {
		return "none"
	}
	return a.Format()
}

func keyRevoke() *cobra.Command {
	return &cobra.Command{Use: "revoke KEY", Short: "End a key, and the answers it is getting", Args: cobra.ExactArgs(1), RunE: withKeys(func(cmd *cobra.Command, o apikey.Owner, args []string) error {
		k, err := o.Revoke(args[0])
		if err != nil {
			return err
		}
		if wantsJSON(cmd) {
			return printJSON(cmd, k)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "revoked %s %s\n", k.ID, k.Name)
		return err
	})}
}

func keyStatement() *cobra.Command {
	cmd := &cobra.Command{Use: "statement KEY", Short: "Show what a key used, by day and model", Args: cobra.ExactArgs(1)}
	comma := cmd.Flags().Bool("csv", false, "print comma-separated values, costs in akoin")
	cmd.RunE = withKeys(func(cmd *cobra.Command, o apikey.Owner, args []string) error {
		s, err := o.Statement(args[0])
		if err != nil {
			return err
		}
		head := []string{"day", "model", "requests", "input_tokens", "output_tokens", "cost"}
		row := func(l apikey.Line, cost string) []string {
			return []string{l.Day, l.Model, strconv.FormatUint(l.Requests, 10), strconv.FormatUint(l.Input, 10), strconv.FormatUint(l.Output, 10), cost}
		}
		switch {
		case wantsJSON(cmd):
			return printJSON(cmd, s)
		case *comma:
			w := csv.NewWriter(cmd.OutOrStdout())
			_ = w.Write(append(head[:5:5], "cost_akoin"))
			for _, l := range s.Lines {
				_ = w.Write(row(l, l.Cost.String()))
			}
			w.Flush()
			return w.Error()
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, strings.ToUpper(strings.ReplaceAll(strings.Join(head, "\t"), "_", " ")))
		for _, l := range s.Lines {
			fmt.Fprintln(w, strings.Join(row(l, l.Cost.Format()), "\t"))
		}
		fmt.Fprintf(w, "%s\t\t\t\t\t%s\n", "in all", s.Spent.Format())
		return w.Flush()
	})
	return cmd
}
