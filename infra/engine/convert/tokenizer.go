package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

const (
	maxTokenizer  = 256 << 20
	maxVocabulary = 1 << 21
	maxTemplate   = 1 << 20
)

// tokenizerFile is tokenizer.json.
type tokenizerFile struct {
	Added []struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
		Special bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    *stage `json:"normalizer"`
	PreTokenizer  *stage `json:"pre_tokenizer"`
	PostProcessor *stage `json:"post_processor"`
	Model         struct {
		Type         string         `json:"type"`
		Vocabulary   map[string]int `json:"vocab"`
		Merges       []merge        `json:"merges"`
		Unknown      *string        `json:"unk_token"`
		ByteFallback bool           `json:"byte_fallback"`
		IgnoreMerges bool           `json:"ignore_merges"`
		Dropout      *float64       `json:"dropout"`
		Prefix       *string        `json:"continuing_subword_prefix"`
		Suffix       *string        `json:"end_of_word_suffix"`
	} `json:"model"`
}

// stage is a normalizer, pre-tokenizer or post-processor, with the fields of all
// kinds.
type stage struct {
	Type          string  `json:"type"`
	Pattern       pattern `json:"pattern"`
	Behavior      string  `json:"behavior"`
	Invert        bool    `json:"invert"`
	UseRegex      *bool   `json:"use_regex"`
	PrefixSpace   bool    `json:"add_prefix_space"`
	Individual    bool    `json:"individual_digits"`
	Content       string  `json:"content"`
	Prepend       string  `json:"prepend"`
	Replacement   string  `json:"replacement"`
	PrependScheme string  `json:"prepend_scheme"`
	Single        []struct {
		Special *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
	} `json:"single"`
	Normalizers   []stage `json:"normalizers"`
	PreTokenizers []stage `json:"pretokenizers"`
	Processors    []stage `json:"processors"`
}

// pattern is what a stage looks for.
type pattern struct {
	String, Regex string
}

// flat lists the stages of a sequence, or the stage alone.
func (s *stage) flat() []stage {
	if s == nil {
		return nil
	}
	inner := slices.Concat(s.Normalizers, s.PreTokenizers, s.Processors)
	if s.Type != "Sequence" {
		return []stage{*s}
	}
	var all []stage
	for i := range inner {
		all = append(all, inner[i].flat()...)
	}
	return all
}

// merge is a pair of pieces, written as "a b" or as ["a", "b"].
type merge struct{ left, right string }

func (m *merge) UnmarshalJSON(b []byte) error {
	var pair []string
	if len(b) > 0 && b[0] == '[' {
		if err := json.Unmarshal(b, &pair); err != nil {
			return err
		}
	} else {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		pair = strings.Split(text, " ")
	}
	if len(pair) != 2 || pair[0] == "" || pair[1] == "" {
		return fmt.Errorf("the merge %.40q is not of two pieces", b)
	}
	m.left, m.right = pair[0], pair[1]
	return nil
}

// tokenizerConfig is tokenizer_config.json.
type tokenizerConfig struct {
	BOS          specialToken    `json:"bos_token"`
	EOS          specialToken    `json:"eos_token"`
	Unknown      specialToken    `json:"unk_token"`
	Padding      specialToken    `json:"pad_token"`
	AddBOS       *bool           `json:"add_bos_token"`
	ChatTemplate json.RawMessage `json:"chat_template"`
}

// specialToken is a token's text, written as such or as an object with it.
type specialToken string

func (s *specialToken) UnmarshalJSON(b []byte) error {
	var object struct{ Content string }
	if len(b) > 0 && b[0] == '{' {
		err := json.Unmarshal(b, &object)
		*s = specialToken(object.Content)
		return err
	}
	return json.Unmarshal(b, (*string)(s))
}

// readTokenizer sets the keys of the tokenizer and the chat template.
func readTokenizer(dir string, c *modelConfig, m *gguf.Metadata) error {
	b, err := readLimited(filepath.Join(dir, "tokenizer.json"), maxTokenizer)
	if err != nil {
		return err
	}
	var roles tokenizerConfig
	config, err := readLimited(filepath.Join(dir, "tokenizer_config.json"), maxTokenizer)
	if err == nil {
		err = json.Unmarshal(config, &roles)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("tokenizer_config.json: %w", err)
	}
	template, err := readLimited(filepath.Join(dir, "chat_template.jinja"), maxTemplate)
	if err == nil {
		m.Set("tokenizer.chat_template", string(template))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	} else if err := setTemplate(roles.ChatTemplate, m); err != nil {
		return err
	}
	return convertTokenizer(b, &roles, c, m)
}

// setTemplate takes a chat template, or of several the one called default.
func setTemplate(raw json.RawMessage, m *gguf.Metadata) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		m.Set("tokenizer.chat_template", text)
		return nil
	}
	var several []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &several); err != nil {
		return fmt.Errorf("tokenizer_config.json: the chat template is neither text nor a list: %w", err)
	}
	for _, t := range several {
		if t.Name == "default" {
			m.Set("tokenizer.chat_template", t.Template)
		}
	}
	return nil
}

