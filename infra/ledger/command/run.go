package command

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/koinon-network/koinon/core"
)

// finality is how long a transaction that the mempool took may need.
const finality = 30 * time.Second

// run executes the inner tree with the outer command's streams. A transaction
// is followed into its block.
func run(cmd, root *cobra.Command, args []string) error {
	var answer bytes.Buffer
	root.SetIn(cmd.InOrStdin())
	root.SetErr(cmd.ErrOrStderr())
	root.SetOut(cmd.OutOrStdout())
	if args[0] == "tx" {
		root.SetOut(io.MultiWriter(cmd.OutOrStdout(), &answer))
	}
	root.SetArgs(args)
	ran, err := root.ExecuteContextC(context.WithValue(cmd.Context(), client.ClientContextKey, new(client.Context)))
	if err != nil {
		return explain(err)
	}
	if hash, result, ok := broadcast(answer.String()); ok {
		if result.code != 0 {
			return refusal(result.code, result.space, result.log)
		}
		return follow(cmd, ran, hash)
	}
	return nil
}

var (
	hashField  = regexp.MustCompile(`"?txhash"?: *"?([0-9A-Fa-f]{64})`)
	codeField  = regexp.MustCompile(`"?code"?: *([0-9]+)`)
	spaceField = regexp.MustCompile(`"?codespace"?: *"?([a-z]*)`)
	logField   = regexp.MustCompile(`"?raw_log"?: *"?([^"\n]*)`)
)

type outcome struct {
	code       int
	space, log string
}

// broadcast reads the answer of a mempool, in JSON or YAML.
func broadcast(s string) (hash string, o outcome, ok bool) {
	field := func(r *regexp.Regexp) string {
		if m := r.FindAllStringSubmatch(s, -1); len(m) > 0 {
			return m[len(m)-1][1]
		}
		return ""
	}
	hash = field(hashField)
	o.code, _ = strconv.Atoi(field(codeField))
	o.space, o.log = field(spaceField), field(logField)
	return hash, o, hash != ""
}

func refusal(code int, space, log string) error {
	e := core.Errorf(core.CodeInvalid, "the chain refused the transaction: %s", log)
	if space == "sdk" && code == 5 {
		e.Code, e.Next = core.CodeUnpaid, "send less, or fund the account first"
	}
	return e
}

// follow waits for the transaction's block and returns how it ended there.
func follow(cmd, ran *cobra.Command, hash string) error {
	node, _ := ran.Flags().GetString(flags.FlagNode)
	mode, _ := ran.Flags().GetString(flags.FlagBroadcastMode)
	id, err := hex.DecodeString(hash)
	if err != nil || node == "" || mode == flags.BroadcastAsync {
		return err
	}
	c, err := client.NewClientFromNode(node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), finality)
	defer cancel()
	for {
		if res, err := c.Tx(ctx, id, false); err == nil {
			if r := res.TxResult; r.Code != 0 {
				return refusal(int(r.Code), r.Codespace, r.Log)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "final in block %d\n", res.Height)
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("the transaction is not in a block after %v", finality), Next: "koinon query tx " + hash}
		case <-time.After(100 * time.Millisecond):
		}
	}
}
