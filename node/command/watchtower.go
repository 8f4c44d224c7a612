package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/node"
)

func watchtowerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "watchtower", Short: "Claim for providers that sleep"}
	start := &cobra.Command{
		Use: "start", Short: "Hold vouchers and claim them before a channel ends", Args: cobra.NoArgs, RunE: runWatchtower,
		Example: "koinon watchtower start --listen 127.0.0.1:8090\nkoinon provider start --watchtower http://127.0.0.1:8090",
	}
	roleFlags(start, "watchtower")
	start.Flags().String("listen", "127.0.0.1:8090", "`HOST:PORT` where providers hand over their vouchers")
	cmd.AddCommand(start)
	return cmd
}

func runWatchtower(cmd *cobra.Command, _ []string) (err error) {
	ctx := cmd.Context()
	addr, _ := cmd.Flags().GetString("listen")
	l, err := node.Listen(addr)
	if err != nil {
		return err
	}
	r, err := openRole(cmd)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.needs(ctx, core.NewAmount(10_000_000_000_000_000), "the fees of claims"); err != nil {
		return errors.Join(err, l.Close())
	}
	w, err := node.StartWatchtower(ctx, node.WatchtowerConfig{Dir: r.home.Path("books"), Client: r.client, Wallet: r.wallet, Listener: l, Log: r.log})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	url := "http://" + l.Addr().String()
	err = printRole(cmd, map[string]any{"ready": true, "watchtower": url, "account": r.wallet.Address()}, fmt.Sprintf("watching; providers start with --watchtower %s", url))
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, w.Close())
}
