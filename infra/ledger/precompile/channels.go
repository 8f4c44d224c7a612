package precompile

import (
	_ "embed"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"

	evm "github.com/cosmos/evm/precompiles/common"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/voucher"
)

//go:embed channels.abi.json
var channelsABI []byte

// Channels is x/payment as the contract of x402's batch-settlement scheme, at
// [voucher.Contract]. Unlike the scheme's own contract it pays a claim's receiver
// at once, so that there is nothing to settle, and a withdrawal takes all that a
// channel holds.
type Channels struct {
	*contract
	keeper payment.Keeper
	msgs   payment.MsgServer
	text   func(core.Address) string
}

// NewChannels returns the contract over the module.
func NewChannels(k payment.Keeper, bank evm.BankKeeper) *Channels {
	p := &Channels{keeper: k, msgs: payment.NewMsgServer(k), text: func(a core.Address) string { return sdk.AccAddress(a[:]).String() }}
	const config = "(address,address,address,address,address,uint40,bytes32)"
	const claims = "((" + config + ",uint128),bytes,uint128)[]"
	p.contract = newContract("koinon-channels", voucher.Contract, channelsABI, bank, map[string]method{
		"deposit(" + config + ",uint128,address,bytes)": p.deposit,
		"claim(" + claims + ")":                         p.claim,
		"claimWithSignature(" + claims + ",bytes)":      p.claimSigned,
		"settle(address,address)":                       p.settle,
		"initiateWithdraw(" + config + ",uint128)":      p.withdraw,
		"finalizeWithdraw(" + config + ")":              p.finalize,
		"refund(" + config + ",uint128)":                p.refund,
		"getChannelId(" + config + ")":                  p.id,
		"channels(bytes32)":                             p.balance,
		"pendingWithdrawals(bytes32)":                   p.pending,
		"receivers(address,address)":                    func(c *call) ([]byte, error) { return c.returns(new(big.Int), new(big.Int)) },
		"getVoucherDigest(bytes32,uint128)":             p.digest,
		"refundNonce(bytes32)":                          func(c *call) ([]byte, error) { return c.returns(new(big.Int)) },
		"getClaimBatchDigest(" + claims + ")":           p.batchDigest,
	})
	return p
}

// channelConfig is the ABI's tuple.
type channelConfig struct {
	Payer, PayerAuthorizer, Receiver, ReceiverAuthorizer, Token common.Address
	WithdrawDelay                                               *big.Int
	Salt                                                        [32]byte
}

func (c channelConfig) ours() voucher.ChannelConfig {
	return voucher.ChannelConfig{
		Payer: core.Address(c.Payer), PayerAuthorizer: core.Address(c.PayerAuthorizer), Receiver: core.Address(c.Receiver),
		ReceiverAuthorizer: core.Address(c.ReceiverAuthorizer), Token: core.Address(c.Token), WithdrawDelay: c.WithdrawDelay.Uint64(), Salt: c.Salt,
	}
}

// voucherClaim is the ABI's tuple.
type voucherClaim struct {
	Voucher struct {
		Channel            channelConfig
		MaxClaimableAmount *big.Int
	}
	Signature    []byte
	TotalClaimed *big.Int
}

// collected is what the deposit collector of EIP-3009 authorizations reads.
var collected = func() abi.Arguments {
	word, _ := abi.NewType("uint256", "", nil)
	text, _ := abi.NewType("bytes", "", nil)
	return abi.Arguments{{Name: "validAfter", Type: word}, {Name: "validBefore", Type: word}, {Name: "salt", Type: word}, {Name: "signature", Type: text}}
}()

