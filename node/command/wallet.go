package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/client"
	"github.com/koinon-network/koinon/infra/ledger/keys"
	"github.com/koinon-network/koinon/node"
)

func walletCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "wallet", Short: "Keep keys, see balances, send koin",
		Long:    "Keys lie encrypted in the home folder; the passphrase comes from KOINON_PASSPHRASE, a prompt, or the devnet's own file.",
		Example: "koinon wallet list\nkoinon wallet send 0x1234... 5koin --from faucet"}
	cmd.PersistentFlags().String("home", node.DefaultHome("devnet"), "`DIR` that holds the keys")
	cmd.PersistentFlags().String("node", "", "`URL` of a node's CometBFT RPC (default: the devnet of --home)")
	cmd.AddCommand(walletList(), walletCreate(), walletImport(), walletSend(), walletFund(), walletChannels(), walletWithdraw())
	return cmd
}

// openRing opens the keys of --home.
func openRing(cmd *cobra.Command) (*keys.Ring, error) {
	home, _ := cmd.Flags().GetString("home")
	pass, err := keys.Passphrase(home)
	if err != nil {
		return nil, err
	}
	return keys.Open(home, pass)
}

// openChain connects to --node, or to the devnet that last ran on --home.
func openChain(cmd *cobra.Command) (*client.Client, error) {
	home, _ := cmd.Flags().GetString("home")
	url, _ := cmd.Flags().GetString("node")
	return dialChain(cmd.Context(), home, url)
}

func dialChain(ctx context.Context, home, url string) (*client.Client, error) {
	if url == "" {
		url = "tcp://127.0.0.1:26657"
		if i, err := node.ReadDevnet(home); err == nil {
			url = i.CometRPC
		}
	}
	return client.Dial(ctx, strings.Replace(url, "tcp://", "http://", 1))
}

// openWallet opens the account that --from names.
func openWallet(cmd *cobra.Command) (*client.Client, *client.Wallet, error) {
	from, _ := cmd.Flags().GetString("from")
	kr, err := openRing(cmd)
	if err != nil {
		return nil, nil, err
	}
	s, err := kr.Signer(from)
	if err != nil {
		return nil, nil, err
	}
	c, err := openChain(cmd)
	if err != nil {
		return nil, nil, err
	}
	w, err := c.Wallet(s)
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return c, w, nil
}

type walletEntry struct {
	Name    string       `json:"name"`
	Address core.Address `json:"address"`
	Bech32  string       `json:"bech32"`
	Balance *core.Amount `json:"balance,omitempty"`
}

func walletList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List keys with their balances", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		kr, err := openRing(cmd)
		if err != nil {
			return err
		}
		as, err := kr.List()
		if err != nil {
			return err
		}
		// Without a chain the keys are still there; their balances are not known.
		c, chainErr := openChain(cmd)
		if chainErr == nil {
			defer c.Close()
		}
		es := []walletEntry{}
		for _, a := range as {
			e := walletEntry{Name: a.Name, Address: a.Address, Bech32: client.Bech32(a.Address)}
			if chainErr == nil {
				b, err := c.Balance(cmd.Context(), a.Address)
				if err != nil {
					return err
				}
				e.Balance = &b
			}
			es = append(es, e)
		}
		if wantsJSON(cmd) {
			return printJSON(cmd, es)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tADDRESS\tBECH32\tBALANCE")
		for _, e := range es {
			b := "unknown, no node answers"
			if e.Balance != nil {
				b = e.Balance.Format()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.Name, e.Address, e.Bech32, b)
		}
		return w.Flush()
	}}
}

func walletCreate() *cobra.Command {
	return &cobra.Command{Use: "create NAME", Short: "Draw a new key; prints its 24 words once", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		kr, err := openRing(cmd)
		if err != nil {
			return err
		}
		a, words, err := kr.Create(args[0])
		if err != nil {
			return err
		}
		if wantsJSON(cmd) {
			return printJSON(cmd, map[string]any{"name": args[0], "address": a, "bech32": client.Bech32(a), "mnemonic": words})
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n\n%s\n%s\n", a, client.Bech32(a), dim.Render("Write these words down; they are the only copy of the key outside this folder:"), words)
		return err
	}}
}

