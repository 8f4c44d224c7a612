package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

const maxConfig = 4 << 20

// modelConfig is config.json.
type modelConfig struct {
	layout layout

	ModelType       string  `json:"model_type"`
	Layers          int     `json:"num_hidden_layers"`
	Hidden          int     `json:"hidden_size"`
	Intermediate    int     `json:"intermediate_size"`
	Heads           int     `json:"num_attention_heads"`
	KVHeads         int     `json:"num_key_value_heads"`
	HeadDim         int     `json:"head_dim"`
	Positions       int     `json:"max_position_embeddings"`
	Vocabulary      int     `json:"vocab_size"`
	Epsilon         float64 `json:"rms_norm_eps"`
	Activation      string  `json:"hidden_act"`
	GemmaActivation string  `json:"hidden_activation"`
	Tied            *bool   `json:"tie_word_embeddings"`

	RopeTheta        float64         `json:"rope_theta"`
	RopeScaling      json.RawMessage `json:"rope_scaling"`
	RopeParameters   json.RawMessage `json:"rope_parameters"`
	LocalTheta       float64         `json:"rope_local_base_freq"`
	Rotary           float64         `json:"partial_rotary_factor"`
	OriginalContext  int             `json:"original_max_position_embeddings"`
	Window           int             `json:"sliding_window"`
	UseWindow        *bool           `json:"use_sliding_window"`
	WindowPattern    int             `json:"sliding_window_pattern"`
	LayerTypes       []string        `json:"layer_types"`
	QueryScalar      float64         `json:"query_pre_attn_scalar"`
	AttentionCap     float64         `json:"attn_logit_softcapping"`
	LogitCap         float64         `json:"final_logit_softcapping"`
	Bidirectional    bool            `json:"use_bidirectional_attention"`
	LocalExperts     int             `json:"num_local_experts"`
	RoutedExperts    int             `json:"num_experts"`
	ExpertsPerToken  int             `json:"num_experts_per_tok"`
	ExpertHidden     int             `json:"moe_intermediate_size"`
	SharedHidden     int             `json:"shared_expert_intermediate_size"`
	NormalisedExpert *bool           `json:"norm_topk_prob"`
	SparseStep       int             `json:"decoder_sparse_step"`
	DenseLayers      []int           `json:"mlp_only_layers"`
	BOS              tokenIDs        `json:"bos_token_id"`
	EOS              tokenIDs        `json:"eos_token_id"`
	Quantization     json.RawMessage `json:"quantization_config"`
	Text             json.RawMessage `json:"text_config"`
}

// gemma3Text are the values that text_config of Gemma 3 leaves out where they
// are these.
func gemma3Text() modelConfig {
	return modelConfig{Layers: 26, Hidden: 2304, Intermediate: 9216, Heads: 8, KVHeads: 4, HeadDim: 256, Positions: 131072, Vocabulary: 262208,
		Epsilon: 1e-6, RopeTheta: 1e6, LocalTheta: 10000, Window: 4096, QueryScalar: 256, GemmaActivation: "gelu_pytorch_tanh"}
}

// inner replaces a multimodal model's configuration by that of its text model.
func (c *modelConfig) inner() error {
	text := gemma3Text()
	if err := json.Unmarshal(c.Text, &text); err != nil {
		return fmt.Errorf("config.json: text_config: %w", err)
	}
	if text.ModelType != "" && text.ModelType != "gemma3_text" {
		return fmt.Errorf("config.json: a text_config of the type %.40q", text.ModelType)
	}
	text.layout, text.ModelType, text.Quantization = c.layout, c.ModelType, c.Quantization
	if len(text.BOS) == 0 {
		text.BOS = c.BOS
	}
	if len(c.EOS) > 0 {
		text.EOS = c.EOS
	}
	*c = text
	return nil
}

// tokenIDs are one id or several; -1 and null are none.
type tokenIDs []int

func (t *tokenIDs) UnmarshalJSON(b []byte) error {
	var one int
	if string(b) == "null" {
		return nil
	}
	if json.Unmarshal(b, &one) == nil {
		*t = tokenIDs{one}
		return nil
	}
	return json.Unmarshal(b, (*[]int)(t))
}

