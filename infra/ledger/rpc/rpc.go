// Package rpc serves one node to wallets and programs: gRPC, REST, and the
// Ethereum JSON-RPC with WebSocket subscriptions on the same port. CometBFT's
// own RPC is the node's: see fullnode.Options.RPC.
//
// Call [Prepare] before the node starts, then [Server.Serve], and in the end
// [Server.Close], before the node stops.
//
// Guarantees: every listener is bound, or the error says which address is
// taken; requests have size, time and gas limits; nothing here signs.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/cosmos/evm/rpc/stream"
	evmconfig "github.com/cosmos/evm/server/config"
	"github.com/spf13/viper"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/server"
	"github.com/cosmos/cosmos-sdk/server/api"
	srvconfig "github.com/cosmos/cosmos-sdk/server/config"
	servergrpc "github.com/cosmos/cosmos-sdk/server/grpc"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/fullnode"
)

// Endpoints are host:port addresses. An empty one is not served; port 0 takes
// a free port.
type Endpoints struct {
	Comet string `json:"comet,omitempty"` // CometBFT RPC
	GRPC  string `json:"grpc,omitempty"`
	REST  string `json:"rest,omitempty"`
	EVM   string `json:"evm,omitempty"` // JSON-RPC over HTTP and WebSocket
}

// DefaultEndpoints are the ports that Cosmos and Ethereum tools expect.
func DefaultEndpoints() Endpoints {
	return Endpoints{Comet: "127.0.0.1:26657", GRPC: "127.0.0.1:9090", REST: "127.0.0.1:1317", EVM: "127.0.0.1:8545"}
}

const shutdownTime = time.Second

// Server serves one node.
type Server struct {
	node      *fullnode.Node
	endpoints Endpoints
	logger    log.Logger
	client    client.Context
	settings  *server.Context
	listeners map[string]*listener
	events    *stream.RPCStream

	grpc *grpc.Server
	conn *grpc.ClientConn
	http []*http.Server
}

// Prepare binds the addresses and adds the node's services to the App. It must
// come before the node starts.
func Prepare(n *fullnode.Node, e Endpoints, logger log.Logger) (s *Server, err error) {
	if e.GRPC == "" && (e.REST != "" || e.EVM != "") {
		e.GRPC = "127.0.0.1:0" // both ask through it
	}
	s = &Server{node: n, logger: logger, listeners: map[string]*listener{}}
	defer func() {
		if err != nil {
			s.Close()
			s = nil
		}
	}()
	for name, address := range map[string]*string{"gRPC": &e.GRPC, "REST": &e.REST, "EVM JSON-RPC": &e.EVM} {
		if *address == "" {
			continue
		}
		l, err := Listen(name, *address)
		if err != nil {
			return s, err
		}
		s.listeners[name], *address = &listener{Listener: l, open: map[net.Conn]struct{}{}}, l.Addr().String()
	}
	s.endpoints = e
	s.endpoints.Comet = trimScheme(n.Config.RPC.ListenAddress)
	s.client = ClientContext(n.App).WithClient(n.Client).WithChainID(n.App.ChainID()).WithHomeDir(n.Config.RootDir)
	n.App.RegisterTxService(s.client)
	n.App.RegisterTendermintService(s.client)
	n.App.RegisterNodeService(s.client, *srvconfig.DefaultConfig())
	v := viper.New()
	v.Set("evm.evm-chain-id", app.EVMChainID)
	v.Set("json-rpc.address", e.EVM)
	v.Set("json-rpc.gas-cap", app.QueryGasLimit)
	v.Set("json-rpc.allow-insecure-unlock", false)
	s.settings = server.NewContext(v, n.Config, logger)
	if e.EVM != "" {
		s.events = stream.NewRPCStreams(n.Client, logger, s.client.TxConfig.TxDecoder())
		n.App.RegisterPendingTxListener(s.events.ListenPendingTx)
	}
	return s, nil
}

// ClientContext knows the chain's encodings; it has no connection yet.
func ClientContext(a *app.App) client.Context {
	return client.Context{}.WithCodec(a.Codec).WithInterfaceRegistry(a.Registry).WithTxConfig(a.Tx).WithLegacyAmino(a.Amino).
		WithAccountRetriever(authtypes.AccountRetriever{})
}

// Listen binds an address, or says in plain words that it is taken.
func Listen(name, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &core.Error{
			Code: core.CodeUnavailable, Message: fmt.Sprintf("%s cannot listen on %s", name, address),
			Next: "stop the program that uses the port, or choose another port", Err: err,
		}
	}
	return l, nil
}

func trimScheme(s string) string {
	if len(s) > 6 && s[:6] == "tcp://" {
		return s[6:]
	}
	return s
}

// Endpoints are the addresses in use, with ports.
func (s *Server) Endpoints() Endpoints { return s.endpoints }

// Serve answers requests until Close. The node must have started.
func (s *Server) Serve() error {
	if l := s.listeners["gRPC"]; l != nil {
		if err := s.serveGRPC(l); err != nil {
			return err
		}
	}
	if l := s.listeners["REST"]; l != nil {
		s.serveREST(l)
	}
	if l := s.listeners["EVM JSON-RPC"]; l != nil {
		return s.serveEVM(l)
	}
	return nil
}

func (s *Server) serveGRPC(l net.Listener) (err error) {
	s.grpc, _, err = servergrpc.NewGRPCServerAndContext(s.client, s.node.App, srvconfig.DefaultConfig().GRPC, s.logger)
	if err != nil {
		return fmt.Errorf("cannot serve gRPC: %w", err)
	}
	go func() { _ = s.grpc.Serve(l) }()
	s.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(codec.NewProtoCodec(s.client.InterfaceRegistry).GRPCCodec())))
	if err != nil {
		return fmt.Errorf("cannot reach the own gRPC server: %w", err)
	}
	s.client = s.client.WithGRPCClient(s.conn)
	return nil
}

func (s *Server) serveREST(l net.Listener) {
	gateway := api.New(s.client, s.logger, s.grpc)
	s.node.App.RegisterAPIRoutes(gateway, srvconfig.DefaultConfig().API)
	s.serveHTTP(l, http.MaxBytesHandler(gateway.GRPCGatewayRouter, 2<<20))
}

func (s *Server) serveHTTP(l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: evmconfig.DefaultHTTPTimeout, ReadTimeout: evmconfig.DefaultHTTPTimeout,
		WriteTimeout: evmconfig.DefaultHTTPTimeout, IdleTimeout: evmconfig.DefaultHTTPIdleTimeout,
	}
	s.http = append(s.http, srv)
	go func() { _ = srv.Serve(l) }()
}

// Close ends all requests and frees the ports.
func (s *Server) Close() error {
	var errs []error
	for _, srv := range s.http {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
		if err := srv.Shutdown(ctx); err != nil {
			errs = append(errs, srv.Close())
		}
		cancel()
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.grpc != nil {
		s.grpc.Stop()
	}
	// The event streams end with the node: their own Close waits for ever.
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
