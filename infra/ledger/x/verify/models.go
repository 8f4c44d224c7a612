package verify

import (
	"context"
	"encoding/hex"
	"sync"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

const (
	// admissionGas is the price of reading one byte of an admission.
	admissionGas = 2
	// shapeGas is the price of an admitted model's shape.
	shapeGas = 20_000
)

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
	ctx.GasMeter().ConsumeGas(uint64(len(a.Admission))*admissionGas, "reading a model's shape")
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

// model returns an admitted model's shape. The price is the same whether or not
// this process has read it before: validators must agree on it.
func (k Keeper) model(ctx sdk.Context, id []byte) (*referee.Model, error) {
	ctx.GasMeter().ConsumeGas(shapeGas, "a model's shape")
	ctx = ctx.WithGasMeter(storetypes.NewInfiniteGasMeter())
	if known, err := k.models.Has(ctx, id); err != nil {
		return nil, err
	} else if !known {
		return nil, ErrModel.Wrapf("%x is not admitted; admit it first", id)
	}
	return k.shapes.get(core.Hash(id), func() (*referee.Model, error) {
		a, err := k.models.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		return a.load(ctx)
	})
}

// shapes remembers models' shapes that this process has read. A shape is a
// function of the model's id alone, which binds the admission, so that nothing
// depends on what is remembered but the time it takes.
type shapes struct {
	mu    sync.Mutex
	known map[core.Hash]*referee.Model
}

// maxShapes bounds the shapes that are remembered.
const maxShapes = 32

func newShapes() *shapes { return &shapes{known: map[core.Hash]*referee.Model{}} }

func (s *shapes) get(id core.Hash, read func() (*referee.Model, error)) (*referee.Model, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.known[id]; m != nil {
		return m, nil
	}
	m, err := read()
	if err != nil {
		return nil, err
	}
	if len(s.known) >= maxShapes {
		clear(s.known)
	}
	s.known[id] = m
	return m, nil
}
