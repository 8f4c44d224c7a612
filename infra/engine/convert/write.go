package convert

import (
	"context"
	"io"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// tensor is one of a model that is to be written.
type tensor struct {
	name   string
	dims   []int     // fastest-varying first
	stored gguf.Type // of the source
	rows   source
	copy   func(w io.Writer) error // writes the source's own bytes, where they can stay
}

func (t *tensor) cols() int { return t.dims[0] }

func (t *tensor) height() int {
	n := 1
	for _, d := range t.dims[1:] {
		n *= d
	}
	return n
}

// writeModel writes tensors in the type to, as typeFor has it; metadata describe
// the model but for its types.
func writeModel(ctx context.Context, path string, metadata gguf.Metadata, tensors []tensor, to gguf.Type, progress Progress) error {
	b := gguf.Builder{Metadata: metadata}
	describeType(&b.Metadata, to)
	output := "token_embd.weight"
	for i := range tensors {
		if tensors[i].name == "output.weight" {
			output = "output.weight"
		}
	}
	out := &meter{ctx: ctx, progress: progress}
	for i := range tensors {
		t := &tensors[i]
		kind := typeFor(t.name, t.height(), t.cols(), to, output)
		out.total += int64(kind.RowSize(t.cols())) * int64(t.height())
		err := b.AddFrom(t.name, kind, t.dims, func(w io.Writer) error {
			out.w = w
			if kind == t.stored && t.copy != nil {
				return t.copy(out)
			}
			return encode(out, kind, t.height(), t.cols(), t.rows)
		})
		if err != nil {
			return err
		}
	}
	return b.Create(path)
}

// meter tells the progress of what is written through it and ends with ctx.
type meter struct {
	ctx         context.Context
	w           io.Writer
	progress    Progress
	done, total int64
}

func (m *meter) Write(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.w.Write(p)
	m.done += int64(n)
	if m.progress != nil {
		m.progress(m.done, m.total)
	}
	return n, err
}
