package model

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// TestAnswersOnEveryInstructionSet runs the published answers in a process of
// its own for each instruction set, and asks for one that does not exist.
func TestAnswersOnEveryInstructionSet(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Skip("this system does not say which program runs")
	}
	run := func(set string) (string, error) {
		cmd := exec.Command(program, "-test.run", "^TestPublishedVectors$", "-test.count=1")
		cmd.Env = append(os.Environ(), kernel.InstructionVariable+"="+set)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, set := range kernel.InstructionSets() {
		if out, err := run(set); err != nil {
			t.Errorf("%s: %v\n%s", set, err, out)
		}
	}
	if out, err := run("mmx"); err == nil || !strings.Contains(out, kernel.InstructionVariable) {
		t.Errorf("an unknown instruction set was not refused: %v\n%s", err, out)
	}
}
