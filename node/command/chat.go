package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
)

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// chatResult is what a finished answer says about itself.
type chatResult struct {
	Text    string          `json:"text"`
	Finish  string          `json:"finish_reason"`
	Usage   json.RawMessage `json:"usage"`
	Koinon  *chatSettlement `json:"koinon"`
	Receipt string          `json:"receipt"`
}

type chatSettlement struct {
	Moniker string      `json:"moniker"`
	Cost    core.Amount `json:"cost"`
	Receipt core.Hash   `json:"receipt"`
}

func chatCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "chat [PROMPT]", Short: "Ask a model, or talk with it",
		Long:    "Ask one question, or without PROMPT talk until Ctrl-D. Answers stream as they are made; below each stands who gave it and what it cost.",
		Example: `koinon chat "What is a receipt?"`,
		Args:    cobra.MaximumNArgs(1),
		RunE:    runChat,
	}
	gatewayFlag(cmd)
	cmd.Flags().String("model", "", "`NAME` of the model (default: the first one that somebody serves)")
	cmd.Flags().Float64("temperature", -1, "0 always takes the likeliest token (default: the model's own)")
	cmd.Flags().Int("max-tokens", 0, "most tokens of an answer (default: what the context holds, at most 1024)")
	cmd.Flags().String("schema", "", "`FILE` with a JSON schema that answers follow")
	return cmd
}

func runChat(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	if _, err := readSchema(cmd); err != nil {
		return err
	}
	model, _ := cmd.Flags().GetString("model")
	if model == "" {
		var list modelList
		if err := get(ctx, cmd, "/v1/models", &list); err != nil {
			return err
		}
		i := slices.IndexFunc(list.Data, func(m modelEntry) bool { return m.Koinon.Providers > 0 })
		if i < 0 {
			return &core.Error{Code: core.CodeNoProvider, Message: "nobody serves a model", Next: "koinon provider start --model FILE.gguf"}
		}
		model = list.Data[i].ID
	}
	if len(args) == 1 {
		_, err := ask(ctx, cmd, model, []chatMessage{{"user", args[0]}})
		return err
	}
	return talk(ctx, cmd, model)
}

// readSchema returns the schema that answers follow, nil without one.
func readSchema(cmd *cobra.Command) (json.RawMessage, error) {
	path, _ := cmd.Flags().GetString("schema")
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err == nil && !json.Valid(b) {
		err = errors.New("it is not JSON")
	}
	if err != nil {
		return nil, usage("the schema %s cannot be used: %v", path, err)
	}
	return b, nil
}

// talk keeps a conversation until the input ends. A failed turn is reported and
// taken back; the conversation goes on.
func talk(ctx context.Context, cmd *cobra.Command, model string) error {
	in := bufio.NewScanner(cmd.InOrStdin())
	var ms []chatMessage
	prompt := func() { fmt.Fprint(cmd.ErrOrStderr(), bold.Render("you: ")) }
	for prompt(); in.Scan(); prompt() {
		text := strings.TrimSpace(in.Text())
		if text == "" {
			continue
		}
		r, err := ask(ctx, cmd, model, append(ms, chatMessage{"user", text}))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			printError(cmd.ErrOrStderr(), cmd.Root(), err)
			continue
		}
		ms = append(ms, chatMessage{"user", text}, chatMessage{"assistant", r.Text})
	}
	fmt.Fprintln(cmd.ErrOrStderr())
	return in.Err()
}

// ask streams one answer to the terminal.
func ask(ctx context.Context, cmd *cobra.Command, model string, ms []chatMessage) (*chatResult, error) {
	body := map[string]any{"model": model, "messages": ms, "stream": true}
	if t, _ := cmd.Flags().GetFloat64("temperature"); cmd.Flags().Changed("temperature") {
		body["temperature"] = t
	}
	if n, _ := cmd.Flags().GetInt("max-tokens"); cmd.Flags().Changed("max-tokens") {
		body["max_tokens"] = n
	}
	schema, err := readSchema(cmd)
	if err != nil {
		return nil, err
	}
	if schema != nil {
		body["response_format"] = map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "strict": true, "schema": schema}}
	}
	resp, err := call(ctx, cmd, http.MethodPost, "/v1/chat/completions", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := cmd.OutOrStdout()
	r, err := readStream(resp.Body, func(text string) {
		if !wantsJSON(cmd) {
			fmt.Fprint(out, text)
		}
	})
	if err != nil {
		if !wantsJSON(cmd) {
			fmt.Fprintln(out)
		}
		return nil, err
	}
	r.Receipt = resp.Header.Get("X-Koinon-Receipt")
	if wantsJSON(cmd) {
		return r, printJSON(cmd, r)
	}
	fmt.Fprintln(out)
	if k := r.Koinon; k != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), dim.Render(fmt.Sprintf("— %s, %s, receipt %s", k.Moniker, k.Cost.Format(), k.Receipt.Short())))
	}
	return r, nil
}

// readStream follows the server-sent events of a chat completion.
func readStream(body io.Reader, show func(string)) (*chatResult, error) {
	r := &chatResult{}
	sc := bufio.NewScanner(body)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			return r, nil
		}
		var ev struct {
			Choices []struct {
				Delta  struct{ Content string }
				Finish *string `json:"finish_reason"`
			}
			Usage  json.RawMessage
			Koinon *chatSettlement
			Error  *core.Error
		}
		if err := json.Unmarshal([]byte(data), &ev); err != nil {
			return nil, fmt.Errorf("the gateway sent an event that cannot be read: %w", err)
		}
		if ev.Error != nil {
			return nil, ev.Error
		}
		for _, c := range ev.Choices {
			r.Text += c.Delta.Content
			show(c.Delta.Content)
			if c.Finish != nil {
				r.Finish = *c.Finish
			}
		}
		if ev.Koinon != nil {
			r.Koinon, r.Usage = ev.Koinon, ev.Usage
		}
	}
	return nil, &core.Error{Code: core.CodeUnavailable, Message: "the stream broke off before its end", Next: "ask again", Err: errors.Join(sc.Err())}
}
