package client

import (
	"context"
	"encoding/hex"
	"slices"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

// pageSize is how many entries one query fetches.
const pageSize = 200

// Status returns the newest block's moment.
func (c *Client) Status(ctx context.Context) (core.ChainStatus, error) {
	return remember(ctx, &c.memo, "status", func(ctx context.Context) (s core.ChainStatus, err error) {
		r, err := c.rpc.Status(ctx)
		if err != nil {
			return s, unreachable(err)
		}
		one := 1
		v, err := c.rpc.Validators(ctx, nil, &one, &one)
		if err != nil {
			return s, unreachable(err)
		}
		supply, err := banktypes.NewQueryClient(c).SupplyOf(ctx, &banktypes.QuerySupplyOfRequest{Denom: core.BaseDenom})
		if err != nil {
			return s, readError("the supply cannot be read", err)
		}
		s = core.ChainStatus{
			ChainID: c.chainID, EVMChainID: c.evmChainID, Height: r.SyncInfo.LatestBlockHeight,
			Time: r.SyncInfo.LatestBlockTime.UnixMilli(), Validators: v.Total, CatchingUp: r.SyncInfo.CatchingUp,
		}
		s.Supply, err = amount(supply.Amount.Amount)
		return s, err
	})
}

// Balance returns what an account can spend, in akoin.
func (c *Client) Balance(ctx context.Context, a core.Address) (core.Amount, error) {
	return remember(ctx, &c.memo, "balance/"+a.String(), func(ctx context.Context) (core.Amount, error) {
		r, err := banktypes.NewQueryClient(c).Balance(ctx, &banktypes.QueryBalanceRequest{Address: Bech32(a), Denom: core.BaseDenom})
		if err != nil {
			return core.Amount{}, readError("the balance cannot be read", err)
		}
		if r.Balance == nil {
			return core.Amount{}, nil
		}
		return amount(r.Balance.Amount)
	})
}

// Manifests returns all published models.
func (c *Client) Manifests(ctx context.Context) ([]core.Manifest, error) {
	all, err := remember(ctx, &c.memo, "models", func(ctx context.Context) ([]core.Manifest, error) {
		return pages(func(p *query.PageRequest) ([]core.Manifest, *query.PageResponse, error) {
			r, err := model.NewQueryClient(c).Models(ctx, &model.QueryModelsRequest{Pagination: p})
			if err != nil {
				return nil, nil, readError("the models cannot be read", err)
			}
			out, err := each(r.Models, manifest)
			return out, r.Pagination, err
		})
	})
	return slices.Clone(all), err
}

// Providers returns all registered providers with their offers.
func (c *Client) Providers(ctx context.Context) ([]core.Provider, error) {
	all, err := remember(ctx, &c.memo, "providers", func(ctx context.Context) ([]core.Provider, error) {
		return pages(func(p *query.PageRequest) ([]core.Provider, *query.PageResponse, error) {
			r, err := market.NewQueryClient(c).Providers(ctx, &market.QueryProvidersRequest{Pagination: p})
			if err != nil {
				return nil, nil, readError("the providers cannot be read", err)
			}
			out, err := each(r.Listings, provider)
			return out, r.Pagination, err
		})
	})
	return slices.Clone(all), err
}

// Channel returns one channel; CodeInvalid when there is none.
func (c *Client) Channel(ctx context.Context, id core.ChannelID) (core.Channel, error) {
	return remember(ctx, &c.memo, "channel/"+string(id[:]), func(ctx context.Context) (core.Channel, error) {
		r, err := payment.NewQueryClient(c).Channel(ctx, &payment.QueryChannelRequest{Channel: hex.EncodeToString(id[:])})
		if err != nil {
			return core.Channel{}, readError("channel "+id.Short()+" cannot be read", err)
		}
		return channel(r.Channel)
	})
}

// Channels lists the channels in which a is payer or provider, closed ones
// included.
func (c *Client) Channels(ctx context.Context, a core.Address) ([]core.Channel, error) {
	all, err := remember(ctx, &c.memo, "channels/"+a.String(), func(ctx context.Context) ([]core.Channel, error) {
		return pages(func(p *query.PageRequest) ([]core.Channel, *query.PageResponse, error) {
			r, err := payment.NewQueryClient(c).Channels(ctx, &payment.QueryChannelsRequest{Account: Bech32(a), Pagination: p})
			if err != nil {
				return nil, nil, readError("the channels cannot be read", err)
			}
			out, err := each(r.Channels, channel)
			return out, r.Pagination, err
		})
	})
	return slices.Clone(all), err
}

// Batches lists a provider's committed receipt batches, newest first; limit 0
// means [pageSize].
func (c *Client) Batches(ctx context.Context, a core.Address, limit int) ([]core.ReceiptBatch, error) {
	if limit <= 0 {
		limit = pageSize
	}
	r, err := verify.NewQueryClient(c).Batches(ctx, &verify.QueryBatchesRequest{
		Provider: Bech32(a), Pagination: &query.PageRequest{Limit: uint64(limit), Reverse: true},
	})
	if err != nil {
		return nil, readError("the batches cannot be read", err)
	}
	return each(r.Batches, batch)
}

// Totals returns what the payment module has paid out and burned since
// genesis, and what it holds.
func (c *Client) Totals(ctx context.Context) (claimed, burned, locked core.Amount, err error) {
	r, err := payment.NewQueryClient(c).Totals(ctx, &payment.QueryTotalsRequest{})
	if err != nil {
		return claimed, burned, locked, readError("the totals cannot be read", err)
	}
	if claimed, err = amount(r.Totals.Claimed); err != nil {
		return
	}
	if burned, err = amount(r.Totals.Burned); err != nil {
		return
	}
	locked, err = amount(r.Locked)
	return
}

// pages fetches page after page until there is none.
func pages[T any](fetch func(*query.PageRequest) ([]T, *query.PageResponse, error)) ([]T, error) {
	var all []T
	page := &query.PageRequest{Limit: pageSize}
	for {
		some, next, err := fetch(page)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if next == nil || len(next.NextKey) == 0 {
			return all, nil
		}
		page = &query.PageRequest{Limit: pageSize, Key: next.NextKey}
	}
}

func coins(a core.Amount) sdk.Coins { return sdk.NewCoins(sdk.NewCoin(core.BaseDenom, integer(a))) }
