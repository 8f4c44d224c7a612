package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// assembly is a tensor that is made of one or, experts side by side, several
// stored ones.
type assembly struct {
	parts []*stored
	heads int     // whose rows are interleaved; 0: none
	plus  float32 // added to every value
}

// rows is the source of the assembled rows.
func (a *assembly) rows(dst []float32, first, n int) error {
	cols := a.parts[0].cols()
	height := a.height()
	for i := 0; i < n; {
		part, row := (first+i)/height, (first+i)%height
		run := min(n-i, height-row)
		if a.heads > 0 {
			row, run = a.origin(row), 1
		}
		if err := a.parts[part].read(dst[i*cols:(i+run)*cols], row, run); err != nil {
			return err
		}
		i += run
	}
	if a.plus != 0 {
		for i := range dst {
			dst[i] += a.plus
		}
	}
	return nil
}

// height is the number of rows of each part.
func (a *assembly) height() int {
	n := 1
	for _, d := range a.parts[0].shape[:len(a.parts[0].shape)-1] {
		n *= d
	}
	return n
}

// origin is the stored row that comes to a row: the stored heads rotate their
// halves, (i, i+d/2), and the engine's Llama neighbours, (2i, 2i+1).
func (a *assembly) origin(row int) int {
	d := a.height() / a.heads
	head, i := row/d, row%d
	return head*d + i%2*(d/2) + i/2
}

// assemble finds the place of every stored tensor, in the order in which they
// are written.
func (c *modelConfig) assemble(files *weightFiles) ([]tensor, error) {
	found := map[string]*assembly{}
	for _, from := range sortedKeys(files.tensors) {
		name, expert, err := c.layout.place(from)
		if err != nil {
			return nil, err
		}
		if name == "" || name == "output.weight" && c.tied() {
			continue
		}
		if _, err := files.tensors[from].kind(); err != nil {
			return nil, err
		}
		parts := 1
		if expert >= 0 {
			parts = c.experts()
		}
		if found[name] == nil {
			found[name] = &assembly{parts: make([]*stored, parts)}
		}
		if expert >= parts {
			return nil, fmt.Errorf("the tensor %.80q is of expert %d and there are %d", from, expert, parts)
		}
		at := &found[name].parts[max(0, expert)]
		if *at != nil {
			return nil, fmt.Errorf("%.80q and %.80q come to one place in %s", (*at).name, from, name)
		}
		*at = files.tensors[from]
	}
	names := sortedKeys(found)
	slices.SortFunc(names, byLayer)
	tensors := make([]tensor, 0, len(names))
	for _, name := range names {
		t, err := c.tensor(name, found[name])
		if err != nil {
			return nil, err
		}
		tensors = append(tensors, t)
	}
	return tensors, nil
}

// tensor describes what is written of an assembly.
func (c *modelConfig) tensor(name string, a *assembly) (tensor, error) {
	t := tensor{name: name}
	for i, s := range a.parts {
		if s == nil {
			return t, fmt.Errorf("%s lacks expert %d", name, i)
		}
		if len(s.shape) == 0 || !slices.Equal(s.shape, a.parts[0].shape) {
			return t, fmt.Errorf("%s has the shapes %v and %v", name, a.parts[0].shape, s.shape)
		}
	}
	t.stored, _ = a.parts[0].kind()
	if c.layout.normsFromOne && strings.HasSuffix(name, "norm.weight") {
		a.plus = 1
	}
	if c.layout.interleaved {
		a.heads = c.headsOf(name)
	}
	shape := slices.Clone(a.parts[0].shape)
	if a.heads > 0 && shape[0]%(2*a.heads) != 0 {
		return t, fmt.Errorf("%s has %d rows for %d heads", name, shape[0], a.heads)
	}
	if len(shape) == 2 && shape[0] == 1 && strings.HasSuffix(name, "_shexp.weight") {
		shape = shape[1:]
	}
	slices.Reverse(shape)
	t.dims = shape
	if strings.HasSuffix(name, "_exps.weight") {
		t.dims = append(t.dims, len(a.parts))
	}
	t.rows = a.rows
	if s := *a.parts[0]; len(s.shape) == 1 { // one row for the writer, one row a value for the assembly
		s.shape = []int{shape[0], 1}
		a.parts = []*stored{&s}
		t.rows = func(dst []float32, _, _ int) error { return a.rows(dst, 0, len(dst)) }
	}
	return t, nil
}

// headsOf is how many heads' rows a tensor holds that rotations apply to, or 0.
func (c *modelConfig) headsOf(name string) int {
	switch {
	case strings.Contains(name, ".attn_q."):
		return c.Heads
	case strings.Contains(name, ".attn_k."):
		return c.kvHeads()
	}
	return 0
}

// byLayer orders names by layer, what belongs to none first.
func byLayer(a, b string) int {
	layer := func(name string) (n int) {
		if _, err := fmt.Sscanf(name, "blk.%d.", &n); err != nil {
			return -1
		}
		return n
	}
	if d := layer(a) - layer(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// floats is a tensor of values at hand.
func floats(name string, values []float32) tensor {
	return tensor{name: name, dims: []int{len(values)}, stored: gguf.F32, rows: func(dst []float32, _, _ int) error {
		copy(dst, values)
		return nil
	}}
}
