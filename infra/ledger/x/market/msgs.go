package market

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

type msgServer struct{ Keeper }

// NewMsgServer serves the module's messages.
func NewMsgServer(k Keeper) MsgServer { return msgServer{k} }

func (s msgServer) Register(goCtx context.Context, msg *MsgRegister) (*MsgRegisterResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, err := s.account(msg.Provider)
	if err != nil {
		return nil, err
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkProfile(p, msg.Moniker, msg.Hardware, msg.Addrs); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	if !positive(msg.Bond) || msg.Bond.LT(p.MinBond) {
		return nil, ErrBond.Wrapf("have %s, want at least %s%s", msg.Bond, p.MinBond, core.BaseDenom)
	}
	if known, err := s.providers.Has(ctx, a); err != nil {
		return nil, err
	} else if known {
		return nil, ErrRegistered.Wrap(msg.Provider)
	}
	if err := s.bindPeer(ctx, a, msg.PeerId, msg.PeerSignature); err != nil {
		return nil, err
	}
	if err := s.bank.SendCoinsFromAccountToModule(ctx, a, ModuleName, coins(msg.Bond)); err != nil {
		return nil, ErrFunds.Wrap(err.Error())
	}
	err = s.providers.Set(ctx, a, Provider{
		Address: s.canonical(a), Moniker: msg.Moniker, PeerId: msg.PeerId, Addrs: msg.Addrs, Hardware: msg.Hardware,
		Bond: msg.Bond, Registered: ctx.BlockTime().Unix(),
	})
	if err != nil {
		return nil, err
	}
	return &MsgRegisterResponse{}, ctx.EventManager().EmitTypedEvents(
		&EventRegistered{Provider: s.canonical(a), Moniker: msg.Moniker, PeerId: msg.PeerId},
		&EventBondChanged{Provider: s.canonical(a), Bond: msg.Bond.String()},
	)
}

// bindPeer checks that the peer's own key signed the binding to the account
// and that no other account has it.
func (s msgServer) bindPeer(ctx sdk.Context, a sdk.AccAddress, id string, signature []byte) error {
	ctx.GasMeter().ConsumeGas(peerGas, "peer signature")
	key, err := PeerKey(id)
	if err != nil {
		return ErrPeer.Wrap(err.Error())
	}
	if len(signature) != ed25519.SignatureSize || !ed25519.Verify(key, core.PeerBinding(ctx.ChainID(), core.Address(a)), signature) {
		return ErrPeer.Wrap("the peer's key did not sign the binding to this account on this chain")
	}
	owner, err := s.peers.Get(ctx, id)
	if err == nil && !bytes.Equal(owner, a) {
		return ErrPeerTaken.Wrap(id)
	}
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	return s.peers.Set(ctx, id, a)
}

func (s msgServer) Update(goCtx context.Context, msg *MsgUpdate) (*MsgUpdateResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, v, p, err := s.own(ctx, msg.Provider)
	if err != nil {
		return nil, err
	}
	if err := checkProfile(p, msg.Moniker, msg.Hardware, msg.Addrs); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	if msg.PeerId != v.PeerId {
		if err := s.bindPeer(ctx, a, msg.PeerId, msg.PeerSignature); err != nil {
			return nil, err
		}
		if err := s.peers.Remove(ctx, v.PeerId); err != nil {
			return nil, err
		}
	}
	v.Moniker, v.PeerId, v.Addrs, v.Hardware = msg.Moniker, msg.PeerId, msg.Addrs, msg.Hardware
	if err := s.providers.Set(ctx, a, v); err != nil {
		return nil, err
	}
	return &MsgUpdateResponse{}, ctx.EventManager().EmitTypedEvent(
		&EventRegistered{Provider: s.canonical(a), Moniker: msg.Moniker, PeerId: msg.PeerId})
}

// own returns the sender's registration.
func (s msgServer) own(ctx context.Context, sender string) (sdk.AccAddress, Provider, Params, error) {
	a, err := s.account(sender)
	if err != nil {
		return nil, Provider{}, Params{}, err
	}
	v, err := s.Provider(ctx, a)
	if err != nil {
		return nil, Provider{}, Params{}, err
	}
	p, err := s.params.Get(ctx)
	return a, v, p, err
}

func (s msgServer) PostOffers(goCtx context.Context, msg *MsgPostOffers) (*MsgPostOffersResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, v, p, err := s.own(ctx, msg.Provider)
	if err != nil {
		return nil, err
	}
	if v.Jailed {
		return nil, ErrJailed.Wrap(msg.Provider)
	}
	if v.Bond.LT(p.MinBond) {
		return nil, ErrBond.Wrapf("have %s, want at least %s%s", v.Bond, p.MinBond, core.BaseDenom)
	}
	if err := s.checkOffers(ctx, p, msg.Offers); err != nil {
		return nil, err
	}
	if len(msg.Offers) == 0 {
		err = s.offers.Remove(ctx, a)
	} else {
		err = s.offers.Set(ctx, a, Offers{Offers: msg.Offers})
	}
	if err != nil {
		return nil, err
	}
	event := &EventOffersPosted{Provider: v.Address}
	for _, o := range msg.Offers {
		event.Models = append(event.Models, hex.EncodeToString(o.Model))
	}
	return &MsgPostOffersResponse{}, ctx.EventManager().EmitTypedEvent(event)
}

func (k Keeper) checkOffers(ctx context.Context, p Params, offers []Offer) error {
	if len(offers) > int(p.MaxOffers) {
		return ErrInvalid.Wrapf("%d offers, at most %d are allowed", len(offers), p.MaxOffers)
	}
	seen := make(map[string]bool, len(offers))
	for i, o := range offers {
		if err := checkOffer(o); err != nil {
			return ErrInvalid.Wrapf("offer %d: %v", i, err)
		}
		if seen[string(o.Model)] {
			return ErrInvalid.Wrapf("offer %d: model %x is offered twice", i, o.Model)
		}
		seen[string(o.Model)] = true
		if known, err := k.models.Has(ctx, o.Model); err != nil {
			return err
		} else if !known {
			return ErrModel.Wrapf("offer %d: %x", i, o.Model)
		}
	}
	return nil
}

func (s msgServer) AddBond(goCtx context.Context, msg *MsgAddBond) (*MsgAddBondResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, v, _, err := s.own(ctx, msg.Provider)
	if err != nil {
		return nil, err
	}
	if !positive(msg.Amount) {
		return nil, ErrInvalid.Wrap("the amount must be positive")
	}
	if err := s.bank.SendCoinsFromAccountToModule(ctx, a, ModuleName, coins(msg.Amount)); err != nil {
		return nil, ErrFunds.Wrap(err.Error())
	}
	return &MsgAddBondResponse{}, s.setBond(ctx, a, v, v.Bond.Add(msg.Amount))
}

func (k Keeper) setBond(ctx sdk.Context, a sdk.AccAddress, v Provider, bond math.Int) error {
	v.Bond = bond
	if err := k.providers.Set(ctx, a, v); err != nil {
		return err
	}
	return ctx.EventManager().EmitTypedEvent(&EventBondChanged{Provider: v.Address, Bond: bond.String()})
}

func (s msgServer) Unbond(goCtx context.Context, msg *MsgUnbond) (*MsgUnbondResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, v, p, err := s.own(ctx, msg.Provider)
	if err != nil {
		return nil, err
	}
	if !positive(msg.Amount) || msg.Amount.GT(v.Bond) {
		return nil, ErrInvalid.Wrapf("the amount must lie in [1, %s]", v.Bond)
	}
	if n, err := s.countPending(ctx, a); err != nil {
		return nil, err
	} else if n >= int(p.MaxUnbondings) {
		return nil, ErrUnbondings.Wrapf("%d are pending", n)
	}
	id, err := s.next.Next(ctx)
	if err != nil {
		return nil, err
	}
	u := Unbonding{Id: id, Provider: v.Address, Amount: msg.Amount, Completes: ctx.BlockTime().Unix() + int64(p.UnbondDelay)}
	if err := s.enqueue(ctx, a, u); err != nil {
		return nil, err
	}
	rest := v.Bond.Sub(msg.Amount)
	if rest.LT(p.MinBond) {
		if err := s.offers.Remove(ctx, a); err != nil {
			return nil, err
		}
	}
	return &MsgUnbondResponse{Completes: u.Completes}, s.setBond(ctx, a, v, rest)
}

func (s msgServer) UpdateParams(ctx context.Context, msg *MsgUpdateParams) (*MsgUpdateParamsResponse, error) {
	if msg.Authority != s.authority {
		return nil, ErrAuthority.Wrap(msg.Authority)
	}
	if err := msg.Params.Validate(); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	return &MsgUpdateParamsResponse{}, s.params.Set(ctx, msg.Params)
}
