// Package upgrades lists the software upgrades that a running chain has
// agreed on: at each height a name, a migration, and the stores it adds.
//
// To add one, append it to the list in this file. A node that lacks an upgrade
// stops at its height with the upgrade's name instead of computing a state
// of its own.
package upgrades

import (
	"context"
	"fmt"

	"github.com/cosmos/cosmos-sdk/baseapp"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	upgradekeeper "github.com/cosmos/cosmos-sdk/x/upgrade/keeper"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"

	"github.com/koinon-network/koinon/infra/ledger/x/beacon"
)

// Upgrade is one agreed change of the state machine.
type Upgrade struct {
	Name   string // as in the governance proposal
	Stores storetypes.StoreUpgrades
}

var all = []Upgrade{
	{Name: "beacon", Stores: storetypes.StoreUpgrades{Added: []string{beacon.StoreKey}}},
}

// Register gives the keeper a handler for every upgrade: the migrations of
// the modules whose version has grown.
func Register(k *upgradekeeper.Keeper, m *module.Manager, c module.Configurator) {
	for _, u := range all {
		k.SetUpgradeHandler(u.Name, func(ctx context.Context, _ upgradetypes.Plan, from module.VersionMap) (module.VersionMap, error) {
			return m.RunMigrations(ctx, c, from)
		})
	}
}

// SetStoreLoader adds and removes stores when the node starts at the height
// of an upgrade.
func SetStoreLoader(b *baseapp.BaseApp, k *upgradekeeper.Keeper) error {
	plan, err := k.ReadUpgradeInfoFromDisk()
	if err != nil {
		return fmt.Errorf("cannot read the upgrade plan: %w", err)
	}
	for _, u := range all {
		if plan.Name == u.Name && !k.IsSkipHeight(plan.Height) {
			b.SetStoreLoader(upgradetypes.UpgradeStoreLoader(plan.Height, &u.Stores))
		}
	}
	return nil
}
