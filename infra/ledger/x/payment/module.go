package payment

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
			&MsgOpen{}, &MsgTopUp{}, &MsgClaim{}, &MsgRequestWithdrawal{}, &MsgFinalizeWithdrawal{}, &MsgClose{},
			&MsgDeposit{}, &MsgRefund{}, &MsgUpdateParams{},
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

// EndBlock closes channels whose time has come.
func (m AppModule) EndBlock(ctx context.Context) error { return m.k.EndBlock(ctx) }

// AutoCLIOptions describes the command line.
func (AppModule) AutoCLIOptions() *autocli.ModuleOptions {
	arg := func(field string) []*autocli.PositionalArgDescriptor {
		return []*autocli.PositionalArgDescriptor{{ProtoField: field}}
	}
	return &autocli.ModuleOptions{
		Query: &autocli.ServiceCommandDescriptor{
			Service: _Query_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "Params", Use: "params", Short: "Show the module's parameters"},
				{RpcMethod: "Channel", Use: "channel [id]", Short: "Show a channel by its id in hex", PositionalArgs: arg("channel")},
				{RpcMethod: "Channels", Use: "channels [account]", Short: "List the channels of a payer or provider", PositionalArgs: arg("account")},
				{RpcMethod: "Totals", Use: "totals", Short: "Show what was claimed, burned and is locked"},
			},
		},
		Tx: &autocli.ServiceCommandDescriptor{
			Service: _Msg_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "Open", Use: "open", Short: "Lock a deposit in a new channel"},
				{RpcMethod: "TopUp", Use: "top-up", Short: "Add to your channel's deposit"},
				{RpcMethod: "Claim", Use: "claim", Short: "Cash vouchers of your channels"},
				{RpcMethod: "RequestWithdrawal", Use: "request-withdrawal", Short: "Start the challenge window of your channel"},
				{RpcMethod: "FinalizeWithdrawal", Use: "finalize-withdrawal", Short: "Take the rest back after the challenge window"},
				{RpcMethod: "Close", Use: "close", Short: "Return the rest of a channel to its payer"},
				{RpcMethod: "Deposit", Use: "deposit", Short: "Open or top up a channel with money that its payer has signed away"},
				{RpcMethod: "Refund", Use: "refund", Short: "Return part of what a channel holds to its payer"},
				{RpcMethod: "UpdateParams", Skip: true},
			},
		},
	}
}