// rope is one set of position parameters, from rope_scaling or rope_parameters.
type rope struct {
	Theta           float64   `json:"rope_theta"`
	Kind            string    `json:"rope_type"`
	OldKind         string    `json:"type"`
	Factor          float64   `json:"factor"`
	LowFactor       float64   `json:"low_freq_factor"`
	HighFactor      float64   `json:"high_freq_factor"`
	OriginalContext int       `json:"original_max_position_embeddings"`
	BetaFast        float64   `json:"beta_fast"`
	BetaSlow        float64   `json:"beta_slow"`
	AttentionFactor float64   `json:"attention_factor"`
	Scale           float64   `json:"mscale"`
	ScaleAll        float64   `json:"mscale_all_dim"`
	Truncate        *bool     `json:"truncate"`
	Long            []float32 `json:"long_factor"`
	Short           []float32 `json:"short_factor"`
}

func readModelConfig(dir string) (*modelConfig, error) {
	b, err := readLimited(filepath.Join(dir, "config.json"), maxConfig)
	if err != nil {
		return nil, err
	}
	return parseModelConfig(b)
}

func parseModelConfig(b []byte) (*modelConfig, error) {
	c := &modelConfig{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	var ok bool
	if c.layout, ok = layouts[c.ModelType]; !ok {
		return nil, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("models of the type %.40q are not imported", c.ModelType),
			Next: "import one of " + strings.Join(ModelTypes(), ", ")}
	}
	if c.layout.multimodal {
		if err := c.inner(); err != nil {
			return nil, err
		}
	}
	if len(c.Quantization) > 0 && string(c.Quantization) != "null" {
		return nil, errors.New("config.json has a quantization_config: import the model in F32, F16 or BF16")
	}
	for name, n := range map[string]int{"num_hidden_layers": c.Layers, "hidden_size": c.Hidden, "num_attention_heads": c.Heads, "max_position_embeddings": c.Positions} {
		if n < 1 || n > 1<<30 {
			return nil, fmt.Errorf("config.json: %s is %d", name, n)
		}
	}
	for name, n := range map[string]int{"num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim, "intermediate_size": c.Intermediate, "sliding_window": c.Window,
		"sliding_window_pattern": c.WindowPattern, "num_experts": c.experts(), "num_experts_per_tok": c.ExpertsPerToken, "moe_intermediate_size": c.ExpertHidden,
		"shared_expert_intermediate_size": c.SharedHidden, "original_max_position_embeddings": c.OriginalContext} {
		if n < 0 || n > 1<<24 {
			return nil, fmt.Errorf("config.json: %s is %d", name, n)
		}
	}
	if c.Layers > 1<<12 || c.experts() > 1<<12 {
		return nil, fmt.Errorf("config.json: %d layers with %d experts", c.Layers, c.experts())
	}
	return c, c.refuseVariants()
}

// refuseVariants refuses what the architecture in the GGUF file would not say.
func (c *modelConfig) refuseVariants() error {
	activation := c.Activation
	if c.GemmaActivation != "" {
		activation = c.GemmaActivation
	}
	if activation != "" && !slices.Contains(c.layout.activations, activation) {
		return fmt.Errorf("the activation %.40q is not supported in %s", activation, c.ModelType)
	}
	if !c.layout.windowed && c.UseWindow != nil && *c.UseWindow {
		return fmt.Errorf("use_sliding_window is not supported in %s", c.ModelType)
	}
	if c.Bidirectional {
		return errors.New("attention that is not causal is not supported")
	}
	if c.experts() > 0 && (c.SparseStep > 1 || len(c.DenseLayers) > 0) {
		return errors.New("models with experts in some layers only are not supported")
	}
	return nil
}

func (c *modelConfig) experts() int { return max(c.LocalExperts, c.RoutedExperts) }

func (c *modelConfig) kvHeads() int {
	if c.KVHeads == 0 {
		return c.Heads
	}
	return c.KVHeads
}

// headDim falls back to what each family's own code does.
func (c *modelConfig) headDim() int {
	switch {
	case c.HeadDim > 0:
		return c.HeadDim
	case strings.HasPrefix(c.layout.architecture, "gemma"):
		return 256
	case strings.HasPrefix(c.layout.architecture, "qwen3"):
		return 128
	}
	return c.Hidden / c.Heads
}

// tied says whether the embedding serves as output matrix.
func (c *modelConfig) tied() bool {
	if c.Tied != nil {
		return *c.Tied
	}
	return strings.HasPrefix(c.layout.architecture, "gemma")
}

