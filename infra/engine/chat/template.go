package chat

import (
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// maxSource bounds a template's source, in bytes.
const maxSource = 1 << 20

// Origin says where a model's template comes from.
type Origin string

// Origins.
const (
	FromFile   Origin = "file"   // tokenizer.chat_template
	FromChatML Origin = "chatml" // none in the file, but ChatML's tokens are
	FromPlain  Origin = "plain"  // neither: "role: content" lines
)

const (
	chatMLSource = `{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`
	plainSource = `{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}`
)

// Template turns conversations into prompts for one model. It is immutable and
// safe for concurrent use.
type Template struct {
	Origin Origin
	// Tools is how the model writes calls of tools; nil where its template knows
	// no tools, or a way of calling them that is not implemented.
	Tools *ToolFormat

	body     []stmt
	tok      *token.Tokenizer
	manner   manner
	noSystem bool // the template drops a system message without a word
	oneTurn  bool // the template drops earlier turns without a word
}

// New reads the template of a model's metadata, or picks a default.
func New(m gguf.Metadata, t *token.Tokenizer) (*Template, error) {
	src, err := m.Text("tokenizer.chat_template")
	origin := FromFile
	switch {
	case errors.Is(err, gguf.ErrMissing):
		src, origin = plainSource, FromPlain
		if t.ID("<|im_start|>") != token.None && t.ID("<|im_end|>") != token.None {
			src, origin = chatMLSource, FromChatML
		}
	case err != nil:
		return nil, err
	}
	tp := &Template{Origin: origin, tok: t}
	if tp.body, err = parse(src); err == nil {
		err = tp.probe()
	}
	if err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the model's chat template cannot be used", Err: err,
			Next: "use another file of this model: its publisher may have corrected tokenizer.chat_template"}
	}
	return tp, nil
}

func parse(src string) (body []stmt, err error) {
	if len(src) > maxSource {
		return nil, errors.New("chat: the template is too long")
	}
	defer catch(&err)
	return parseTemplate(src), nil
}

// catch turns the panics by which this package gives up into an error.
func catch(err *error) {
	switch p := recover().(type) {
	case nil:
	case failure:
		*err = errors.New("chat: " + p.message)
	case *Raised:
		*err = p
	default:
		panic(p)
	}
}

// Options of a rendering.
type Options struct {
	// AddGenerationPrompt ends the prompt where the assistant's answer begins.
	AddGenerationPrompt bool
	// Tools are the functions on offer. A model whose Template.Tools is nil takes
	// none.
	Tools []Tool
	// Variables are further ones for the template, such as enable_thinking.
	Variables map[string]JSON
	// Now is what strftime_now tells; zero means the current time.
	Now time.Time
}

// Render returns the prompt's text. A conversation that the template refuses
// gives an error with CodeInvalid that wraps a *Raised.
func (t *Template) Render(messages []Message, o Options) (text string, err error) {
	if err := t.check(messages, o); err != nil {
		return "", err
	}
	return t.render(messages, o)
}

// check refuses what the template would leave out of the prompt.
func (t *Template) check(messages []Message, o Options) error {
	if t.Tools == nil && len(o.Tools) > 0 {
		return &core.Error{Code: core.CodeInvalid, Message: "the model's chat template has no tool calls, or writes them in a way that is not supported",
			Param: "tools", Next: "send the request without tools, or choose another model"}
	}
	for i, m := range messages {
		if i > 0 && messages[i-1].Role != "system" && t.oneTurn {
			return &core.Error{Code: core.CodeInvalid, Message: "the model's chat template takes a single turn only",
				Param: fmt.Sprintf("messages[%d]", i), Next: "send the last message alone"}
		}
		if m.Role == "system" && t.noSystem {
			return &core.Error{Code: core.CodeInvalid, Message: "the model's chat template has no place for a system message",
				Param: fmt.Sprintf("messages[%d]", i), Next: "put its text into the first message of the user"}
		}
		if t.Tools == nil && (len(m.ToolCalls) > 0 || m.Role == "tool") {
			return &core.Error{Code: core.CodeInvalid, Message: "the model's chat template has no place for tool calls and their results",
				Param: fmt.Sprintf("messages[%d]", i), Next: "choose another model"}
		}
	}
	return nil
}

func (t *Template) render(messages []Message, o Options) (text string, err error) {
	vars, err := t.variables(messages, o)
	if err != nil {
		return "", &core.Error{Code: core.CodeInvalid, Message: "the conversation cannot be read", Err: err, Param: "messages"}
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	text, err = execute(t.body, vars, o.Now)
	var raised *Raised
	switch {
	case errors.As(err, &raised):
		return "", &core.Error{Code: core.CodeInvalid, Message: "the model does not take this conversation", Err: err, Param: "messages"}
	case err != nil:
		return "", &core.Error{Code: core.CodeInvalid, Message: "the model's chat template failed", Err: err, Param: "messages"}
	}
	return text, nil
}

// Tokens renders and tokenises a conversation: the prompt of a request. The
// beginning-of-text token is added where the model wants one that the template
// does not write.
func (t *Template) Tokens(messages []Message, o Options) ([]core.Token, error) {
	text, err := t.Render(messages, o)
	if err != nil {
		return nil, err
	}
	return t.tok.Encode(text, token.Options{AddBOS: true, ParseSpecial: true}), nil
}

// Decoder starts an answer's text, in which the control tokens that calls are
// written with are shown, for Tools.Parser.
func (t *Template) Decoder() *token.Decoder {
	d := t.tok.NewDecoder()
	if t.Tools != nil {
		for _, mark := range t.Tools.Marks {
			d.Show(t.tok.ID(mark))
		}
	}
	return d
}

func execute(body []stmt, vars map[string]any, now time.Time) (text string, err error) {
	defer catch(&err)
	root := &scope{vars: vars}
	m := &machine{scope: root, root: root, now: now}
	m.run(body)
	return m.out.String(), nil
}

func (t *Template) variables(messages []Message, o Options) (map[string]any, error) {
	vars := map[string]any{"add_generation_prompt": o.AddGenerationPrompt, "tools": nil, "documents": nil}
	if t.tok != nil {
		vars["bos_token"], vars["eos_token"] = t.tok.Text(t.tok.BOS()), t.tok.Text(t.tok.EOS())
	}
	for name, raw := range o.Variables {
		v, err := raw.value()
		if err != nil {
			return nil, err
		}
		vars[name] = v
	}
	if len(o.Tools) > 0 {
		tools := &list{}
		for _, tool := range o.Tools {
			v, err := tool.Raw.value()
			if err != nil {
				return nil, err
			}
			tools.items = append(tools.items, v)
		}
		vars["tools"] = tools
	}
	all := &list{}
	for i, m := range messages {
		v, err := m.value(t.manner)
		if err != nil {
			return nil, fmt.Errorf("messages[%d]: %w", i, err)
		}
		all.items = append(all.items, v)
	}
	vars["messages"] = all
	return vars, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