func walletImport() *cobra.Command {
	return &cobra.Command{Use: "import NAME", Short: "Store a key given on standard input, as words or 64 hex digits", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		kr, err := openRing(cmd)
		if err != nil {
			return err
		}
		secret, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if err != nil && secret == "" {
			return usage("no key on standard input")
		}
		a, err := kr.Import(args[0], secret)
		if err != nil {
			return err
		}
		return said(cmd, map[string]any{"name": args[0], "address": a}, "%s is %s", args[0], a)
	}}
}

func walletSend() *cobra.Command {
	cmd := &cobra.Command{Use: "send TO AMOUNT", Short: "Send koin", Args: cobra.ExactArgs(2), Example: "koinon wallet send 0x1234... 2.5koin --from faucet",
		RunE: func(cmd *cobra.Command, args []string) error { return send(cmd, args[0], args[1]) }}
	cmd.Flags().String("from", "faucet", "`NAME` of the key that pays")
	return cmd
}

func send(cmd *cobra.Command, address, sum string) error {
	to, err := client.ParseAccount(address)
	if err != nil {
		return usage("%v", err)
	}
	amount, err := core.ParseAmount(sum)
	if err != nil {
		return usage("%v", err)
	}
	c, w, err := openWallet(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := w.Send(cmd.Context(), to, amount); err != nil {
		return err
	}
	return said(cmd, map[string]any{"to": to, "amount": amount}, "sent %s to %s", amount.Format(), to)
}

func walletFund() *cobra.Command {
	cmd := &cobra.Command{Use: "fund ADDRESS [AMOUNT]", Short: "Send koin of a devnet's faucet", Args: cobra.RangeArgs(1, 2), Example: "koinon wallet fund 0x1234... 10koin",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				args = append(args, "10koin")
			}
			return send(cmd, args[0], args[1])
		}}
	cmd.Flags().String("from", "faucet", "`NAME` of the key that pays")
	return cmd
}

func walletChannels() *cobra.Command {
	cmd := &cobra.Command{Use: "channels", Short: "List an account's payment channels", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, w, err := openWallet(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		chs, err := c.Channels(cmd.Context(), w.Address())
		if err != nil {
			return err
		}
		if wantsJSON(cmd) {
			return printJSON(cmd, chs)
		}
		t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "CHANNEL\tPAYER\tPROVIDER\tDEPOSIT\tCLAIMED\tSTATE")
		for _, ch := range chs {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", ch.ID, ch.Payer, ch.Provider, ch.Deposit.Format(), ch.Claimed.Format(), ch.State)
		}
		return t.Flush()
	}}
	cmd.Flags().String("from", "gateway", "`NAME` of the account's key")
	return cmd
}

func walletWithdraw() *cobra.Command {
	cmd := &cobra.Command{Use: "withdraw CHANNEL", Short: "Take unspent money out of a channel",
		Long: "The first call starts the challenge window, in which the provider can still claim what it is owed; the chain pays out the rest when it ends.",
		Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			id, err := core.ParseHash(args[0])
			if err != nil {
				return usage("%v", err)
			}
			c, w, err := openWallet(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := w.RequestWithdrawal(cmd.Context(), id); err != nil {
				return err
			}
			ch, err := c.Channel(cmd.Context(), id)
			if err != nil {
				return err
			}
			return said(cmd, ch, "%s comes back after %d s unless the provider claims it", ch.Deposit.Less(ch.Claimed).Format(), ch.WithdrawDelay)
		}}
	cmd.Flags().String("from", "gateway", "`NAME` of the payer's key")
	return cmd
}

// said prints a result as JSON or as a sentence.
func said(cmd *cobra.Command, v any, format string, args ...any) error {
	if wantsJSON(cmd) {
		return printJSON(cmd, v)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
	return err
}
