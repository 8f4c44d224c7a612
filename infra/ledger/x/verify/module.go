package verify

import (
	"context"

	gateway "github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"

	autocli "cosmossdk.io/api/cosmos/autocli/v1"
	"cosmossdk.io/core/appmodule"

	"github.com/cosmos/cosmos-sdk/client"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/infra/ledger/x/plug"
)

// AppModule plugs the keeper into the application.
type AppModule struct {
	plug.Module[GenesisState, *GenesisState]
	k Keeper
}

var _ appmodule.HasEndBlocker = AppModule{}

// NewAppModule returns the module over k.
func NewAppModule(k Keeper) AppModule {
	return AppModule{Module: plug.New[GenesisState, *GenesisState](plug.Parts[GenesisState]{
		Name: ModuleName, Keeper: k, Default: DefaultGenesis, Service: &_Msg_serviceDesc,
		Messages: []sdk.Msg{
			&MsgCommitReceipts{}, &MsgAdmitModel{}, &MsgOpenDispute{}, &MsgMove{}, &MsgConvict{}, &MsgUpdateParams{},
			&MsgRegisterAuditor{}, &MsgLeaveAuditing{}, &MsgCommitVerdict{}, &MsgRevealVerdict{}, &MsgDemand{},
			&MsgSupply{}, &MsgExpose{}, &MsgCommitCanary{}, &MsgRevealCanary{},
		},
		Serve: func(r grpc.ServiceRegistrar) {
			RegisterMsgServer(r, NewMsgServer(k))
			RegisterQueryServer(r, NewQueryServer(k))
		},
		Route: func(ctx context.Context, mux *gateway.ServeMux, c client.Context) error {
			return RegisterQueryHandlerClient(ctx, mux, NewQueryClient(c))
		},
	}), k: k}
}

// EndBlock ends disputes whose time is over.
func (m AppModule) EndBlock(ctx context.Context) error { return m.k.EndBlock(ctx) }

// AutoCLIOptions describes the command line.
func (AppModule) AutoCLIOptions() *autocli.ModuleOptions {
	return &autocli.ModuleOptions{
		Query: &autocli.ServiceCommandDescriptor{
			Service: _Query_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "Params", Use: "params", Short: "Show the module's parameters"},
				{RpcMethod: "Batch", Use: "batch [provider] [sequence]", Short: "Show one batch", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "provider"}, {ProtoField: "sequence"}}},
				{RpcMethod: "Model", Use: "model [id]", Short: "Show an admitted model", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "model"}}},
				{RpcMethod: "Dispute", Use: "dispute [id]", Short: "Show one dispute", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "id"}}},
				{RpcMethod: "Disputes", Use: "disputes", Short: "List all disputes"},
				{RpcMethod: "Open", Use: "open", Short: "List the disputes that are not over"},
				{RpcMethod: "Auditor", Use: "auditor [account]", Short: "Show one auditor", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "account"}}},
				{RpcMethod: "Auditors", Use: "auditors", Short: "List all auditors"},
				{RpcMethod: "Audit", Use: "audit [id]", Short: "Show one audit", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "id"}}},
				{RpcMethod: "Audits", Use: "audits", Short: "List all audits"},
				{RpcMethod: "OpenAudits", Use: "open-audits [account]", Short: "List the audits in which an account has to do something", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "account"}}},
				{RpcMethod: "Payload", Use: "payload [id] [auditor]", Short: "Fetch a payload that was supplied on chain", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "id"}, {ProtoField: "auditor"}}},
				{RpcMethod: "Batches", Use: "batches [provider]", Short: "List a provider's batches", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "provider"}}},
			},
		},
		Tx: &autocli.ServiceCommandDescriptor{
			Service: _Msg_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "CommitReceipts", Use: "commit-receipts", Short: "Commit to your next batch of receipts"},
				{RpcMethod: "AdmitModel", Use: "admit-model", Short: "Show the chain a model's shape, so that its answers can be judged"},
				{RpcMethod: "OpenDispute", Use: "open-dispute", Short: "Say that a receipt is wrong"},
				{RpcMethod: "Move", Use: "move", Short: "Make the next move of a dispute"},
				{RpcMethod: "Convict", Use: "convict", Short: "Show two receipts of one provider for one request"},
				{RpcMethod: "RegisterAuditor", Use: "register-auditor", Short: "Bond this account to audit for pay"},
				{RpcMethod: "LeaveAuditing", Use: "leave-auditing", Short: "Stop auditing; the bond returns later"},
				{RpcMethod: "CommitVerdict", Use: "commit-verdict", Short: "Fix a verdict without telling it"},
				{RpcMethod: "RevealVerdict", Use: "reveal-verdict", Short: "Tell a verdict"},
				{RpcMethod: "Demand", Use: "demand", Short: "Demand a payload that the provider did not hand over"},
				{RpcMethod: "Supply", Use: "supply", Short: "Hand over a payload on chain"},
				{RpcMethod: "Expose", Use: "expose", Short: "Show that a payload is none"},
				{RpcMethod: "CommitCanary", Use: "commit-canary", Short: "Fix a receipt that is false on purpose"},
				{RpcMethod: "RevealCanary", Use: "reveal-canary", Short: "Show a canary after the verdicts"},
				{RpcMethod: "UpdateParams", Skip: true},
			},
		},
	}
}
