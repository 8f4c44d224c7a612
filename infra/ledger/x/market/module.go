package market

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
			&MsgRegister{}, &MsgUpdate{}, &MsgPostOffers{}, &MsgAddBond{}, &MsgUnbond{}, &MsgUnjail{}, &MsgUpdateParams{},
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

// EndBlock pays due unbondings.
func (m AppModule) EndBlock(ctx context.Context) error { return m.k.EndBlock(ctx) }

// AutoCLIOptions describes the command line.
func (AppModule) AutoCLIOptions() *autocli.ModuleOptions {
	provider := []*autocli.PositionalArgDescriptor{{ProtoField: "provider"}}
	amount := []*autocli.PositionalArgDescriptor{{ProtoField: "amount"}}
	return &autocli.ModuleOptions{
		Query: &autocli.ServiceCommandDescriptor{
			Service: _Query_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "Params", Use: "params", Short: "Show the module's parameters"},
				{RpcMethod: "Provider", Use: "show [provider]", Short: "Show a provider with its offers", PositionalArgs: provider},
				{RpcMethod: "Providers", Use: "list", Short: "List the providers with their offers"},
				{RpcMethod: "Unbondings", Use: "unbondings [provider]", Short: "List a provider's pending unbondings", PositionalArgs: provider},
			},
		},
		Tx: &autocli.ServiceCommandDescriptor{
			Service: _Msg_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "Register", Use: "register", Short: "Register as a provider with a bond"},
				{RpcMethod: "Update", Use: "update", Short: "Replace what you say about yourself"},
				{RpcMethod: "PostOffers", Use: "post-offers", Short: "Replace all your offers"},
				{RpcMethod: "AddBond", Use: "add-bond [amount]", Short: "Lock more akoin in your bond", PositionalArgs: amount},
				{RpcMethod: "Unbond", Use: "unbond [amount]", Short: "Start the return of akoin from your bond", PositionalArgs: amount},
				{RpcMethod: "Unjail", Use: "unjail", Short: "Serve again after a time in jail, with the full bond"},
				{RpcMethod: "UpdateParams", Skip: true},
			},
		},
	}
}
