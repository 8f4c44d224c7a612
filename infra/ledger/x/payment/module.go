package payment

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
	r.RegisterImplementations((*sdk.Msg)(nil), &MsgOpen{}, &MsgTopUp{}, &MsgClaim{}, &MsgRequestWithdrawal{}, &MsgFinalizeWithdrawal{}, &MsgClose{}, &MsgDeposit{}, &MsgRefund{}, &MsgUpdateParams{})
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
