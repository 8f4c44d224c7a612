package app

import (
	"bytes"
	"errors"
	"fmt"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/cosmos/cosmos-sdk/baseapp"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/infra/ledger/x/beacon"
)

// Contributor is a validator's part in the randomness beacon.
type Contributor struct {
	Consensus []byte          // address of the validator's consensus key, 20 bytes
	Keys      []beacon.Prover // the registered one, and the next
}

// SetContributor changes what this validator contributes to the randomness
// beacon; nil is nothing. It may be called while blocks run.
func (a *App) SetContributor(c *Contributor) { a.contributor.Store(c) }

// votesTag begins the first transaction of a block that carries the votes by
// which the block before was committed, extensions included. No transaction of a
// user begins so: it is not protobuf.
var votesTag = []byte("koinon/votes/1")

// maxVotes bounds that transaction in bytes.
const maxVotes = 1 << 20

// wireVotes lets votes carry contributions to the randomness beacon: signed as
// extensions of the votes, put into the next block by its proposer, checked by
// the others, recorded when the block is executed.
func (a *App) wireVotes() {
	a.SetExtendVoteHandler(func(ctx sdk.Context, r *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
		return &abci.ResponseExtendVote{VoteExtension: a.extension(ctx, r.Height, a.contributor.Load())}, nil
	})
	a.SetVerifyVoteExtensionHandler(verifyExtension)
	proposals := baseapp.NewDefaultProposalHandler(nil, a.BaseApp)
	prepare := proposals.PrepareProposalHandler()
	a.SetPrepareProposal(func(ctx sdk.Context, r *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
		return a.propose(ctx, r, prepare)
	})
	a.SetProcessProposal(func(ctx sdk.Context, r *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
		status := abci.ResponseProcessProposal_ACCEPT
		if _, err := a.votesOf(ctx, r.Txs); err != nil {
			a.Logger().Error("refused a proposal", "height", r.Height, "error", err)
			status = abci.ResponseProcessProposal_REJECT
		}
		return &abci.ResponseProcessProposal{Status: status}, nil
	})
}

// extension never fails: a validator that cannot contribute votes all the same.
func (a *App) extension(ctx sdk.Context, height int64, c *Contributor) (ext []byte) {
	if c == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			a.Logger().Error("no contribution to the beacon", "height", height, "panic", r)
			ext = nil
		}
	}()
	ext, err := a.Beacon.Extend(ctx, height, c.Consensus, c.Keys)
	if err != nil {
		a.Logger().Error("no contribution to the beacon", "height", height, "error", err)
		return nil
	}
	return ext
}

// verifyExtension accepts whatever is short enough. What it contains is judged
// when it counts, because a vote that is not accepted is missing from consensus.
func verifyExtension(_ sdk.Context, r *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	if len(r.VoteExtension) > beacon.MaxExtension {
		return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_REJECT}, nil
	}
	return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_ACCEPT}, nil
}

// propose puts the votes before the transactions. Votes that the others would
// refuse are left out.
func (a *App) propose(ctx sdk.Context, r *abci.RequestPrepareProposal, prepare sdk.PrepareProposalHandler) (*abci.ResponsePrepareProposal, error) {
	votes, err := a.encodeVotes(ctx, r)
	if err != nil {
		a.Logger().Error("a proposal without votes", "height", r.Height, "error", err)
	}
	if votes == nil {
		return prepare(ctx, r)
	}
	rest := *r
	rest.MaxTxBytes -= cmttypes.ComputeProtoSizeForTxs([]cmttypes.Tx{votes})
	res, err := prepare(ctx, &rest)
	if err != nil {
		return nil, err
	}
	res.Txs = append([][]byte{votes}, res.Txs...)
	return res, nil
}

func (a *App) encodeVotes(ctx sdk.Context, r *abci.RequestPrepareProposal) ([]byte, error) {
	if !extended(ctx, r.Height) || len(r.LocalLastCommit.Votes) == 0 {
		return nil, nil
	}
	raw, err := r.LocalLastCommit.Marshal()
	if err != nil {
		return nil, err
	}
	votes := append(bytes.Clone(votesTag), raw...)
	if cmttypes.ComputeProtoSizeForTxs([]cmttypes.Tx{votes}) > r.MaxTxBytes {
		return nil, errors.New("the votes do not fit into the block")
	}
	if _, err := a.votesOf(ctx, [][]byte{votes}); err != nil {
		return nil, err
	}
	return votes, nil
}