func (p *Channels) deposit(c *call) ([]byte, error) {
	var in struct {
		Config        channelConfig
		Amount        *big.Int
		Collector     common.Address
		CollectorData []byte
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if core.Address(in.Collector) != voucher.DepositCollector {
		return nil, fmt.Errorf("deposits are collected by EIP-3009 authorization through %s only", voucher.DepositCollector)
	}
	args, err := collected.Unpack(in.CollectorData)
	if err != nil {
		return nil, err
	}
	var salt core.Hash
	args[2].(*big.Int).FillBytes(salt[:])
	_, err = p.keeper.Deposit(c.ctx, payment.SignedDeposit{
		Config: in.Config.ours(), Amount: amount(in.Amount), ValidAfter: amount(args[0].(*big.Int)), ValidBefore: amount(args[1].(*big.Int)),
		Salt: salt, Signature: args[3].([]byte),
	})
	return nil, err
}

func (c *call) claims() ([]voucherClaim, error) {
	var in struct{ VoucherClaims []voucherClaim }
	err := (abi.Arguments{c.method.Inputs[0]}).Copy(&in, c.args[:1])
	return in.VoucherClaims, err
}

func (p *Channels) claim(c *call) ([]byte, error) {
	vs, err := c.claims()
	if err != nil {
		return nil, err
	}
	return nil, p.cash(c, c.caller, vs)
}

// claimSigned takes claims from anybody who brings the receiver's signature.
func (p *Channels) claimSigned(c *call) ([]byte, error) {
	vs, err := c.claims()
	if err != nil {
		return nil, err
	}
	sig := c.args[1].([]byte)
	if len(vs) == 0 || len(sig) != len(core.Signature{}) {
		return nil, errors.New("give claims and a signature of 65 bytes")
	}
	receiver := core.Address(vs[0].Voucher.Channel.Receiver)
	if err := voucher.VerifyDigest(voucher.ClaimBatchDigest(p.keeper.Domain(), p.entries(vs)), core.Signature(sig), receiver); err != nil {
		return nil, err
	}
	return nil, p.cash(c, receiver, vs)
}

func (p *Channels) cash(c *call, receiver core.Address, vs []voucherClaim) error {
	msg := &payment.MsgClaim{Provider: p.text(receiver)}
	for _, v := range vs {
		if v.TotalClaimed.Sign() == 0 {
			return errors.New("a claim of 0 brings nothing")
		}
		id := v.Voucher.Channel.ours().ID(p.keeper.Domain())
		msg.Claims = append(msg.Claims, payment.Claim{
			Channel: id[:], Amount: integer(v.Voucher.MaxClaimableAmount), Signature: v.Signature, Total: integer(v.TotalClaimed),
		})
	}
	_, err := p.msgs.Claim(c.ctx, msg)
	return err
}

func (p *Channels) entries(vs []voucherClaim) (out []voucher.ClaimEntry) {
	for _, v := range vs {
		out = append(out, voucher.ClaimEntry{
			Channel: v.Voucher.Channel.ours().ID(p.keeper.Domain()), Max: amount(v.Voucher.MaxClaimableAmount), Total: amount(v.TotalClaimed),
		})
	}
	return out
}

func (p *Channels) batchDigest(c *call) ([]byte, error) {
	vs, err := c.claims()
	if err != nil {
		return nil, err
	}
	return c.returns([32]byte(voucher.ClaimBatchDigest(p.keeper.Domain(), p.entries(vs))))
}

// settle has nothing to do: claims are paid at once.
func (p *Channels) settle(*call) ([]byte, error) { return nil, nil }

func (p *Channels) config(c *call) (voucher.ChannelConfig, error) {
	var in struct{ Config channelConfig }
	err := (abi.Arguments{c.method.Inputs[0]}).Copy(&in, c.args[:1])
	return in.Config.ours(), err
}

func (p *Channels) withdraw(c *call) ([]byte, error) {
	conf, err := p.config(c)
	if err != nil {
		return nil, err
	}
	id := conf.ID(p.keeper.Domain())
	ch, err := p.keeper.Channel(c.ctx, id[:])
	if err != nil {
		return nil, err
	}
	if left := ch.Deposit.Sub(ch.Claimed); integer(c.args[1].(*big.Int)).LT(left) {
		return nil, fmt.Errorf("a withdrawal takes all that the channel holds: ask for %s", left)
	}
	_, err = p.msgs.RequestWithdrawal(c.ctx, &payment.MsgRequestWithdrawal{Payer: p.text(c.caller), Channel: id[:]})
	return nil, err
}

func (p *Channels) finalize(c *call) ([]byte, error) {
	conf, err := p.config(c)
	if err != nil {
		return nil, err
	}
	id := conf.ID(p.keeper.Domain())
	_, err = p.msgs.FinalizeWithdrawal(c.ctx, &payment.MsgFinalizeWithdrawal{Payer: p.text(c.caller), Channel: id[:]})
	return nil, err
}

func (p *Channels) refund(c *call) ([]byte, error) {
	conf, err := p.config(c)
	if err != nil {
		return nil, err
	}
	return nil, p.keeper.Refund(c.ctx, c.caller, conf.ID(p.keeper.Domain()), integer(c.args[1].(*big.Int)))
}

func (p *Channels) id(c *call) ([]byte, error) {
	conf, err := p.config(c)
	if err != nil {
		return nil, err
	}
	return c.returns([32]byte(conf.ID(p.keeper.Domain())))
}

// balance is what was ever deposited, less refunds, and what was claimed of it;
// a closed channel holds nothing.
func (p *Channels) balance(c *call) ([]byte, error) {
	ch, known, err := p.channel(c)
	switch {
	case err != nil:
		return nil, err
	case !known:
		return c.returns(new(big.Int), new(big.Int))
	case ch.State == payment.StateClosed:
		return c.returns(ch.Claimed.BigInt(), ch.Claimed.BigInt())
	}
	return c.returns(ch.Deposit.BigInt(), ch.Claimed.BigInt())
}

func (p *Channels) pending(c *call) ([]byte, error) {
	ch, known, err := p.channel(c)
	if err != nil {
		return nil, err
	}
	if !known || ch.State != payment.StateWithdrawing {
		return c.returns(new(big.Int), new(big.Int))
	}
	return c.returns(ch.Deposit.Sub(ch.Claimed).BigInt(), big.NewInt(ch.Withdrawable-int64(ch.WithdrawDelay)))
}

func (p *Channels) channel(c *call) (ch payment.Channel, known bool, err error) {
	id := c.args[0].([32]byte)
	ch, err = p.keeper.Channel(c.ctx, id[:])
	if errors.Is(err, payment.ErrNotFound) {
		return ch, false, nil
	}
	return ch, err == nil, err
}

func (p *Channels) digest(c *call) ([]byte, error) {
	h, err := voucher.VoucherDigest(p.keeper.Domain(), c.args[0].([32]byte), amount(c.args[1].(*big.Int)))
	if err != nil {
		return nil, err
	}
	return c.returns([32]byte(h))
}
