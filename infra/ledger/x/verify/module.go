package verify

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
	r.RegisterImplementations((*sdk.Msg)(nil), &MsgCommitReceipts{}, &MsgAdmitModel{}, &MsgOpenDispute{}, &MsgMove{}, &MsgConvict{}, &MsgUpdateParams{},
		&MsgRegisterAuditor{}, &MsgLeaveAuditing{}, &MsgCommitVerdict{}, &MsgRevealVerdict{}, &MsgDemand{}, &MsgSupply{}, &MsgExpose{}, &MsgCommitCanary{}, &MsgRevealCanary{})
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

// EndBlock ends disputes whose time is over.
func (m AppModule) EndBlock(ctx context.Context) error { return m.k.EndBlock(ctx) }

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