// extended says whether the votes for the block before height have extensions.
func extended(ctx sdk.Context, height int64) bool {
	p := ctx.ConsensusParams().Abci
	return p != nil && p.VoteExtensionsEnableHeight > 0 && height > p.VoteExtensionsEnableHeight
}

// votesOf reads and checks the votes that a proposal carries: those of the last
// commit, all of them, signed with their extensions by more than two thirds of
// the power. A proposal may carry none.
func (a *App) votesOf(ctx sdk.Context, txs [][]byte) (*abci.ExtendedCommitInfo, error) {
	raw := votesIn(txs)
	if raw == nil {
		return nil, nil
	}
	if !extended(ctx, ctx.BlockHeight()) {
		return nil, errors.New("votes have no extensions at this height")
	}
	c, err := parseVotes(raw)
	if err != nil {
		return nil, err
	}
	last := ctx.CometInfo().GetLastCommit().Votes()
	if len(c.Votes) != last.Len() {
		return nil, fmt.Errorf("%d votes, and %d in the last commit", len(c.Votes), last.Len())
	}
	for i, v := range c.Votes {
		if v.BlockIdFlag != cmtproto.BlockIDFlag(last.Get(i).GetBlockIDFlag()) {
			return nil, fmt.Errorf("the vote of %X is not that of the last commit", v.Validator.Address)
		}
	}
	return c, baseapp.ValidateVoteExtensions(ctx, a.Staking, 0, "", *c)
}

// votesIn returns the encoded votes of a block, nil without.
func votesIn(txs [][]byte) []byte {
	if len(txs) == 0 || !bytes.HasPrefix(txs[0], votesTag) {
		return nil
	}
	return txs[0][len(votesTag):]
}

// parseVotes reads encoded votes. There is one encoding of them.
func parseVotes(raw []byte) (*abci.ExtendedCommitInfo, error) {
	if len(raw) > maxVotes {
		return nil, fmt.Errorf("votes have at most %d bytes, these %d", maxVotes, len(raw))
	}
	c := new(abci.ExtendedCommitInfo)
	if err := c.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("the votes cannot be read: %w", err)
	}
	if again, err := c.Marshal(); err != nil || !bytes.Equal(again, raw) {
		return nil, fmt.Errorf("the votes are encoded in another way (%v)", err)
	}
	for _, v := range c.Votes {
		if len(v.VoteExtension) > beacon.MaxExtension {
			return nil, fmt.Errorf("the vote of %X has an extension of %d bytes, at most %d are allowed", v.Validator.Address, len(v.VoteExtension), beacon.MaxExtension)
		}
	}
	return c, nil
}

// contributions joins the last commit, which consensus answers for, with the
// extensions that the block carries. They were checked when the block was
// proposed; each is checked by its own proof when it counts.
func contributions(r *abci.RequestFinalizeBlock) []beacon.Vote {
	extensions := map[string][]byte{}
	if raw := votesIn(r.Txs); raw != nil {
		if c, err := parseVotes(raw); err == nil {
			for _, v := range c.Votes {
				extensions[string(v.Validator.Address)] = v.VoteExtension
			}
		}
	}
	votes := make([]beacon.Vote, len(r.DecidedLastCommit.Votes))
	for i, v := range r.DecidedLastCommit.Votes {
		votes[i] = beacon.Vote{Consensus: v.Validator.Address, Power: v.Validator.Power}
		if v.BlockIdFlag == cmtproto.BlockIDFlagCommit {
			votes[i].Extension = extensions[string(v.Validator.Address)]
		}
	}
	return votes
}

// FinalizeBlock executes a block. The votes in it are no transaction that could
// fail: their result says so.
func (a *App) FinalizeBlock(r *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	res, err := a.BaseApp.FinalizeBlock(r)
	if err == nil && votesIn(r.Txs) != nil && len(res.TxResults) > 0 {
		res.TxResults[0] = &abci.ExecTxResult{Code: abci.CodeTypeOK}
	}
	return res, err
}
