package model

import (
	"bytes"
	"context"
	"fmt"
)

// CheckInvariants verifies that names and lineage fit the models.
func (k Keeper) CheckInvariants(ctx context.Context) error {
	return k.models.Walk(ctx, nil, func(id []byte, m Model) (bool, error) {
		named, err := k.names.Get(ctx, fold(m.Name))
		if err != nil || !bytes.Equal(named, id) {
			return true, fmt.Errorf("model: the name %q leads to %x, not to %x (%v)", m.Name, named, id, err)
		}
		if len(m.Parent) == 0 {
			return false, nil
		}
		parent, err := k.Model(ctx, m.Parent)
		if err != nil || parent.Depth+1 != m.Depth {
			return true, fmt.Errorf("model: %q has depth %d under a parent of depth %d (%v)", m.Name, m.Depth, parent.Depth, err)
		}
		return false, nil
	})
}
