package client

import (
	"context"
	"errors"
	"fmt"

	rpc "github.com/cometbft/cometbft/rpc/client"
	"github.com/cosmos/gogoproto/proto"
	"google.golang.org/grpc"
)

var _ grpc.ClientConnInterface = (*Client)(nil)

// Invoke asks the chain one gRPC query through the node's RPC, at the last
// committed block. It makes a Client usable with any module's generated client.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	in, ok := args.(proto.Message)
	out, ok2 := reply.(proto.Message)
	if !ok || !ok2 {
		return fmt.Errorf("%T is not a message", args)
	}
	data, err := proto.Marshal(in)
	if err != nil {
		return err
	}
	value, err := c.query(ctx, method, data)
	if err != nil {
		return err
	}
	return proto.Unmarshal(value, out)
}

// NewStream always fails: the chain's queries don't stream.
func (c *Client) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("the ledger has no streams")
}

func (c *Client) query(ctx context.Context, path string, data []byte) ([]byte, error) {
	r, err := c.rpc.ABCIQueryWithOptions(ctx, path, data, rpc.ABCIQueryOptions{})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unreachable(err)
	}
	if r.Response.IsOK() {
		return r.Response.Value, nil
	}
	return nil, &refusal{r.Response.Codespace, r.Response.Code, r.Response.Log}
}
