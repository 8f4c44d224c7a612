// Package plug is what all modules of the chain have in common towards the
// application: their names, messages, services and genesis in JSON.
//
// A module embeds a [Module] in its AppModule, and adds what is its own: the
// command line, and work at the end of a block.
package plug

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cosmos/gogoproto/proto"
	gateway "github.com/grpc-ecosystem/grpc-gateway/runtime"
	"google.golang.org/grpc"

	"cosmossdk.io/core/appmodule"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/types/msgservice"
)

// Genesis is a module's part of a genesis file.
type Genesis[G any] interface {
	*G
	proto.Message
	Validate() error
}

// Keeper holds a module's state.
type Keeper[G any] interface {
	InitGenesis(ctx context.Context, g *G) error
	ExportGenesis(ctx context.Context) (*G, error)
}

// Parts are what a [Module] is made of.
type Parts[G any] struct {
	Name     string
	Keeper   Keeper[G]
	Default  func() *G
	Messages []sdk.Msg
	Service  *grpc.ServiceDesc // of the messages
	// Serve adds messages and queries to the application, Route the queries to REST.
	Serve func(grpc.ServiceRegistrar)
	Route func(context.Context, *gateway.ServeMux, client.Context) error
}

// Module plugs a keeper into the application.
type Module[G any, P Genesis[G]] struct{ parts Parts[G] }

type example struct{ proto.Message }

func (*example) Validate() error { return nil }

var (
	_ module.AppModuleBasic = Module[example, *example]{}
	_ module.HasGenesis     = Module[example, *example]{}
	_ appmodule.HasServices = Module[example, *example]{}
)

// New returns the module of these parts, all of which are needed.
func New[G any, P Genesis[G]](parts Parts[G]) Module[G, P] { return Module[G, P]{parts} }

// Name is the module's.
func (m Module[G, P]) Name() string { return m.parts.Name }

// IsAppModule implements [appmodule.AppModule].
func (Module[G, P]) IsAppModule() {}

// IsOnePerModuleType implements [appmodule.AppModule].
func (Module[G, P]) IsOnePerModuleType() {}

// ConsensusVersion is that of the state's format.
func (Module[G, P]) ConsensusVersion() uint64 { return 1 }

// RegisterLegacyAminoCodec does nothing: there are no messages of that time.
func (Module[G, P]) RegisterLegacyAminoCodec(*codec.LegacyAmino) {}

// RegisterInterfaces makes the messages decodable.
func (m Module[G, P]) RegisterInterfaces(r codectypes.InterfaceRegistry) {
	r.RegisterImplementations((*sdk.Msg)(nil), m.parts.Messages...)
	msgservice.RegisterMsgServiceDesc(r, m.parts.Service)
}

// RegisterGRPCGatewayRoutes adds the queries to REST.
func (m Module[G, P]) RegisterGRPCGatewayRoutes(c client.Context, mux *gateway.ServeMux) {
	if err := m.parts.Route(context.Background(), mux, c); err != nil {
		panic(err)
	}
}

// RegisterServices adds messages and queries to the application.
func (m Module[G, P]) RegisterServices(r grpc.ServiceRegistrar) error {
	m.parts.Serve(r)
	return nil
}

// DefaultGenesis is the default in JSON.
func (m Module[G, P]) DefaultGenesis(c codec.JSONCodec) json.RawMessage {
	return c.MustMarshalJSON(P(m.parts.Default()))
}

// ValidateGenesis checks a genesis file's part.
func (m Module[G, P]) ValidateGenesis(c codec.JSONCodec, _ client.TxEncodingConfig, b json.RawMessage) error {
	g := P(new(G))
	if err := c.UnmarshalJSON(b, g); err != nil {
		return fmt.Errorf("%s genesis: %w", m.parts.Name, err)
	}
	return g.Validate()
}

// InitGenesis loads the module's part of a genesis file.
func (m Module[G, P]) InitGenesis(ctx sdk.Context, c codec.JSONCodec, b json.RawMessage) {
	g := P(new(G))
	c.MustUnmarshalJSON(b, g)
	if err := m.parts.Keeper.InitGenesis(ctx, g); err != nil {
		panic(fmt.Errorf("%s genesis: %w", m.parts.Name, err))
	}
}

// ExportGenesis writes the module's part of a genesis file.
func (m Module[G, P]) ExportGenesis(ctx sdk.Context, c codec.JSONCodec) json.RawMessage {
	g, err := m.parts.Keeper.ExportGenesis(ctx)
	if err != nil {
		panic(err)
	}
	return c.MustMarshalJSON(P(g))
}
