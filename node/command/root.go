// Package command is the command line, a file per command.
//
// Start with [Main]. Errors are printed as cause, charge and next step;
// `--output json` prints one JSON value on standard output and errors as JSON
// on standard error; exit codes are 0 for success, 2 for wrong usage, 1 for
// everything else except `koinon verify`, which documents its own.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"charm.land/fang/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
)

// exit is an error that carries its own exit code.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

// usage marks an error as the caller's.
func usage(format string, args ...any) error { return &exit{2, fmt.Errorf(format, args...)} }

// Main runs the command line and returns the exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := Root()
	// Colours go only where there is a terminal that can show them.
	root.SetOut(colorprofile.NewWriter(os.Stdout, os.Environ()))
	root.SetErr(colorprofile.NewWriter(os.Stderr, os.Environ()))
	err := fang.Execute(ctx, root, fang.WithVersion(Version()), fang.WithErrorHandler(func(w io.Writer, s fang.Styles, err error) {
		printError(w, root, err)
	}))
	var own *exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &own):
		return own.code
	case isUsage(err):
		return 2
	}
	return 1
}

// isUsage recognises cobra's own complaints about arguments and flags.
func isUsage(err error) bool {
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "flag needs an argument", "invalid argument", "accepts ", "requires at least", "required flag"} {
		if strings.HasPrefix(err.Error(), p) {
			return true
		}
	}
	return false
}

func printError(w io.Writer, root *cobra.Command, err error) {
	var e *core.Error
	if !errors.As(err, &e) {
		e = &core.Error{Code: core.CodeInternal, Message: err.Error()}
		var own *exit
		if isUsage(err) || errors.As(err, &own) {
			e.Code, e.Next = core.CodeInvalid, "koinon --help"
		}
	}
	// A mistake before the flags were read must come out as asked, too.
	asked := strings.Contains(strings.Join(os.Args, " ")+" ", "--output json ") || slices.Contains(os.Args, "--output=json")
	if out, _ := root.PersistentFlags().GetString("output"); out == "json" || asked {
		_ = json.NewEncoder(w).Encode(map[string]any{"error": e})
		return
	}
	fmt.Fprintf(w, "%s %s\n", bad.Render("error:"), e.Cause())
	if !e.Charge.IsZero() {
		fmt.Fprintf(w, "%s %s\n", dim.Render("charged:"), e.Charge.Format())
	}
	if e.Next != "" {
		fmt.Fprintf(w, "%s %s\n", dim.Render("next:"), e.Next)
	}
}

// Styles of the terminal; fang removes colours where there is no terminal.
var (
	bold = lipgloss.NewStyle().Bold(true)
	dim  = lipgloss.NewStyle().Faint(true)
	good = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	bad  = lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true)
)

// Root returns the whole tree of commands.
func Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "koinon",
		Short: "An AI cloud that nobody owns",
		Long: `Koinon answers questions on machines that belong to nobody in particular,
pays them by the token, and can prove every answer.

Start with:  koinon devnet`,
		Example: "koinon devnet\nkoinon chat \"What is a receipt?\"",
	}
	root.PersistentFlags().String("output", "text", "format of results: text or json")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if o, _ := cmd.Flags().GetString("output"); o != "text" && o != "json" {
			return usage("--output must be text or json, not %q", o)
		}
		return nil
	}
	for _, c := range commands {
		root.AddCommand(named(c()))
	}
	return root
}

// named makes a command that only groups others refuse a name it does not know.
func named(group *cobra.Command) *cobra.Command {
	if group.HasSubCommands() && !group.Runnable() {
		group.Args = cobra.ArbitraryArgs
		group.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &exit{2, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0]), Next: cmd.CommandPath() + " --help"}}
			}
			return cmd.Help()
		}
	}
	return group
}

// wantsJSON reports whether results go out as JSON.
func wantsJSON(cmd *cobra.Command) bool {
	o, _ := cmd.Flags().GetString("output")
	return o == "json"
}

func printJSON(cmd *cobra.Command, v any) error { return json.NewEncoder(cmd.OutOrStdout()).Encode(v) }
