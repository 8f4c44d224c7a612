package client

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	errorsmod "cosmossdk.io/errors"

	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

// refusal is the chain's no, as it reports it.
type refusal struct {
	codespace string
	code      uint32
	log       string
}

func (r *refusal) Error() string { return r.reason() }

func (r *refusal) is(e *errorsmod.Error) bool {
	return r.codespace == e.Codespace() && r.code == e.ABCICode()
}

// packing is what the SDK puts before and after a module's own words.
var packing = regexp.MustCompile(`^(rpc error: code = \w+ desc = )*(failed to simulate tx: )?(failed to execute message; message index: \d+: )?|( \[[^\]]*\.go:\d+\])?( with gas used: '\d+')?(: key not found)?$`)

// reason is the chain's own words without their packing.
func (r *refusal) reason() string {
	s, _, _ := strings.Cut(r.log, "\n")
	return packing.ReplaceAllString(strings.TrimSpace(s), "")
}

// advice says which code a person gets for which refusal, and what to do.
var advice = []struct {
	refused *errorsmod.Error
	code    core.Code
	next    string
}{
	{sdkerrors.ErrInsufficientFunds, core.CodeUnpaid, "send koin to this account and try again"},
	{sdkerrors.ErrInsufficientFee, core.CodeBusy, "fees rose; try again"},
	{sdkerrors.ErrMempoolIsFull, core.CodeBusy, "try again in a few seconds"},
	{sdkerrors.ErrUnknownAddress, core.CodeUnpaid, "send koin to this account first"},
	{sdkerrors.ErrOutOfGas, core.CodeBusy, "try again"},
	{payment.ErrFunds, core.CodeUnpaid, "send koin to this account, or choose a smaller deposit"},
	{payment.ErrNotFound, core.CodeInvalid, "list the account's channels"},
	{payment.ErrExists, core.CodeInvalid, "open it with another salt"},
	{payment.ErrNotParty, core.CodeUnauthorized, "use the key of the channel's payer or provider"},
	{payment.ErrVoucher, core.CodeUnauthorized, "drop this voucher and ask the payer for a new one"},
	{payment.ErrOverClaim, core.CodeUnpaid, "ask the payer to top the channel up"},
	{payment.ErrReplay, core.CodeInvalid, "claim only vouchers above what was claimed"},
	{payment.ErrState, core.CodeInvalid, "open a new channel"},
	{payment.ErrNotYet, core.CodeBusy, "wait for the end of the challenge window"},
	{payment.ErrDepositRange, core.CodeInvalid, "choose another deposit"},
	{market.ErrFunds, core.CodeUnpaid, "send koin to this account, or choose a smaller bond"},
	{market.ErrBond, core.CodeUnpaid, "lock a larger bond"},
	{market.ErrUnregistered, core.CodeUnauthorized, "register the provider first"},
	{market.ErrPeer, core.CodeUnauthorized, "sign the binding with the peer's own key on this chain"},
	{market.ErrPeerTaken, core.CodeUnauthorized, "use another peer key"},
	{market.ErrJailed, core.CodeUnauthorized, "read the verdict against this provider; when its time is over and the bond is full: koinon tx market unjail"},
	{market.ErrModel, core.CodeUnknownModel, "publish the model first"},
	{model.ErrNotFound, core.CodeUnknownModel, "publish the parent model first"},
	{model.ErrNameTaken, core.CodeInvalid, "choose another name"},
	{model.ErrNotOwner, core.CodeUnauthorized, "use the publisher's key"},
	{model.ErrFee, core.CodeUnpaid, "send koin to this account: publishing burns a fee"},
	{verify.ErrStranger, core.CodeUnauthorized, "register the provider first"},
	{verify.ErrSequence, core.CodeInvalid, "read the last batch and continue from there"},
}

// explain turns a refusal into an error for people. charge is the fee paid.
func explain(r *refusal, charge core.Amount) error {
	e := &core.Error{Code: core.CodeInvalid, Message: "the chain refused: " + r.reason(), Charge: charge}
	for _, a := range advice {
		if r.is(a.refused) {
			e.Code, e.Next = a.code, a.next
		}
	}
	return e
}

func unreachable(err error) error {
	return &core.Error{Code: core.CodeUnavailable, Message: "the chain's node cannot be reached", Next: "check that the node runs", Err: err}
}

// readError gives a failed query a code and a cause.
func readError(what string, err error) error {
	var e *core.Error
	var r *refusal
	switch {
	case errors.As(err, &e), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &r):
		return &core.Error{Code: core.CodeInvalid, Message: what, Err: err}
	}
	return &core.Error{Code: core.CodeUnavailable, Message: what, Err: fmt.Errorf("query: %w", err)}
}

func isNotFound(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.is(sdkerrors.ErrKeyNotFound)
}
