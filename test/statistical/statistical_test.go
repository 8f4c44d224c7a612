// Package statistical tests the statistical tier against a real server:
// llama.cpp, which node-llama-cpp brings along from npm, behind a completions
// call (bench/llamacpp/serve.mjs).
package statistical

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
	"github.com/koinon-network/koinon/infra/engine/convert"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/remote"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/engine/token"
	"github.com/koinon-network/koinon/infra/verify"
)

const peerDir = "../../bench/llamacpp"

// serve starts llama.cpp with the models and returns its address.
func serve(t *testing.T, models map[string]string) string {
	t.Helper()
	if os.Getenv("KOINON_TEST_CLIENTS") == "" {
		t.Skip("set KOINON_TEST_CLIENTS=1 to install llama.cpp from npm and test against it")
	}
	if _, err := exec.LookPath("npm"); err != nil && os.Getenv("CI") == "" {
		t.Skip("npm is needed to install llama.cpp: ", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	t.Cleanup(cancel)
	if _, err := os.Stat(filepath.Join(peerDir, "node_modules/node-llama-cpp")); err != nil {
		cmd := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
		cmd.Dir = peerDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm install: %v\n%s", err, out)
		}
	}
	paths, err := json.Marshal(models)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", "serve.mjs", string(paths))
	cmd.Dir, cmd.Stderr = peerDir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("llama.cpp did not start: ", err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port)
}

// files writes the built-in model as it is, with its matrices in four bits, and
// without its last layer.
func files(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name+".gguf") }
	if err := os.WriteFile(path("honest"), seed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(bytes.Clone(seed.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := convert.Quantize(t.Context(), f, gguf.Q4_0, path("four-bit"), nil); err != nil {
		t.Fatal(err)
	}
	layers, err := f.Metadata.Int("llama.block_count")
	if err != nil {
		t.Fatal(err)
	}
	var small gguf.Builder
	for _, k := range f.Keys() {
		v, _ := f.Lookup(k)
		small.Copy(k, v)
	}
	small.Set("llama.block_count", uint32(layers-1))
	for i := range f.Tensors {
		x := &f.Tensors[i]
		if strings.HasPrefix(x.Name, fmt.Sprintf("blk.%d.", layers-1)) {
			continue
		}
		data, err := f.Data(x)
		if err != nil {
			t.Fatal(err)
		}
		var dims []int
		for _, d := range x.Dims {
			dims = append(dims, int(d))
		}
		if err := small.Add(x.Name, x.Type, dims, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := small.Create(path("smaller")); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"honest": path("honest"), "four-bit": path("four-bit"), "smaller": path("smaller")}
}

// lab has the reference, and the prompts of both halves of an examination.
type lab struct {
	m       *model.Model
	prompts [2][][]core.Token
	url     string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{url: serve(t, files(t))}
	var err error
	if l.m, err = model.OpenBytes(seed.Bytes(), model.Options{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.m.Close() })
	tokens, err := token.New(l.m.Metadata())
	if err != nil {
		t.Fatal(err)
	}
	template, err := chat.New(l.m.Metadata(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	questions, err := seed.Questions()
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range questions {
		ids, err := template.Tokens([]chat.Message{{Role: "user", Content: q.Ask}}, chat.Options{AddGenerationPrompt: true})
		if err != nil {
			t.Fatal(err)
		}
		l.prompts[i%2] = append(l.prompts[i%2], ids)
	}
	return l
}

// backend opens one of the server's models, which claims to be the built-in one.
func (l *lab) backend(t *testing.T, name string) *remote.Engine {
	t.Helper()
	e, err := remote.Open(t.Context(), remote.Config{URL: l.url, Name: name, Info: l.m.Info(), Metadata: l.m.Metadata()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	if d := e.Dialect(); !d.IDs || !d.Tokens || d.Listed != 20 {
		t.Fatalf("the server was found to do %+v", d)
	}
	return e
}

// samplers are what consumers of this test ask for, in turn.
var samplers = []core.Sampler{
	{MaxTokens: 100}, {MaxTokens: 100, Temperature: 1_000_000}, {MaxTokens: 100, Temperature: 700_000, TopP: 950_000}, {MaxTokens: 100, Temperature: 1_200_000, TopK: 15},
}

// answers has a back end answer n prompts and says how its tokens stand.
func (l *lab) answers(t *testing.T, name string, half, n int) (all [][]core.Standing) {
	t.Helper()
	e, prompts, begin, tokens := l.backend(t, name), l.prompts[half], time.Now(), 0
	for i := range n {
		in := core.SequenceInput{Input: prompts[i%len(prompts)], Sampler: samplers[(i+i/len(prompts))%len(samplers)], Seed: core.Seed{byte(i), byte(i >> 8), byte(half)}}
		s, err := e.NewSequence(in)
		if err != nil {
			t.Fatal(err)
		}
		for s.Finish() == "" {
			if err := e.Step(t.Context(), []core.Sequence{s}); err != nil {
				t.Fatal(err)
			}
		}
		standings, err := l.m.Stand(t.Context(), in, s.Output(), s.Finish(), true)
		if err != nil {
			t.Fatal(err)
		}
		s.Release()
		all, tokens = append(all, standings), tokens+len(standings)
	}
	t.Logf("%s: %d answers, %d tokens in %v", name, len(all), tokens, time.Since(begin).Round(time.Second))
	return all
}

// limit is the weight at which a provider's first test ends.
var limit = math.Log(2 / verify.Alpha)

// tokensToFind is after how many tokens a provider with these answers is found,
// beginning with the first one, or -1.
func tokensToFind(c *verify.Calibration, answers [][]core.Standing, first int) (tokens int) {
	var p verify.Process
	for i := range answers {
		tokens += c.Bet(&p, answers[(first+i)%len(answers)], true)
		if p.Peak >= limit {
			return tokens
		}
	}
	return -1
}

// An honest llama.cpp is measured; then honest answers to other questions are
// never suspected, in whatever order they come, and those of the same model in
// four bits or without its last layer are.
func TestCheatsAreFoundAndTheHonestAreNot(t *testing.T) {
	l := newLab(t)
	c := verify.NewCalibration(l.m.Info(), "llama.cpp", "Q8_0", time.Now())
	for _, standings := range l.answers(t, "honest", 0, 1000) {
		c.Add(standings, true)
	}
	js, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = verify.ParseCalibration(bytes.NewReader(js)); err != nil {
		t.Fatal(err)
	}
	honest := l.answers(t, "honest", 1, 500)
	alarms := 0
	for first := 0; first < len(honest); first += 25 {
		if n := tokensToFind(c, honest, first); n >= 0 {
			alarms++
			t.Errorf("beginning with answer %d, the honest one is suspected after %d tokens", first, n)
		}
	}
	t.Logf("honest: %d false alarms in %d orders of %d answers", alarms, len(honest)/25, len(honest))
	for _, cheat := range []struct {
		name    string
		answers int
		most    int // tokens, in the median
	}{{"four-bit", 300, 8000}, {"smaller", 60, 400}} {
		answers, trials := l.answers(t, cheat.name, 1, cheat.answers), 20
		var found []int
		for i := range trials {
			if n := tokensToFind(c, answers, i*len(answers)/trials); n >= 0 {
				found = append(found, n)
			}
		}
		slices.Sort(found)
		median := math.MaxInt
		if len(found) > trials/2 {
			median = found[trials/2]
		}
		t.Logf("%s: found in %d of %d orders, after %v tokens; median %d", cheat.name, len(found), trials, found, median)
		if len(found) < trials || median > cheat.most {
			t.Errorf("%s is found in %d of %d orders, in the median after %d tokens", cheat.name, len(found), trials, median)
		}
	}
}
