package command

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/fullnode"
	"github.com/koinon-network/koinon/infra/ledger/x/beacon"
)

func beaconKeyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "beacon-key OPERATOR", Short: "Print what registers this node's beacon key", Args: cobra.ExactArgs(1), RunE: runBeaconKey,
		Long: "A validator contributes to the chain's randomness with a key of its own, which its operator registers. OPERATOR is the validator's address, koinonvaloper1... .\n\n" +
			"--new makes another key beside the one in use: restart the node, then register the new key; the chain changes over by itself.",
	}
	c.Flags().Bool("new", false, "make another key first")
	return c
}

func runBeaconKey(cmd *cobra.Command, args []string) error {
	home, _ := cmd.Flags().GetString("home")
	doc, err := cmttypes.GenesisDocFromFile(fullnode.GenesisFile(home))
	if err != nil {
		return &core.Error{Code: core.CodeInvalid, Message: home + " holds no chain", Next: "name its folder with --home", Err: err}
	}
	operator, err := app.ValidatorCodec().StringToBytes(args[0])
	if err != nil {
		return core.Errorf(core.CodeInvalid, "%q is not a validator's address: %v", args[0], err)
	}
	open := fullnode.BeaconKey
	if fresh, _ := cmd.Flags().GetBool("new"); fresh {
		open = fullnode.AddBeaconKey
	}
	key, err := open(home)
	if err != nil {
		return err
	}
	public := key.PublicKey()
	proof, _, err := key.Prove(beacon.PossessionMessage(doc.ChainID, operator, public))
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"public": hex.EncodeToString(public), "proof": hex.EncodeToString(proof)})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "public  %x\nproof   %x\nnext    koinon tx beacon register-key %x %x --from OPERATOR\n", public, proof, public, proof)
	return nil
}
