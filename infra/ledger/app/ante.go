package app

import (
	evmante "github.com/cosmos/evm/ante/evm"
	antetypes "github.com/cosmos/evm/ante/types"
	"github.com/cosmos/evm/crypto/ethsecp256k1"
	evmtypes "github.com/cosmos/evm/x/vm/types"

	errorsmod "cosmossdk.io/errors"
	sdkmath "cosmossdk.io/math"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	"github.com/cosmos/cosmos-sdk/x/auth/ante"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
)

const (
	// verifyGas is the price of one eth_secp256k1 signature: a transfer's in the EVM.
	verifyGas = 21_000
	// maxNestedExec bounds authz messages inside authz messages.
	maxNestedExec = 6
)

// anteHandler admits Ethereum transactions, recognised by their extension
// option, and Cosmos transactions, each by its own rules.
func (a *App) anteHandler() sdk.AnteHandler {
	ethereum := "/" + sdk.MsgTypeURL(&evmtypes.ExtensionOptionsEthereumTx{})[1:]
	cosmos := a.cosmosDecorators()
	return func(ctx sdk.Context, tx sdk.Tx, simulate bool) (sdk.Context, error) {
		if t, ok := tx.(ante.HasExtensionOptionsTx); ok {
			if opts := t.GetExtensionOptions(); len(opts) > 0 && opts[0].GetTypeUrl() == ethereum {
				return a.evmAnte(ctx)(ctx, tx, simulate)
			}
		}
		return cosmos(ctx, tx, simulate)
	}
}

func (a *App) evmAnte(ctx sdk.Context) sdk.AnteHandler {
	params, fees := a.EVM.GetParams(ctx), a.FeeMarket.GetParams(ctx)
	return sdk.ChainAnteDecorators(
		evmante.NewEVMMonoDecorator(a.Account, &a.FeeMarket, a.EVM, 0, &params, &fees),
		decorator(func(ctx sdk.Context, tx sdk.Tx, simulate bool) (sdk.Context, error) {
			if ctx.IsCheckTx() && !ctx.IsReCheckTx() && !simulate {
				for _, msg := range tx.GetMsgs() {
					if m, ok := msg.(*evmtypes.MsgEthereumTx); ok {
						a.onPendingTx(m.Hash())
					}
				}
			}
			return ctx, nil
		}),
	)
}

func (a *App) cosmosDecorators() sdk.AnteHandler {
	return sdk.ChainAnteDecorators(
		decorator(rejectEthereumMessages),
		ante.NewSetUpContextDecorator(),
		ante.NewExtensionOptionsDecorator(antetypes.HasDynamicFeeExtensionOption),
		ante.NewValidateBasicDecorator(),
		ante.NewTxTimeoutHeightDecorator(),
		ante.NewValidateMemoDecorator(a.Account),
		decorator(a.requireMinFee),
		ante.NewConsumeGasForTxSizeDecorator(a.Account),
		ante.NewDeductFeeDecorator(a.Account, a.Bank, a.FeeGrant, a.baseFee),
		ante.NewSetPubKeyDecorator(a.Account),
		ante.NewValidateSigCountDecorator(a.Account),
		ante.NewSigGasConsumeDecorator(a.Account, signatureGas),
		newVerifyOnce(a.Account, ante.NewSigVerificationDecorator(a.Account, a.Tx.SignModeHandler())),
		ante.NewIncrementSequenceDecorator(a.Account),
	)
}

// decorator is a check that needs nothing of what follows it.
type decorator func(ctx sdk.Context, tx sdk.Tx, simulate bool) (sdk.Context, error)

func (d decorator) AnteHandle(ctx sdk.Context, tx sdk.Tx, simulate bool, next sdk.AnteHandler) (sdk.Context, error) {
	ctx, err := d(ctx, tx, simulate)
	if err != nil {
		return ctx, err
	}
	return next(ctx, tx, simulate)
}

// rejectEthereumMessages keeps MsgEthereumTx out of Cosmos transactions, in
// the open and inside authz: its fee is taken by the other ante handler only.
func rejectEthereumMessages(ctx sdk.Context, tx sdk.Tx, _ bool) (sdk.Context, error) {
	return ctx, rejectEthereum(tx.GetMsgs(), 0)
}

func rejectEthereum(msgs []sdk.Msg, depth int) error {
	if depth > maxNestedExec {
		return sdkerrors.ErrUnauthorized.Wrapf("more than %d authz messages inside one another", maxNestedExec)
	}
	barred := sdk.MsgTypeURL(&evmtypes.MsgEthereumTx{})
	for _, msg := range msgs {
		switch m := msg.(type) {
		case *evmtypes.MsgEthereumTx:
			return sdkerrors.ErrUnauthorized.Wrap("an Ethereum transaction cannot be a message of a Cosmos transaction; send it with eth_sendRawTransaction")
		case *authz.MsgExec:
			inner, err := m.GetMessages()
			if err != nil {
				return err
			}
			if err := rejectEthereum(inner, depth+1); err != nil {
				return err
			}
		case *authz.MsgGrant:
			grant, err := m.GetAuthorization()
			if err != nil {
				return err
			}
			if grant.MsgTypeURL() == barred {
				return sdkerrors.ErrUnauthorized.Wrap("nobody can be granted the right to send Ethereum transactions")
			}
		}
	}
	return nil
}

// requireMinFee holds Cosmos transactions to the same floor as Ethereum's.
func (a *App) requireMinFee(ctx sdk.Context, tx sdk.Tx, simulate bool) (sdk.Context, error) {
	fee, ok := tx.(sdk.FeeTx)
	if !ok {
		return ctx, sdkerrors.ErrTxDecode.Wrapf("%T carries no fee", tx)
	}
	if simulate || ctx.BlockHeight() == 0 {
		return ctx, nil
	}
	for _, c := range fee.GetFee() {
		if c.Denom != sdk.DefaultBondDenom {
			return ctx, sdkerrors.ErrInvalidCoins.Wrapf("fees are paid in %s, not in %s", sdk.DefaultBondDenom, c.Denom)
		}
	}
	price := a.FeeMarket.GetParams(ctx).MinGasPrice
	floor := price.MulInt(sdkmath.NewIntFromUint64(fee.GetGas())).Ceil().RoundInt()
	if paid := fee.GetFee().AmountOf(sdk.DefaultBondDenom); paid.LT(floor) {
		return ctx, sdkerrors.ErrInsufficientFee.Wrapf("the fee for %d gas is at least %s%s, not %s", fee.GetGas(), floor, sdk.DefaultBondDenom, paid)
	}
	return ctx, nil
}

// baseFee charges EIP-1559 prices to Cosmos transactions too.
func (a *App) baseFee(ctx sdk.Context, tx sdk.Tx) (sdk.Coins, int64, error) {
	params := a.FeeMarket.GetParams(ctx)
	return evmante.NewDynamicFeeChecker(&params)(ctx, tx)
}

// signatureGas charges for one signature. Accounts are eth_secp256k1 keys or
// multisigs of them.
func signatureGas(meter storetypes.GasMeter, sig signing.SignatureV2, params authtypes.Params) error {
	if _, ok := sig.PubKey.(*ethsecp256k1.PubKey); ok {
		meter.ConsumeGas(verifyGas, "verify eth_secp256k1")
		return nil
	}
	return errorsmod.Wrapf(sdkerrors.ErrInvalidPubKey, "accounts of this chain have eth_secp256k1 keys, not %T", sig.PubKey)
}
