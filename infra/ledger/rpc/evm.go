package rpc

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/cosmos/evm/mempool/txpool"
	evmrpc "github.com/cosmos/evm/rpc"
	"github.com/cosmos/evm/rpc/backend"
	"github.com/cosmos/evm/rpc/namespaces/ethereum/eth"
	evmconfig "github.com/cosmos/evm/server/config"
	ethrpc "github.com/ethereum/go-ethereum/rpc"
	"github.com/gorilla/websocket"
	"github.com/rs/cors"

	"github.com/cosmos/cosmos-sdk/client"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/mempool"
)

// serveEVM answers the eth, net and web3 methods. Subscriptions come in over
// WebSocket on the same port.
func (s *Server) serveEVM(l net.Listener) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot serve the EVM's JSON-RPC: %v", r)
		}
	}()
	cfg, err := evmconfig.GetConfig(s.settings.Viper)
	if err != nil {
		return err
	}
	b := backend.NewBackend(s.settings, s.client, nil, broadcaster{client: s.client}, backend.WithLogger(s.logger))
	server := ethrpc.NewServer()
	server.SetBatchLimits(cfg.JSONRPC.BatchRequestLimit, cfg.JSONRPC.BatchResponseMaxSize)
	server.SetHTTPBodyLimit(cfg.JSONRPC.HTTPBodyLimit)
	for _, a := range evmrpc.BuildRPCs([]string{"eth", "net", "web3"}, s.settings, s.client, s.events, b) {
		service := a.Service
		if api, ok := service.(*eth.PublicAPI); ok {
			service = withoutFill{api}
		}
		if err := server.RegisterName(a.Namespace, service); err != nil {
			return fmt.Errorf("cannot serve %s methods: %w", a.Namespace, err)
		}
	}
	subscriptions, ok := evmrpc.NewWebsocketsServer(s.client, s.logger, s.events, &cfg).(http.Handler)
	if !ok {
		return fmt.Errorf("the EVM's WebSocket server is not an HTTP handler")
	}
	calls := cors.Default().Handler(server)
	s.serveHTTP(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if websocket.IsWebSocketUpgrade(r) {
			subscriptions.ServeHTTP(w, r)
			return
		}
		calls.ServeHTTP(w, r)
	}))
	return nil
}

// withoutFill leaves out eth_fillTransaction, which estimates gas against
// block 1: clients that get "no such method" estimate correctly themselves.
type withoutFill struct{ *eth.PublicAPI }

// FillTransaction has a shape that the JSON-RPC server does not publish.
func (withoutFill) FillTransaction() (_, _, _ struct{}) { return }

// broadcaster hands Ethereum transactions to CometBFT's mempool.
type broadcaster struct {
	mempool.NoOpMempool
	client client.Context
}

var _ backend.Mempool = broadcaster{}

// Insert checks tx and gossips it.
func (b broadcaster) Insert(ctx context.Context, tx sdk.Tx) error {
	raw, err := b.client.TxConfig.TxEncoder()(tx)
	if err != nil {
		return err
	}
	res, err := b.client.Client.BroadcastTxSync(ctx, raw)
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("%s", res.Log)
	}
	return nil
}

// GetTxPool is empty: this node orders transactions as they come.
func (broadcaster) GetTxPool() *txpool.TxPool { return &txpool.TxPool{} }
