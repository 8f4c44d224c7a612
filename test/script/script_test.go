// Package script tests the command line as a user meets it: each text file in
// testdata is a session with koinon that needs no running network.
package script

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/node/command"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"koinon": func() { os.Exit(command.Main()) }})
}

func TestScripts(t *testing.T) {
	vectors, err := filepath.Abs("../../spec/vectors")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("VECTORS", vectors)
			e.Setenv("SEED_ROOT", seed.Root)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "seedmodel": seedModel, "busy": busy},
	})
}

// exits CODE ARGS... runs koinon and expects that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	err := ts.Exec("koinon", args[1:]...)
	got := "0"
	if err != nil {
		x := &exec.ExitError{}
		if !errors.As(err, &x) {
			ts.Fatalf("koinon %v: %v", args[1:], err)
		}
		got = strconv.Itoa(x.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("koinon %v: exit %s, want %s", args[1:], got, args[0])
	}
}

// seedmodel FILE writes the built-in model.
func seedModel(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: seedmodel FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), seed.Bytes(), 0o600))
}

// busy VAR takes a port until the script ends and puts its address into VAR.
func busy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: busy VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}