// convertTokenizer sets the tokenizer.ggml keys from tokenizer.json, and checks
// that the engine's tokenizer takes them.
func convertTokenizer(b []byte, roles *tokenizerConfig, c *modelConfig, m *gguf.Metadata) error {
	var f tokenizerFile
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("tokenizer.json: %w", err)
	}
	if f.Model.Type != "BPE" && f.Model.Type != "" {
		return fmt.Errorf("tokenizer.json: tokenizers of the type %.40q are not imported, only BPE", f.Model.Type)
	}
	if f.Model.Dropout != nil && *f.Model.Dropout != 0 || nonEmpty(f.Model.Prefix) || nonEmpty(f.Model.Suffix) {
		return errors.New("tokenizer.json: dropout, continuing_subword_prefix and end_of_word_suffix are not supported")
	}
	tokens, kinds, err := f.vocabulary(c.Vocabulary)
	if err != nil {
		return err
	}
	m.Set("tokenizer.ggml.tokens", tokens)
	if f.Model.ByteFallback {
		err = f.sentencePiece(tokens, kinds, m)
	} else {
		err = f.byteLevel(m)
	}
	if err != nil {
		return fmt.Errorf("tokenizer.json: %w", err)
	}
	m.Set("tokenizer.ggml.token_type", kinds)
	f.setRoles(roles, c, tokens, m)
	if _, err := token.New(*m); err != nil {
		return fmt.Errorf("tokenizer.json: %w", err)
	}
	return nil
}

func nonEmpty(s *string) bool { return s != nil && *s != "" }

// Token types of GGUF.
const (
	kindNormal  = 1
	kindUnknown = 2
	kindControl = 3
	kindUser    = 4
	kindUnused  = 5
	kindByte    = 6
)

// vocabulary lists the tokens by id and what they are. Ids without a token, up
// to the size of the model's embedding, become unused ones.
func (f *tokenizerFile) vocabulary(size int) ([]string, []int32, error) {
	if size < 0 || size > maxVocabulary {
		return nil, nil, fmt.Errorf("config.json: a vocabulary of %d tokens", size)
	}
	byID := make(map[int]string, len(f.Model.Vocabulary))
	kind := map[int]int32{}
	for text, id := range f.Model.Vocabulary {
		if other, taken := byID[id]; taken {
			return nil, nil, fmt.Errorf("tokenizer.json: the tokens %.40q and %.40q have one id", min(text, other), max(text, other))
		}
		byID[id] = text
		kind[id] = kindNormal
		if f.Model.ByteFallback && len(text) == 6 && strings.HasPrefix(text, "<0x") && text[5] == '>' {
			kind[id] = kindByte
		}
	}
	for _, t := range f.Added {
		byID[t.ID], kind[t.ID] = t.Content, kindUser
		if t.Special {
			kind[t.ID] = kindControl
		}
		if f.Model.Unknown != nil && f.Model.ByteFallback && t.Content == *f.Model.Unknown {
			kind[t.ID] = kindUnknown
		}
	}
	n := size
	for id := range byID {
		if id < 0 || id >= maxVocabulary || size > 0 && id >= size {
			return nil, nil, fmt.Errorf("tokenizer.json: the token %.40q has the id %d, the model has %d", byID[id], id, size)
		}
		n = max(n, id+1)
	}
	tokens, kinds := make([]string, n), make([]int32, n)
	for id := range tokens {
		text, ok := byID[id]
		if !ok {
			text, kind[id] = fmt.Sprintf("[PAD%d]", id), kindUnused
		}
		tokens[id], kinds[id] = text, kind[id]
	}
	return tokens, kinds, nil
}

// expressions are the pre-tokenizers that the engine has, by the expressions
// that tokenizer.json splits by.
var expressions = map[string]string{
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:                                                                                                                                                                "llama-bpe",
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:                                                                                                                                                                     "qwen2",
	`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`:                                                                "tekken",
	`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`: "gpt-4o",
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                                                                                                                                                                                         "gpt-2",
}

// byteLevel sets the keys of a byte-level BPE tokenizer.
func (f *tokenizerFile) byteLevel(m *gguf.Metadata) error {
	for _, s := range f.Normalizer.flat() {
		if s.Type != "NFC" { // which text nearly always is
			return fmt.Errorf("the normalizer %.40q is not supported with byte-level BPE", s.Type)
		}
	}
	pre, err := f.preTokenizer()
	if err != nil {
		return err
	}
	merges := make([]string, len(f.Model.Merges))
	for i, p := range f.Model.Merges {
		if strings.Contains(p.left, " ") || strings.Contains(p.right, " ") {
			return fmt.Errorf("the merge of %.40q and %.40q holds a space", p.left, p.right)
		}
		merges[i] = p.left + " " + p.right
	}
	m.Set("tokenizer.ggml.model", "gpt2")
	m.Set("tokenizer.ggml.pre", pre)
	m.Set("tokenizer.ggml.merges", merges)
	return nil
}

