package command

import (
	"github.com/spf13/cobra"

	ledger "github.com/koinon-network/koinon/infra/ledger/command"
)

// commands is the table of contents of the command line.
var commands = []func() *cobra.Command{
	devnetCommand,
	chatCommand,
	modelsCommand,
	verifyCommand,
	calibrateCommand,
	disputeCommand,
	auditCommand,
	walletCommand,
	providerCommand,
	gatewayCommand,
	keyCommand,
	auditorCommand,
	watchtowerCommand,
	modelCommand,
	trainCommand,
	benchCommand,
	ledger.Node,
	ledger.Tx,
	ledger.Query,
	ledger.Keys,
	versionCommand,
}
