package model

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

const peerDir = "../../../bench/llamacpp"

// peerJob is a model and the tokens after each of which logits are wanted.
type peerJob struct {
	Model   string       `json:"model"`
	Tokens  []core.Token `json:"tokens"`
	Context int          `json:"context"`
}

// peerLogits computes the jobs' logits with llama.cpp, by the script in
// bench/llamacpp, which it installs from npm.
func peerLogits(t *testing.T, jobs []peerJob) [][][]float32 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	run := func(input, name string, args ...string) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.Stdin = peerDir, strings.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(peerDir, "node_modules/node-llama-cpp")); err != nil {
		run("", "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
	}
	input, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "logits")
	run(string(input), "node", "logits.mjs", output)
	lines, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	var all [][][]float32
	for i, line := range strings.Split(strings.TrimSpace(string(lines)), "\n") {
		var r struct {
			Logits [][]float32 `json:"logits"`
			Error  string      `json:"error"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Error != "" || i >= len(jobs) || len(r.Logits) != len(jobs[i].Tokens) {
			t.Fatalf("llama.cpp on job %d: %v %s %.200s", i, err, r.Error, line)
		}
		all = append(all, r.Logits)
	}
	if len(all) != len(jobs) {
		t.Fatalf("llama.cpp answered %d of %d jobs", len(all), len(jobs))
	}
	return all
}

// logitsOf computes the logits after every token, in one pass each.
func logitsOf(t *testing.T, m *Model, tokens []core.Token) [][]float32 {
	t.Helper()
	s, err := m.newSequence(core.SequenceInput{Input: tokens, Sampler: core.Sampler{MaxTokens: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.admit(s, len(tokens), false); err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	var all [][]float32
	for s.processed < len(tokens) {
		m.work.rows = m.work.rows[:0]
		m.addRows(s, 1)
		m.work.rows[0].draw = true
		if err := m.forward(context.Background()); err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Clone(m.work.logits[:m.info.Vocabulary]))
		s.commit(s.processed + 1)
	}
	return all
}

// divergence is the Kullback-Leibler divergence of the distributions that two
// rows of logits stand for, in nats.
func divergence(p, q []float32) float64 {
	logs := func(x []float32) []float64 {
		most, sum := float64(slices.Max(x)), 0.0
		out := make([]float64, len(x))
		for i, v := range x {
			out[i] = float64(v) - most
			sum += math.Exp(out[i])
		}
		for i := range out {
			out[i] -= math.Log(sum)
		}
		return out
	}
	lp, lq := logs(p), logs(q)
	total := 0.0
	for i := range lp {
		total += math.Exp(lp[i]) * (lp[i] - lq[i])
	}
	return total
}

// margin is by how much the largest logit leads.
func margin(x []float32) float64 {
	s := slices.Clone(x)
	slices.Sort(s)
	return float64(s[len(s)-1] - s[len(s)-2])
}

// peerKnows says whether llama.cpp computes the variant as its file says. It
// has no window in Llama and Phi-3 models.
func peerKnows(m tiny) bool {
	_, windowed := m.keys["attention.sliding_window"]
	return !windowed || m.arch != "llama" && m.arch != "phi3"
}

// peerShapes has every architecture in plain and quantised weights, and every
// weight format.
func peerShapes() (all []tiny) {
	for _, v := range append(slices.Clone(shapes[:2]), variants...) {
		if !peerKnows(v) {
			v.keys = maps.Clone(v.keys)
			delete(v.keys, "attention.sliding_window")
		}
		for _, v.format = range []gguf.Type{gguf.F32, gguf.F16, gguf.Q8_0} {
			all = append(all, v)
		}
	}
	wide := tiny{arch: "llama", layers: 2, width: 256, hidden: 256, heads: 4, kvHeads: 2, headDim: 64, vocabulary: 270, context: 512, seed: 31}
	for _, wide.format = range []gguf.Type{gguf.BF16, gguf.Q4_0, gguf.Q4_1, gguf.Q5_0, gguf.Q5_1, gguf.Q4_K, gguf.Q5_K, gguf.Q6_K} {
		all = append(all, wide)
	}
	return all
}

// peerBound is how far the distributions may diverge, in nats, at any position
// or in the mean of all, and how large a margin makes a greedy token clear.
func peerBound(v tiny) (bound float64, inTheMean bool, far float64) {
	switch {
	case v.format == gguf.BF16:
		return 1e-2, false, 0.5
	case v.format == gguf.F16:
		return 1e-3, false, 0.1
	case v.format != gguf.F32:
		return 3e-2, true, 1
	case architecture.Families[v.arch].GELU:
		return 1e-5, false, 0.1
	}
	return 1e-8, false, 0.01
}

// TestLikeThePeer compares the distributions after each of 90 tokens with those
// that llama.cpp computes from the same file. With F32 weights both do the
// same in another order of sums; llama.cpp looks GELU up in a table of half
// precision, and rounds activations to it before products with F16 and BF16
// weights. With other weights both quantise activations, to blocks that differ
// in size or in the scale's precision; a router close to a tie may then choose
// another expert, so that the mean over the tokens is what is bounded.
func TestLikeThePeer(t *testing.T) {
	if os.Getenv("KOINON_TEST_CLIENTS") == "" {
		t.Skip("set KOINON_TEST_CLIENTS=1 to install llama.cpp from npm and compare with it")
	}
	all, dir := peerShapes(), t.TempDir()
	var jobs []peerJob
	var models []*Model
	for i, v := range all {
		path := filepath.Join(dir, fmt.Sprintf("%d.gguf", i))
		if err := v.builder(t).Create(path); err != nil {
			t.Fatal(err)
		}
		m, err := Open(path, Options{Threads: 2, KVBudget: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		models = append(models, m)
		jobs = append(jobs, peerJob{path, prompt(m, 90, v.seed), v.context})
	}
	theirs := peerLogits(t, jobs)
	for i, v := range all {
		t.Run(v.String(), func(t *testing.T) { compareWithPeer(t, v, logitsOf(t, models[i], jobs[i].Tokens), theirs[i]) })
	}
}

func compareWithPeer(t *testing.T, v tiny, ours, theirs [][]float32) {
	bound, inTheMean, far := peerBound(v)
	worst, mean, agree, clear := 0.0, 0.0, 0, 0
	for p := range ours {
		d := divergence(theirs[p], ours[p])
		worst, mean = max(worst, d), mean+d/float64(len(ours))
		if margin(theirs[p]) > far {
			clear++
			if slices.Index(ours[p], slices.Max(ours[p])) == slices.Index(theirs[p], slices.Max(theirs[p])) {
				agree++
			}
		}
	}
	t.Logf("divergence %.2g, %.2g in the mean, %d of %d clear tokens agree", worst, mean, agree, clear)
	if inTheMean {
		worst = mean
	}
	if !(worst <= bound) {
		t.Errorf("the distributions diverge by %.3g nats, allowed are %.3g", worst, bound)
	}
	if agree < clear || clear < len(ours)/8 {
		t.Errorf("%d of %d clear tokens agree, of %d", agree, clear, len(ours))
	}
}