// metadata sets the keys of the architecture and returns the tensors of position
// factors that the file needs.
func (c *modelConfig) metadata(m *gguf.Metadata) ([]tensor, error) {
	arch := c.layout.architecture
	set := func(name string, v any) { m.Set(arch+"."+name, v) }
	count := func(name string, n int) {
		if n > 0 {
			set(name, uint32(n))
		}
	}
	m.Set("general.architecture", arch)
	count("block_count", c.Layers)
	count("embedding_length", c.Hidden)
	count("context_length", c.Positions)
	count("attention.head_count", c.Heads)
	count("attention.head_count_kv", c.kvHeads())
	count("attention.key_length", c.headDim())
	count("attention.value_length", c.headDim())
	epsilon := c.Epsilon
	if epsilon == 0 {
		epsilon = 1e-6
	}
	set("attention.layer_norm_rms_epsilon", float32(epsilon))
	hidden := c.Intermediate
	if hidden == 0 {
		hidden = c.ExpertHidden
	}
	count("feed_forward_length", hidden)
	count("expert_count", c.experts())
	if c.experts() > 0 {
		c.expertKeys(set, count)
	}
	if c.layout.windowed {
		if err := c.windowKeys(set, count); err != nil {
			return nil, err
		}
	}
	if c.AttentionCap > 0 {
		set("attn_logit_softcapping", float32(c.AttentionCap))
	}
	if c.LogitCap > 0 {
		set("final_logit_softcapping", float32(c.LogitCap))
	}
	if c.QueryScalar > 0 && strings.HasPrefix(arch, "gemma") {
		set("attention.scale", 1/spec.Sqrt(float32(c.QueryScalar)))
	}
	return c.positionKeys(set, count)
}

func (c *modelConfig) expertKeys(set func(string, any), count func(string, int)) {
	count("expert_used_count", c.ExpertsPerToken)
	count("expert_feed_forward_length", c.ExpertHidden)
	count("expert_shared_feed_forward_length", c.SharedHidden)
	if c.NormalisedExpert != nil {
		set("expert_weights_norm", *c.NormalisedExpert)
	} else if strings.HasPrefix(c.ModelType, "qwen") {
		set("expert_weights_norm", false)
	}
}

func (c *modelConfig) windowKeys(set func(string, any), count func(string, int)) error {
	if c.UseWindow != nil && !*c.UseWindow {
		return nil
	}
	count("attention.sliding_window", c.Window)
	if len(c.LayerTypes) == 0 {
		count("attention.sliding_window_pattern", c.WindowPattern)
		return nil
	}
	if len(c.LayerTypes) != c.Layers {
		return fmt.Errorf("config.json: %d layer_types for %d layers", len(c.LayerTypes), c.Layers)
	}
	local := make([]bool, c.Layers)
	for i, kind := range c.LayerTypes {
		switch kind {
		case "full_attention":
		case "sliding_attention":
			local[i] = true
		default:
			return fmt.Errorf("config.json: layers of the type %.40q are not supported", kind)
		}
	}
	set("attention.sliding_window_pattern", local)
	return nil
}

// positionKeys sets the keys of positions.
func (c *modelConfig) positionKeys(set func(string, any), count func(string, int)) ([]tensor, error) {
	global, local, err := c.ropes()
	if err != nil {
		return nil, err
	}
	if global.Theta > 0 {
		set("rope.freq_base", float32(global.Theta))
	}
	if local.Theta > 0 {
		set("rope.freq_base_swa", float32(local.Theta))
	}
	dim := c.headDim()
	if c.Rotary > 0 {
		dim = int(c.Rotary * float64(dim))
	}
	count("rope.dimension_count", dim)
	original := max(global.OriginalContext, c.OriginalContext)
	switch global.Kind {
	case "", "default":
	case "linear":
		set("rope.scaling.type", "linear")
		set("rope.scaling.factor", float32(global.Factor))
	case "llama3":
		return global.llama3(dim)
	case "yarn":
		return nil, c.yarn(global, set, count)
	case "longrope", "su":
		if len(global.Long) != dim/2 || len(global.Short) != dim/2 || original == 0 {
			return nil, fmt.Errorf("config.json: LongRoPE with %d and %d factors for %d pairs", len(global.Long), len(global.Short), dim/2)
		}
		set("rope.scaling.type", "longrope")
		count("rope.scaling.original_context_length", original)
		magnitude := global.AttentionFactor
		if scale := float64(c.Positions) / float64(original); magnitude == 0 && scale > 1 {
			magnitude = math.Sqrt(1 + float64(spec.Log(float32(scale)))/float64(spec.Log(float32(original))))
		}
		if magnitude > 0 {
			set("rope.scaling.attn_factor", float32(magnitude))
		}
		return []tensor{floats("rope_factors_long.weight", global.Long), floats("rope_factors_short.weight", global.Short)}, nil
	default:
		return nil, fmt.Errorf("config.json: the position scaling %.40q is not supported", global.Kind)
	}
	return nil, nil
}

