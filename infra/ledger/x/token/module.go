package token

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
			&MsgTransferWithAuthorization{},
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
			RpcCommandOptions: []*autocli.RpcCommandOptions{{
				RpcMethod: "Authorization", Use: "authorization [owner] [nonce]", Short: "Say whether a nonce of an owner's authorizations is used",
				PositionalArgs: []*autocli.PositionalArgDescriptor{{ProtoField: "owner"}, {ProtoField: "nonce"}},
			}},
		},
		Tx: &autocli.ServiceCommandDescriptor{
			Service: _Msg_serviceDesc.ServiceName,
			RpcCommandOptions: []*autocli.RpcCommandOptions{
				{RpcMethod: "TransferWithAuthorization", Use: "transfer-with-authorization", Short: "Bring on chain a transfer that its owner has signed"},
			},
		},
	}
}
