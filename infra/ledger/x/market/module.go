package market

import (
	"context"
	"encoding/json"
	"fmt"

	gateway "github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"

	autocli "cosmossdk.io/api/cosmos/autocli/v1"
	"cosmossdk.io/core/appmodule"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/types/msgservice"
)

// AppModule plugs the keeper into the application.
type AppModule struct{ k Keeper }

var (
	_ module.AppModuleBasic   = AppModule{}
	_ module.HasGenesis       = AppModule{}
	_ appmodule.HasServices   = AppModule{}
	_ appmodule.HasEndBlocker = AppModule{}
)

// NewAppModule returns the module over k.
func NewAppModule(k Keeper) AppModule { return AppModule{k} }

func (AppModule) Name() string                                { return ModuleName }
func (AppModule) IsAppModule()                                {}
func (AppModule) IsOnePerModuleType()                         {}
func (AppModule) ConsensusVersion() uint64                    { return 1 }
func (AppModule) RegisterLegacyAminoCodec(*codec.LegacyAmino) {}

// RegisterInterfaces makes the messages decodable.
func (AppModule) RegisterInterfaces(r codectypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), &MsgRegister{}, &MsgUpdate{}, &MsgPostOffers{}, &MsgAddBond{}, &MsgUnbond{}, &MsgUnjail{}, &MsgUpdateParams{})
	msgservice.RegisterMsgServiceDesc(r, &_Msg_serviceDesc)
}

// RegisterGRPCGatewayRoutes adds the queries to REST.
func (AppModule) RegisterGRPCGatewayRoutes(c client.Context, mux *gateway.ServeMux) {
	if err := RegisterQueryHandlerClient(context.Background(), mux, NewQueryClient(c)); err != nil {
		panic(err)
	}
}

// RegisterServices adds messages and queries to the application.
func (m AppModule) RegisterServices(r grpc.ServiceRegistrar) error {
	RegisterMsgServer(r, NewMsgServer(m.k))
	RegisterQueryServer(r, NewQueryServer(m.k))
	return nil
}

// DefaultGenesis is [DefaultGenesis] in JSON.
func (AppModule) DefaultGenesis(c codec.JSONCodec) json.RawMessage {
	return c.MustMarshalJSON(DefaultGenesis())
}

// ValidateGenesis checks a genesis file's part.
func (AppModule) ValidateGenesis(c codec.JSONCodec, _ client.TxEncodingConfig, b json.RawMessage) error {
	var g GenesisState
	if err := c.UnmarshalJSON(b, &g); err != nil {
		return fmt.Errorf("%s genesis: %w", ModuleName, err)
	}
	return g.Validate()
}

// InitGenesis loads the module's part of a genesis file.
func (m AppModule) InitGenesis(ctx sdk.Context, c codec.JSONCodec, b json.RawMessage) {
	var g GenesisState
	c.MustUnmarshalJSON(b, &g)
	if err := m.k.InitGenesis(ctx, &g); err != nil {
		panic(fmt.Errorf("%s genesis: %w", ModuleName, err))
	}
}

// ExportGenesis writes the module's part of a genesis file.
func (m AppModule) ExportGenesis(ctx sdk.Context, c codec.JSONCodec) json.RawMessage {
	g, err := m.k.ExportGenesis(ctx)
	if err != nil {
		panic(err)
	}
	return c.MustMarshalJSON(g)
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