func (c *modelConfig) yarn(r rope, set func(string, any), count func(string, int)) error {
	if r.Truncate != nil && !*r.Truncate || r.Scale != 0 || r.ScaleAll != 0 {
		return errors.New("config.json: YaRN with truncate = false, mscale or mscale_all_dim is not supported")
	}
	original := r.OriginalContext
	if original == 0 {
		original = c.Positions
	}
	set("rope.scaling.type", "yarn")
	set("rope.scaling.factor", float32(r.Factor))
	count("rope.scaling.original_context_length", original)
	if r.BetaFast > 0 {
		set("rope.scaling.yarn_beta_fast", float32(r.BetaFast))
	}
	if r.BetaSlow > 0 {
		set("rope.scaling.yarn_beta_slow", float32(r.BetaSlow))
	}
	if r.AttentionFactor > 0 { // it replaces the factor that YaRN itself would give
		set("rope.scaling.attn_factor", float32(r.AttentionFactor/(1+float64(0.1*float64(spec.Log(float32(r.Factor)))))))
	}
	return nil
}

// ropes returns the position parameters of all layers, and of layers with a
// window where these have their own.
func (c *modelConfig) ropes() (global, local rope, err error) {
	raw := c.RopeScaling
	if len(c.RopeParameters) > 0 && string(c.RopeParameters) != "null" {
		raw = c.RopeParameters
		var byType map[string]json.RawMessage
		if json.Unmarshal(raw, &byType) == nil && byType["full_attention"] != nil {
			raw = byType["full_attention"]
			if err := json.Unmarshal(byType["sliding_attention"], &local); err != nil {
				return global, local, fmt.Errorf("config.json: rope_parameters: %w", err)
			}
		}
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &global); err != nil {
			return global, local, fmt.Errorf("config.json: rope_scaling: %w", err)
		}
	}
	if global.Kind == "" {
		global.Kind = global.OldKind
	}
	if global.Theta == 0 {
		global.Theta = c.RopeTheta
	}
	if c.layout.architecture == "gemma3" {
		if global.Theta == 0 {
			global.Theta = 1e6
		}
		if local.Theta == 0 {
			local.Theta = c.LocalTheta
		}
	} else if local.Theta != 0 && local.Theta != global.Theta || local.Kind != "" && local.Kind != "default" {
		return global, local, errors.New("config.json: rope_parameters that differ by layer are not supported here")
	}
	scaled := global.Kind != "" && global.Kind != "default" && global.Kind != "longrope" && global.Kind != "su"
	if scaled && !(global.Factor >= 1 && global.Factor < 1e6) {
		return global, local, fmt.Errorf("config.json: the factor of positions is %v", global.Factor)
	}
	return global, local, nil
}

// llama3 returns Llama 3's frequency factors: slow pairs are stretched by the
// factor, fast ones are not, and those between are mixed.
func (r rope) llama3(dim int) ([]tensor, error) {
	if r.OriginalContext == 0 || r.LowFactor <= 0 || r.HighFactor <= r.LowFactor {
		return nil, fmt.Errorf("config.json: Llama 3's scaling of positions with factors %v and %v from %d", r.LowFactor, r.HighFactor, r.OriginalContext)
	}
	base := r.Theta
	if base == 0 {
		base = 10000
	}
	frequencies := spec.RoPE{Dim: dim, Base: float32(base)}.Frequencies()
	factors := make([]float32, len(frequencies))
	for i, f := range frequencies {
		turns := float64(r.OriginalContext) * f / (2 * math.Pi) // in the original context
		switch {
		case turns > r.HighFactor:
			factors[i] = 1
		case turns < r.LowFactor:
			factors[i] = float32(r.Factor)
		default:
			smooth := (turns - r.LowFactor) / (r.HighFactor - r.LowFactor)
			factors[i] = float32(1 / (float64((1-smooth)/r.Factor) + smooth))
		}
	}
	return []tensor{floats("rope_freqs.weight", factors)}, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
