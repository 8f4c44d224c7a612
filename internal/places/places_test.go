// Package places holds the rule that nothing in the repository leans on one
// machine: no file names a private folder or a laboratory.
package places

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// The patterns are put together so that this file does not match itself.
var private = regexp.MustCompile(strings.Join([]string{
	`/wo` + `rk/`, `\.\./sha` + `red/`, `/ro` + `ot/`, `/ho` + `me/[a-z]+/`, `/Us` + `ers/[a-z]+/`, `/tm` + `p/[a-z]+`, `(?i)pro` + `totype\b`,
}, "|"))

// other people's files
var foreign = map[string]bool{"apps/console/assets/datastar.js": true, "go.sum": true, "LICENSE": true}

func TestNoFileNamesAMachine(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// What git would carry, including files that wait to be added.
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	read := 0
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || foreign[name] || !utf8.Valid(b) {
			continue
		}
		read++
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			if m := private.FindString(line); m != "" {
				t.Errorf("%s:%d names %q", name, n, m)
			}
		}
	}
	if read < 100 {
		t.Errorf("only %d files were read: the check is blind", read)
	}
}

func TestPrivate(t *testing.T) {
	for text, bad := range map[string]bool{
		"see /wo" + "rk/x":            true,
		"../sha" + "red/design":       true,
		"/ro" + "ot/.cache":           true,
		"the pro" + "totype said":     true,
		"a workshop, shared/by all":   false,
		"/no-home":                    false,
		"the network/root of a chain": false,
	} {
		if got := private.MatchString(text); got != bad {
			t.Errorf("%q: %v", text, got)
		}
	}
}
