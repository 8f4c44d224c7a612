package convert

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// layout is how a family of models is laid out in Hugging Face's folders.
type layout struct {
	architecture string // general.architecture
	activations  []string
	interleaved  bool // queries and keys must be reordered for rotations of neighbours
	normsFromOne bool // norms are stored as their difference from 1
	outputNorms  bool // four norms a layer
	windowed     bool // a window is the architecture's own, not an option
	multimodal   bool // the text model is part of a larger one
}

var (
	silu    = []string{"silu", "swish"}
	gelu    = []string{"gelu_pytorch_tanh", "gelu", "gelu_new"} // Gemma's is the tanh form whatever it is called
	layouts = map[string]layout{
		"llama":       {architecture: "llama", activations: silu, interleaved: true},
		"mistral":     {architecture: "llama", activations: silu, interleaved: true, windowed: true},
		"mixtral":     {architecture: "llama", activations: silu, interleaved: true, windowed: true},
		"qwen2":       {architecture: "qwen2", activations: silu},
		"qwen2_moe":   {architecture: "qwen2moe", activations: silu},
		"qwen3":       {architecture: "qwen3", activations: silu},
		"qwen3_moe":   {architecture: "qwen3moe", activations: silu},
		"gemma":       {architecture: "gemma", activations: gelu, normsFromOne: true},
		"gemma2":      {architecture: "gemma2", activations: gelu, normsFromOne: true, outputNorms: true, windowed: true},
		"gemma3":      {architecture: "gemma3", activations: gelu, normsFromOne: true, outputNorms: true, windowed: true, multimodal: true},
		"gemma3_text": {architecture: "gemma3", activations: gelu, normsFromOne: true, outputNorms: true, windowed: true},
		"phi3":        {architecture: "phi3", activations: silu, windowed: true},
	}
)

// ModelTypes are the values of model_type in config.json that [Import] takes.
func ModelTypes() []string { return slices.Sorted(maps.Keys(layouts)) }

// layerNames maps what follows model.layers.N. to what follows blk.N.
var layerNames = map[string]string{
	"input_layernorm.weight":               "attn_norm.weight",
	"post_attention_layernorm.weight":      "ffn_norm.weight",
	"self_attn.q_proj.weight":              "attn_q.weight",
	"self_attn.k_proj.weight":              "attn_k.weight",
	"self_attn.v_proj.weight":              "attn_v.weight",
	"self_attn.q_proj.bias":                "attn_q.bias",
	"self_attn.k_proj.bias":                "attn_k.bias",
	"self_attn.v_proj.bias":                "attn_v.bias",
	"self_attn.qkv_proj.weight":            "attn_qkv.weight",
	"self_attn.o_proj.weight":              "attn_output.weight",
	"self_attn.q_norm.weight":              "attn_q_norm.weight",
	"self_attn.k_norm.weight":              "attn_k_norm.weight",
	"mlp.gate_proj.weight":                 "ffn_gate.weight",
	"mlp.up_proj.weight":                   "ffn_up.weight",
	"mlp.down_proj.weight":                 "ffn_down.weight",
	"mlp.gate_up_proj.weight":              "ffn_up.weight",
	"mlp.gate.weight":                      "ffn_gate_inp.weight",
	"block_sparse_moe.gate.weight":         "ffn_gate_inp.weight",
	"mlp.shared_expert.gate_proj.weight":   "ffn_gate_shexp.weight",
	"mlp.shared_expert.up_proj.weight":     "ffn_up_shexp.weight",
	"mlp.shared_expert.down_proj.weight":   "ffn_down_shexp.weight",
	"mlp.shared_expert_gate.weight":        "ffn_gate_inp_shexp.weight",
	"mlp.experts.N.gate_proj.weight":       "ffn_gate_exps.weight",
	"mlp.experts.N.up_proj.weight":         "ffn_up_exps.weight",
	"mlp.experts.N.down_proj.weight":       "ffn_down_exps.weight",
	"block_sparse_moe.experts.N.w1.weight": "ffn_gate_exps.weight",
	"block_sparse_moe.experts.N.w3.weight": "ffn_up_exps.weight",
	"block_sparse_moe.experts.N.w2.weight": "ffn_down_exps.weight",
}

// normNames replaces the names where a layer has four norms.
var normNames = map[string]string{
	"post_attention_layernorm.weight":   "post_attention_norm.weight",
	"pre_feedforward_layernorm.weight":  "ffn_norm.weight",
	"post_feedforward_layernorm.weight": "post_ffw_norm.weight",
}

var (
	layerName  = regexp.MustCompile(`^model\.layers\.(\d{1,4})\.(.+)$`)
	expertName = regexp.MustCompile(`\.experts\.(\d{1,4})\.`)
)

// place returns a tensor's name in a GGUF file, and the expert's number where it
// is one of several that make a tensor there, else -1. The name is "" for what
// a model does not need.
func (l *layout) place(name string) (string, int, error) {
	if l.multimodal {
		if name = textPart(name); name == "" {
			return "", -1, nil
		}
	}
	switch name {
	case "model.embed_tokens.weight":
		return "token_embd.weight", -1, nil
	case "model.norm.weight":
		return "output_norm.weight", -1, nil
	case "lm_head.weight":
		return "output.weight", -1, nil
	}
	m := layerName.FindStringSubmatch(name)
	if m == nil {
		return "", -1, fmt.Errorf("the tensor %.80q has no place in the architecture %s", name, l.architecture)
	}
	rest, expert := m[2], -1
	if e := expertName.FindStringSubmatch(rest); e != nil {
		expert, _ = strconv.Atoi(e[1])
		rest = strings.Replace(rest, e[0], ".experts.N.", 1)
	}
	if rest == "self_attn.rotary_emb.inv_freq" {
		return "", -1, nil
	}
	to, ok := layerNames[rest]
	if l.outputNorms {
		if other, renamed := normNames[rest]; renamed {
			to, ok = other, true
		}
	}
	if !ok {
		return "", -1, fmt.Errorf("the tensor %.80q has no place in the architecture %s", name, l.architecture)
	}
	number, _ := strconv.Atoi(m[1])
	return fmt.Sprintf("blk.%d.%s", number, to), expert, nil
}

// textPart returns what a tensor of a multimodal model is called in a text model,
// "" where it belongs to the images. Newer versions of the library begin all
// names with "model.".
func textPart(name string) string {
	whole, newer := strings.CutPrefix(name, "model.")
	for _, images := range []string{"vision_tower.", "multi_modal_projector."} {
		if strings.HasPrefix(whole, images) {
			return ""
		}
	}
	if rest, ok := strings.CutPrefix(whole, "language_model."); ok {
		if newer {
			return "model." + rest
		}
		return rest
	}
	return name
}
