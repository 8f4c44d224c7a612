package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/koinon-network/koinon/core"
)

// peer is a node process that runs llama.cpp (speed.mjs).
type peer struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// reply is what the process answers.
type reply struct {
	Seconds float64  `json:"seconds"`
	Last    int      `json:"last"` // the last position that was computed
	Threads int      `json:"threads"`
	Library []string `json:"library"`
	Error   string   `json:"error"`
}

// startPeer starts the process, after it has installed what it needs.
func startPeer(ctx context.Context, folder string) (*peer, error) {
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "node-llama-cpp")); err != nil {
		install := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-save", "--no-audit", "--no-fund")
		install.Dir, install.Stdout, install.Stderr = folder, os.Stderr, os.Stderr
		if err := install.Run(); err != nil {
			return nil, fmt.Errorf("installing llama.cpp from npm in %s: %w", folder, err)
		}
	}
	p := &peer{command: exec.CommandContext(ctx, "node", "speed.mjs")}
	p.command.Dir, p.command.Stderr = folder, os.Stderr
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if p.in, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	return p, p.command.Start()
}

func (p *peer) close() {
	p.in.Close()
	_ = p.command.Wait()
}

func (p *peer) ask(command any) (reply, error) {
	b, err := json.Marshal(command)
	if err != nil {
		return reply{}, err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return reply{}, fmt.Errorf("llama.cpp: %w", err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return reply{}, fmt.Errorf("llama.cpp ended: %w", err)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, fmt.Errorf("llama.cpp says %.200q", line)
	}
	if r.Error != "" {
		return reply{}, errors.New("llama.cpp: " + r.Error)
	}
	return r, nil
}

func (p *peer) prefill(prompt []core.Token) (time.Duration, error) {
	r, err := p.ask(map[string]any{"do": "prefill", "tokens": prompt})
	return r.took(len(prompt)-1, err)
}

// decode writes n tokens after each prompt, together.
func (p *peer) decode(prompts [][]core.Token, n int) (time.Duration, error) {
	r, err := p.ask(map[string]any{"do": "decode", "tokens": prompts, "n": n})
	return r.took(len(prompts[0])+n-1, err)
}

// took makes sure that the last position is the one that should be.
func (r reply) took(last int, err error) (time.Duration, error) {
	if err == nil && (r.Last != last || r.Seconds <= 0) {
		err = fmt.Errorf("llama.cpp computed positions up to %d, not %d, in %v s", r.Last, last, r.Seconds)
	}
	return time.Duration(r.Seconds * float64(time.Second)), err
}
