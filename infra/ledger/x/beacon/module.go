package beacon

import (
	"context"

	gateway "github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"

	autocli "cosmossdk.io/api/cosmos/autocli/v1"

	"github.com/cosmos/cosmos-sdk/client"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/infra/ledger/x/plug"
)

// AppModule plugs the keeper into the application.
type AppModule struct {
	plug.Module[GenesisState, *GenesisState]
}

// NewAppModule returns the module over k.
func NewAppModule(k Keeper) AppModule {
	return AppModule{Module: plug.New[GenesisState, *GenesisState](plug.Parts[GenesisState]{
		Name: ModuleName, Keeper: k, Default: DefaultGenesis, Service: &_Msg_serviceDesc,
		Messages: []sdk.Msg{
			&MsgRegisterKey{}, &MsgUpdateParams{},
		},
		Serve: func(r grpc.ServiceRegistrar) {
			RegisterMsgServer(r, NewMsgServer(k))
			RegisterQueryServer(r, NewQueryServer(k))
		},
		Route: func(ctx context.Context, mux *gateway.ServeMux, c client.Context) error {
			return RegisterQueryHandlerClient(ctx, mux, NewQueryClient(c))
		},
	})}
}

// AutoCLIOptions describes the command line.
func (AppModule) AutoCLIOptions() *autocli.ModuleOptions {
	return &autocli.ModuleOptions{
		Query: &autocli.ServiceCommandDescriptor{
			Service: _Query_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "Params", Use: "params", Short: "Show the module's parameters"},
				{RpcMethod: "Beacon", Use: "show [height]", Short: "Show the beacon of a height, or of 0 the newest", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "height"}}},
				{RpcMethod: "Beacons", Use: "list", Short: "List the beacons that are kept"},
				{RpcMethod: "Members", Use: "members", Short: "List the validators that registered a key"},
			},
		},
		Tx: &autocli.ServiceCommandDescriptor{
			Service: _Msg_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "RegisterKey", Use: "register-key [public] [proof]", Short: "Register your validator's beacon key, as koinon node beacon-key prints it", PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "public"}, {ProtoField: "proof"}}},
				{RpcMethod: "UpdateParams", Skip: true},
			},
		},
	}
}
