package app

import (
	"encoding/json"
	"fmt"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/cosmos/cosmos-sdk/x/staking"
)

// Export writes the state of the loaded height as the genesis of a new chain
// that continues at the next height with the same accounts and validators.
func (a *App) Export() (doc *cmttypes.GenesisDoc, err error) {
	defer func() {
		if r := recover(); r != nil {
			doc, err = nil, fmt.Errorf("cannot export the state: %v", r)
		}
	}()
	ctx := a.Context()
	state, err := a.Modules.ExportGenesisForModules(ctx, a.Codec, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot export the state: %w", err)
	}
	raw, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	validators, err := staking.WriteValidators(ctx, a.Staking)
	if err != nil {
		return nil, fmt.Errorf("cannot export the validators: %w", err)
	}
	params := a.GetConsensusParams(ctx)
	consensus := ConsensusParams().Update(&params)
	return &cmttypes.GenesisDoc{
		ChainID: a.ChainID(), GenesisTime: time.Now().UTC(), InitialHeight: a.LastBlockHeight() + 1,
		ConsensusParams: &consensus, Validators: validators, AppState: raw,
	}, nil
}
