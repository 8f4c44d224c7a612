package verify

import (
	"context"
	"encoding/hex"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// admissionGas is the price of reading one byte of an admission.
const admissionGas = 2

func (s msgServer) AdmitModel(goCtx context.Context, msg *MsgAdmitModel) (*MsgAdmitModelResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	if _, err := s.account(msg.Sender); err != nil {
		return nil, err
	}
	a := Admitted{Model: msg.Model, Admission: msg.Admission}
	if _, err := a.load(ctx); err != nil {
		return nil, err
	}
	if known, err := s.models.Has(ctx, msg.Model); err != nil || known {
		return &MsgAdmitModelResponse{}, err // it cannot differ: the root binds it
	}
	if err := s.models.Set(ctx, msg.Model, a); err != nil {
		return nil, err
	}
	return &MsgAdmitModelResponse{}, ctx.EventManager().EmitTypedEvent(&EventAdmitted{Model: hex.EncodeToString(msg.Model)})
}

// load checks an admission against the model's root and reads its shape.
func (a *Admitted) load(ctx sdk.Context) (*referee.Model, error) {
	ctx.GasMeter().ConsumeGas(uint64(len(a.Admission))*admissionGas, "model's shape")
	if len(a.Model) != 32 {
		return nil, ErrModel.Wrap("a model's id has 32 bytes")
	}
	var v referee.Admission
	if err := referee.Decode(a.Admission, &v); err != nil {
		return nil, ErrModel.Wrap(err.Error())
	}
	m, err := referee.Admit(core.Hash(a.Model), v)
	if err != nil {
		return nil, ErrModel.Wrap(err.Error())
	}
	return m, nil
}

// Judged reports whether a model was admitted.
func (k Keeper) Judged(ctx context.Context, id []byte) (bool, error) { return k.models.Has(ctx, id) }

func (k Keeper) model(ctx sdk.Context, id []byte) (*referee.Model, error) {
	a, err := k.models.Get(ctx, id)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, ErrModel.Wrapf("%x is not admitted; admit it first", id)
	}
	if err != nil {
		return nil, err
	}
	return a.load(ctx)
}
