package convert

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

func keysOf(t *testing.T, kind string, change map[string]any) (gguf.Metadata, []tensor) {
	t.Helper()
	f := modelFolder(kind)
	for k, v := range change {
		f.config[k] = v
	}
	b, err := json.Marshal(f.config)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseModelConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	var m gguf.Metadata
	tensors, err := c.metadata(&m)
	if err != nil {
		t.Fatal(err)
	}
	return m, tensors
}

func (t *tensor) values(tt *testing.T) []float32 {
	tt.Helper()
	out := make([]float32, t.dims[0])
	if err := t.rows(out, 0, 1); err != nil {
		tt.Fatal(err)
	}
	return out
}

// TestLlama3Positions compares the factors with Llama 3.1's own rule, evaluated
// with the platform's functions.
func TestLlama3Positions(t *testing.T) {
	_, tensors := keysOf(t, "llama", map[string]any{"head_dim": 128, "rope_theta": 500000.0, "rope_scaling": map[string]any{"rope_type": "llama3",
		"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}})
	if len(tensors) != 1 || tensors[0].name != "rope_freqs.weight" {
		t.Fatalf("%v", tensors)
	}
	mixed := 0
	for i, got := range tensors[0].values(t) {
		length := 2 * math.Pi * math.Pow(500000, float64(2*i)/128)
		want := 1.0
		if length > 8192 {
			want = 8
		} else if length > 8192/4 {
			smooth := (8192/length - 1) / 3
			want = 1 / ((1-smooth)/8 + smooth)
			mixed++
		}
		if math.Abs(float64(got)/want-1) > 1e-6 {
			t.Errorf("pair %d: %v, want %v", i, got, want)
		}
	}
	if mixed == 0 {
		t.Error("no pair lies between")
	}
}

func TestScaledPositions(t *testing.T) {
	m, _ := keysOf(t, "qwen3", map[string]any{"rope_scaling": map[string]any{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}})
	kind, _ := m.Text("qwen3.rope.scaling.type")
	factor, _ := m.Float("qwen3.rope.scaling.factor")
	original, _ := m.Int("qwen3.rope.scaling.original_context_length")
	if kind != "yarn" || factor != 4 || original != 64 {
		t.Errorf("YaRN: %q %v %d", kind, factor, original)
	}
	long, short := make([]float32, dim/2), make([]float32, dim/2)
	for i := range long {
		long[i], short[i] = float32(i+2), float32(i+1)
	}
	m, tensors := keysOf(t, "phi3", map[string]any{"original_max_position_embeddings": 64, "rope_scaling": map[string]any{"type": "longrope",
		"long_factor": long, "short_factor": short}})
	magnitude, _ := m.Float("phi3.rope.scaling.attn_factor")
	if want := math.Sqrt(1 + math.Log(4)/math.Log(64)); math.Abs(magnitude-want) > 1e-6 {
		t.Errorf("LongRoPE's magnitude is %v, want %v", magnitude, want)
	}
	if len(tensors) != 2 || tensors[0].values(t)[0] != 2 || tensors[1].values(t)[0] != 1 {
		t.Errorf("LongRoPE's factors: %v", tensors)
	}
	// As newer versions of the library write it, by type of layer.
	m, _ = keysOf(t, "gemma3_text", map[string]any{"rope_theta": nil, "rope_parameters": map[string]any{
		"full_attention":    map[string]any{"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
		"sliding_attention": map[string]any{"rope_theta": 20000.0, "rope_type": "default"}}})
	base, _ := m.Float("gemma3.rope.freq_base")
	local, _ := m.Float("gemma3.rope.freq_base_swa")
	factor, _ = m.Float("gemma3.rope.scaling.factor")
	if base != 1e6 || local != 20000 || factor != 8 {
		t.Errorf("Gemma 3: %v %v %v", base, local, factor)
	}
}

func TestWindowsAndScales(t *testing.T) {
	m, _ := keysOf(t, "gemma2", map[string]any{"query_pre_attn_scalar": 144, "sliding_window": 4096, "layer_types": []string{"sliding_attention", "full_attention"}})
	scale, _ := m.Float("gemma2.attention.scale")
	local, err := m.Bools("gemma2.attention.sliding_window_pattern")
	if float32(scale) != float32(1.0/12) || err != nil || !local[0] || local[1] {
		t.Errorf("scale %v, windows %v", scale, local)
	}
	m, _ = keysOf(t, "mistral", map[string]any{"sliding_window": nil})
	if m.Has("llama.attention.sliding_window") {
		t.Error("a window where there is none")
	}
	m, _ = keysOf(t, "qwen2", map[string]any{"sliding_window": 4096, "use_sliding_window": false})
	if m.Has("qwen2.attention.sliding_window") {
		t.Error("a window that is switched off")
	}
}