// preTokenizer finds the engine's name of the way that text is split.
func (f *tokenizerFile) preTokenizer() (string, error) {
	pre, digits, bytes := "", false, false
	for _, s := range f.PreTokenizer.flat() {
		switch {
		case s.Type == "Split" && s.Pattern.Regex != "" && s.Behavior == "Isolated" && !s.Invert && pre == "":
			name, ok := expressions[s.Pattern.Regex]
			if !ok {
				return "", fmt.Errorf("the pre-tokenizer's expression %q is not one that the engine has", s.Pattern.Regex)
			}
			pre = name
		case s.Type == "Digits" && s.Individual && pre == "":
			digits = true
		case s.Type == "ByteLevel" && !s.PrefixSpace && !bytes:
			bytes = true
			if s.UseRegex == nil || *s.UseRegex {
				if pre != "" {
					return "", errors.New("the pre-tokenizer splits twice")
				}
				pre = "gpt-2"
			}
		default:
			return "", fmt.Errorf("the pre-tokenizer %.40q is not supported in this way", s.Type)
		}
	}
	switch {
	case !bytes || pre == "":
		return "", errors.New("neither byte-level BPE nor BPE with byte_fallback")
	case digits && pre == "gpt-2":
		return "smollm", nil
	case digits:
		return "", errors.New("the pre-tokenizer splits digits and by an expression")
	case pre == "llama-bpe" && !f.Model.IgnoreMerges:
		return "smaug-bpe", nil // the same expression, and words go through the merges
	}
	return pre, nil
}

// sentencePiece sets the keys of a SentencePiece tokenizer, which tokenizer.json
// writes as BPE over characters with byte_fallback. Its scores follow from the
// order of the merges: the earlier a piece is made, the better.
func (f *tokenizerFile) sentencePiece(tokens []string, kinds []int32, m *gguf.Metadata) error {
	prefix := false
	for _, s := range f.Normalizer.flat() {
		switch {
		case s.Type == "Prepend" && s.Prepend == "\u2581":
			prefix = true
		case s.Type == "Replace" && s.Pattern.String == " " && s.Content == "\u2581":
		default:
			return fmt.Errorf("the normalizer %.40q is not supported in this way", s.Type)
		}
	}
	for _, s := range f.PreTokenizer.flat() {
		switch {
		case s.Type == "Metaspace" && s.Replacement == "\u2581":
			prefix = prefix || s.PrependScheme == "first" || s.PrependScheme == "always" || s.PrependScheme == "" && s.PrefixSpace
		case s.Type == "Split" && s.Pattern.String == " ": // never matches: spaces are replaced before
		default:
			return fmt.Errorf("the pre-tokenizer %.40q is not supported in this way", s.Type)
		}
	}
	rank := make(map[string]int, len(f.Model.Merges))
	for i, p := range f.Model.Merges {
		if _, made := rank[p.left+p.right]; !made {
			rank[p.left+p.right] = i
		}
	}
	scores := make([]float32, len(tokens))
	for id, text := range tokens {
		if i, made := rank[text]; made && kinds[id] == kindNormal {
			scores[id] = -float32(i)
		} else if kinds[id] == kindNormal {
			scores[id] = -float32(len(f.Model.Merges))
		}
	}
	m.Set("tokenizer.ggml.model", "llama")
	m.Set("tokenizer.ggml.pre", "default")
	m.Set("tokenizer.ggml.scores", scores)
	m.Set("tokenizer.ggml.add_space_prefix", prefix)
	return nil
}

// setRoles names the tokens that begin and end texts.
func (f *tokenizerFile) setRoles(roles *tokenizerConfig, c *modelConfig, tokens []string, m *gguf.Metadata) {
	byText := make(map[string]int, len(tokens))
	for id, text := range tokens {
		byText[text] = id
	}
	set := func(key string, text specialToken, ids tokenIDs) {
		id, ok := byText[string(text)]
		if (text == "" || !ok) && len(ids) > 0 {
			id, ok = ids[0], true
		}
		if ok && id >= 0 && id < len(tokens) {
			m.Set("tokenizer.ggml."+key+"_token_id", uint32(id))
		}
	}
	set("bos", roles.BOS, c.BOS)
	set("eos", roles.EOS, c.EOS)
	set("unknown", roles.Unknown, nil)
	set("padding", roles.Padding, nil)
	for _, id := range c.EOS { // the end of a turn, where that is another token
		if id >= 0 && id < len(tokens) && specialToken(tokens[id]) != roles.EOS {
			m.Set("tokenizer.ggml.eot_token_id", uint32(id))
			break
		}
	}
	m.Set("tokenizer.ggml.add_bos_token", f.addsBOS(roles))
}

// addsBOS says whether texts begin with the token for that.
func (f *tokenizerFile) addsBOS(roles *tokenizerConfig) bool {
	for _, s := range f.PostProcessor.flat() {
		if s.Type == "TemplateProcessing" && len(s.Single) > 0 {
			return s.Single[0].Special != nil && s.Single[0].Special.ID == string(roles.BOS)
		}
	}
	return roles.AddBOS != nil && *roles.AddBOS
}
