package convert

import (
	"context"
	"io"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// Quantize writes the model in src to path with its matrices in the type to;
// some tensors keep more precision, as typeFor has it. What has its type already
// is copied. It ends with ctx.
func Quantize(ctx context.Context, src *gguf.File, to gguf.Type, path string, progress Progress) error {
	var m gguf.Metadata
	for _, k := range src.Keys() {
		if v, _ := src.Lookup(k); k != "general.alignment" {
			m.Copy(k, v)
		}
	}
	tensors := make([]tensor, len(src.Tensors))
	for i := range src.Tensors {
		t := &src.Tensors[i]
		if _, err := src.Rows(t, 0, 0, nil); err != nil {
			return err // of a type that cannot be read
		}
		tensors[i] = tensor{name: t.Name, stored: t.Type,
			rows: func(dst []float32, first, n int) error {
				b, err := src.Rows(t, first, n, nil)
				if err == nil {
					gguf.Dequantize(t.Type, b, dst)
				}
				return err
			},
			copy: func(w io.Writer) error { return copyRows(w, src, t) }}
		for _, d := range t.Dims {
			tensors[i].dims = append(tensors[i].dims, int(d))
		}
	}
	return writeModel(ctx, path, m, tensors, to, progress)
}

func copyRows(w io.Writer, src *gguf.File, t *gguf.Tensor) error {
	band := max(1, bandValues/t.Cols())
	var buf []byte
	for first := 0; first < t.Rows(); first += band {
		b, err := src.Rows(t, first, min(band, t.Rows()-first), buf)
		if err != nil {
			return err
		}
		if buf = b; len(b) > 0 {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
	}
	return nil
}
