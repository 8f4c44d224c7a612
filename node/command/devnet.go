package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/middleware/gateway"
	"github.com/koinon-network/koinon/node"
)

func devnetCommand() *cobra.Command {
	var cfg node.DevnetConfig
	cmd := &cobra.Command{
		Use: "devnet", Short: "Run a whole network on this machine", Args: cobra.NoArgs,
		Long: `Run validators, providers, a gateway and the console in one process, with real
consensus and real encrypted connections over loopback. State is kept: the same
command continues where it was. Ctrl-C stops it.`,
		Example: "koinon devnet\nkoinon devnet --model tinyllama.Q8_0.gguf --listen 127.0.0.1:9000",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDevnet(cmd, cfg) },
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Home, "home", node.DefaultHome("devnet"), "`DIR` that keeps the network's state")
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:8080", "`HOST:PORT` of API and console")
	f.IntVar(&cfg.Validators, "validators", 0, "number of validators, fixed by the first start (default 4)")
	f.IntVar(&cfg.Providers, "providers", 3, "number of providers")
	f.StringVar(&cfg.Model, "model", "", "`FILE.gguf` to serve instead of the built-in model")
	f.BoolVar(&cfg.KV8, "kv8", false, kv8Usage)
	f.StringVar(&cfg.Cheat, "cheat", "", "let the first provider cheat in this `KIND` of way and be caught: "+strings.Join(node.Cheats, ", "))
	f.BoolVar(&cfg.Reset, "reset", false, "delete all state first and start anew")
	return cmd
}

func runDevnet(cmd *cobra.Command, cfg node.DevnetConfig) error {
	ctx := cmd.Context()
	begin := time.Now()
	steps := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd))
	cfg.Progress, cfg.Version = steps.show, Version()
	d, err := node.StartDevnet(ctx, cfg)
	steps.end()
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C during the start
		}
		return err
	}
	settled, stop := d.Gateway.Watch()
	defer stop()
	if wantsJSON(cmd) {
		err = printJSON(cmd, d.Info())
	} else {
		printDevnet(cmd.OutOrStdout(), d.Info(), time.Since(begin))
	}
	for err == nil {
		select {
		case s := <-settled:
			err = printSettled(cmd, s)
		case i := <-d.Incidents():
			err = printIncident(cmd, d.Info(), i)
		case <-ctx.Done():
			steps.show("stopping")
			err = d.Close()
			steps.end()
			if err == nil && !wantsJSON(cmd) {
				fmt.Fprintln(cmd.OutOrStdout(), dim.Render("Stopped. The same command continues where this ended."))
			}
			return err
		}
	}
	return errors.Join(err, d.Close())
}

func printDevnet(w io.Writer, i node.DevnetInfo, took time.Duration) {
	line := func(what, text string) { fmt.Fprintf(w, "  %-9s %s\n", dim.Render(fmt.Sprintf("%-9s", what)), text) }
	fmt.Fprintf(w, "\n%s %s\n\n", good.Bold(true).Render("Koinon is running."), dim.Render(fmt.Sprintf("ready after %.1f s", took.Seconds())))
	line("look", bold.Render(i.Console))
	line("ask", `koinon chat "What is a receipt?"`+apiHint(i))
	line("", fmt.Sprintf(`curl -N %s/chat/completions -H 'content-type: application/json' \`, i.API))
	line("", fmt.Sprintf(`  -d '{"model":%q,"stream":true,"messages":[{"role":"user","content":"What is a receipt?"}]}'`, i.Model.Name))
	line("program", "any OpenAI client with base_url = "+i.API)
	line("money", fmt.Sprintf("EVM JSON-RPC %s, chain id %d", i.EVMRPC, i.EVMChainID))
	line("runs", fmt.Sprintf("%d validators of %s, %d providers of %s, 1 gateway, 2 auditors", i.Validators, i.ChainID, len(i.Providers), i.Model.Name))
	line("state", i.Home)
	line("stop", "Ctrl-C")
	if warning := exposure(i.API); warning != "" {
		line("careful", bad.Render(warning))
	}
	fmt.Fprintln(w)
}

// exposure warns of an API that others than this machine can reach: keys and
// answers cross the network as they are.
func exposure(api string) string {
	u, err := url.Parse(api)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || ip.IsLoopback() {
		return ""
	}
	return "calls to " + u.Host + " need a key (koinon key create) and travel unencrypted; put a proxy with TLS before it"
}

// apiHint is the flag that other commands need for a gateway elsewhere than at
// the usual port.
func apiHint(i node.DevnetInfo) string {
	if i.API == "http://127.0.0.1:8080/v1" {
		return ""
	}
	return " --api " + i.Console[:len(i.Console)-1]
}

// printSettled writes one line per request that came to its end.
func printSettled(cmd *cobra.Command, s gateway.Settled) error {
	if wantsJSON(cmd) {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"settled": s})
	}
	mark, note := good.Render("✓"), ""
	switch s.Finish {
	case string(core.FinishStop), string(core.FinishLength):
	case string(core.FinishCancelled):
		mark, note = dim.Render("○"), "  cancelled"
	default:
		mark, note = bad.Render("✗"), "  "+s.Finish
	}
	if s.Tried > 1 && note == "" {
		note = fmt.Sprintf("  continued on provider %d", s.Tried)
	}
	receipt := ""
	if !s.Receipt.IsZero() {
		receipt = "  receipt " + s.Receipt.Short()
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s  %-12s %4d + %-4d tokens  %s%s%s\n", mark, dim.Render(s.Time.Format(time.TimeOnly)), s.Provider,
		s.Usage.Input, s.Usage.Output, s.Cost.Format(), dim.Render(receipt), note)
	return err
}

// steps shows what a start is doing: on a terminal in one line that is
// overwritten, elsewhere not at all.
type steps struct {
	w    io.Writer
	live bool
}

func newSteps(w io.Writer, quiet bool) *steps {
	return &steps{w, !quiet && term.IsTerminal(int(os.Stderr.Fd()))}
}

func (s *steps) show(step string) {
	if s.live {
		fmt.Fprintf(s.w, "\r\x1b[K%s ...", step)
	}
}

func (s *steps) end() {
	if s.live {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}
