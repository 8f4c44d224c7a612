// Package client reads and writes the ledger through a node, in this process or
// over the network: it implements [core.Chain] and [core.Wallet].
//
// Start with [New] on a running node's local RPC client, or [Dial] on an RPC
// address; [Client.Wallet] then gives write access for one key.
//
// Guarantees: what is read is as of a committed block, and after a wallet's
// method returned nil every later read sees its effect; each answer is fetched
// at most once per block however many callers ask; a wallet's method returns
// when its transaction is final, or with an error that says why not, what it
// cost and what to do; concurrent callers of one wallet never collide on
// sequence numbers.
package client

import (
	"context"
	"sync"
	"time"

	rpc "github.com/cometbft/cometbft/rpc/client"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"

	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
)

// Prefix is what the bech32 form of an account starts with.
const Prefix = "koinon"

// Client is a connection to one node. Its methods are safe for concurrent use.
type Client struct {
	rpc        rpc.Client
	chainID    string
	evmChainID uint64

	memo   memo
	follow *follower
	stop   context.CancelFunc
	done   sync.WaitGroup
	owned  bool // rpc was started here
}

var _ core.Chain = (*Client)(nil)

// Dial connects to a node's CometBFT RPC, as in "http://127.0.0.1:26657".
func Dial(ctx context.Context, address string) (*Client, error) {
	h, err := rpchttp.New(address, "/websocket")
	if err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the node's address " + address + " is not valid", Next: "give an address like http://127.0.0.1:26657", Err: err}
	}
	if err := h.Start(); err != nil {
		return nil, unreachable(err)
	}
	c, err := New(ctx, h)
	if err != nil {
		_ = h.Stop()
		return nil, err
	}
	c.owned = true
	return c, nil
}

// New returns a client of a node that runs already, for instance in this
// process. The context bounds this call only; Close ends the client.
func New(ctx context.Context, r rpc.Client) (*Client, error) {
	status, err := r.Status(ctx)
	if err != nil {
		return nil, unreachable(err)
	}
	background, stop := context.WithCancel(context.Background())
	c := &Client{rpc: r, chainID: status.NodeInfo.Network, stop: stop}
	p, err := payment.NewQueryClient(c).Params(ctx, &payment.QueryParamsRequest{})
	if err != nil {
		stop()
		return nil, readError("the chain's parameters cannot be read", err)
	}
	c.evmChainID = p.EvmChainId
	c.follow = newFollower(r, status.SyncInfo.LatestBlockHeight, c.memo.forget)
	c.done.Go(func() { c.follow.run(background) })
	return c, nil
}

// Close ends the client; wallets made from it fail from then on.
func (c *Client) Close() error {
	c.stop()
	c.done.Wait()
	if c.owned {
		return c.rpc.Stop()
	}
	return nil
}

// ChainID is the Cosmos chain id.
func (c *Client) ChainID() string { return c.chainID }

// EVMChainID is the number that enters vouchers and requests.
func (c *Client) EVMChainID() uint64 { return c.evmChainID }

// Blocks returns a channel of heights, until ctx ends. A slow reader misses
// heights but always gets the newest.
func (c *Client) Blocks(ctx context.Context) <-chan int64 { return c.follow.subscribe(ctx) }

// WaitHeight returns once the chain has reached height.
func (c *Client) WaitHeight(ctx context.Context, height int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for h := range c.Blocks(ctx) {
		if h >= height {
			return nil
		}
	}
	return context.Cause(ctx)
}

// Bech32 writes an account in its koinon1... form.
func Bech32(a core.Address) string {
	s, err := bech32.ConvertAndEncode(Prefix, a[:])
	if err != nil {
		panic(err) // 20 bytes always encode
	}
	return s
}

// ParseAccount reads an account in its koinon1... or 0x... form.
func ParseAccount(s string) (core.Address, error) {
	prefix, b, err := bech32.DecodeAndConvert(s)
	if err == nil && prefix == Prefix && len(b) == len(core.Address{}) {
		return core.Address(b), nil
	}
	return core.ParseAddress(s)
}

// pollEvery is how often the follower asks for news when no event comes.
const pollEvery = 500 * time.Millisecond
