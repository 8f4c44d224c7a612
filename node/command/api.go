package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
)

// gatewayFlag adds --api, the gateway to ask.
func gatewayFlag(cmd *cobra.Command) {
	def := os.Getenv("KOINON_API")
	if def == "" {
		def = "http://127.0.0.1:8080"
	}
	cmd.Flags().String("api", def, "`URL` of the gateway (KOINON_API); KOINON_API_KEY is sent to it")
}

// call sends a request to the gateway and returns the response when it is a
// success; the caller closes its body.
func call(ctx context.Context, cmd *cobra.Command, method, path string, body any) (*http.Response, error) {
	base, _ := cmd.Flags().GetString("api")
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = strings.NewReader(string(b))
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, r)
	if err != nil {
		return nil, usage("--api: %v", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key := os.Getenv("KOINON_API_KEY"); key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "no gateway answers at " + base, Next: "start one with: koinon devnet", Err: errors.Unwrap(err)}
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var e struct {
		Error struct {
			Message string    `json:"message"`
			Code    core.Code `json:"code"`
			Next    string    `json:"next"`
			Charge  string    `json:"charge"`
		} `json:"error"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(b, &e) != nil || e.Error.Message == "" {
		return nil, core.Errorf(core.CodeUnavailable, "the gateway at %s answered %s", base, resp.Status)
	}
	charge, _ := core.ParseAmount(e.Error.Charge)
	return nil, &core.Error{Code: e.Error.Code, Message: strings.TrimSuffix(e.Error.Message, ". Next: "+e.Error.Next), Charge: charge, Next: e.Error.Next}
}

// get reads a JSON value from the gateway.
func get(ctx context.Context, cmd *cobra.Command, path string, v any) error {
	resp, err := call(ctx, cmd, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(v); err != nil {
		return fmt.Errorf("the gateway's answer could not be read: %w", err)
	}
	return nil
}
