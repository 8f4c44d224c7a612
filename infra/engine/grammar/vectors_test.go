package grammar

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"

	"github.com/koinon-network/koinon/core"
)

var update = flag.Bool("update", false, "rewrite the published vectors")

const vectorFile = "../../../spec/vectors/grammar.json"

type vectors struct {
	Note  string        `json:"note"`
	Texts []textVector  `json:"texts"`
	Large []countVector `json:"large"`
}

// textVector says what may follow a text: the next bytes, as a set of 256 bits
// of which bit b mod 8 of byte b div 8 is byte b.
type textVector struct {
	Grammar  string `json:"grammar"`
	Trigger  string `json:"trigger,omitempty"`
	Text     string `json:"text_hex"`
	Complete bool   `json:"complete"`
	Ended    bool   `json:"ended"`
	Next     string `json:"next_hex"`
}

// countVector says after how many repetitions of a text nothing may follow,
// because of the bounds.
type countVector struct {
	Grammar string `json:"grammar"`
	Text    string `json:"text"`
	Count   int    `json:"count"`
}

func (c *textVector) fill(m *Machine, s State) {
	var next [32]byte
	for b := range 256 {
		if !m.Next(s, core.Token(2+b)).Dead() {
			next[b/8] |= 1 << (b % 8)
		}
	}
	c.Complete, c.Ended, c.Next = s.Complete(), s.Ended(), hex.EncodeToString(next[:])
}

func (c *countVector) fill(m *Machine) {
	s := m.Start()
	for c.Count = 0; c.Count < 2000; c.Count++ {
		for i := range len(c.Text) {
			s = m.Next(s, core.Token(2+int(c.Text[i])))
		}
		if s.Dead() {
			return
		}
	}
}

func makeVectors(t *testing.T) vectors {
	v := vectors{Note: "Grammars, semantics version 1; see spec/grammar.md. What may follow a text, byte by byte, and where the bounds end nesting and ambiguity."}
	r := rand.New(rand.NewPCG(2026, 3))
	list := append(grammars[:len(grammars):len(grammars)], anyJSON, `root ::= [0-9]{2} "!"?`)
	for i, g := range list {
		trigger := ""
		if i == len(list)-1 {
			trigger = "aab"
		}
		m, err := NewMachine(pieces(), core.Constraint{Grammar: g, Trigger: trigger})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			s, text := m.Start(), []byte{}
			for range r.IntN(9) {
				var allowed []core.Token
				for b := range core.Token(256) {
					if next := m.Next(s, 2+b); !next.Dead() && (s.Complete() || next.Complete() || r.IntN(2) == 0) {
						allowed = append(allowed, b)
					}
				}
				if len(allowed) == 0 {
					break
				}
				b := allowed[r.IntN(len(allowed))]
				if trigger != "" && r.IntN(4) > 0 && !s.Ended() && s.Complete() {
					b = core.Token("ab"[r.IntN(2)])
				}
				if next := m.Next(s, 2+b); !next.Dead() {
					s, text = next, append(text, byte(b))
				}
			}
			c := textVector{Grammar: g, Trigger: trigger, Text: hex.EncodeToString(text)}
			c.fill(m, s)
			v.Texts = append(v.Texts, c)
		}
	}
	for _, c := range []countVector{{Grammar: `root ::= "(" root ")" | "x"`, Text: "("},
		{Grammar: `root ::= "a" root "b" | "a" root "c" | "d"`, Text: "a"},
		{Grammar: `root ::= ("a" | "aa"){0,1500}`, Text: "a"}} {
		c.fill(machine(t, c.Grammar))
		v.Large = append(v.Large, c)
	}
	return v
}

func TestPublishedVectors(t *testing.T) {
	if *update {
		b, err := json.MarshalIndent(makeVectors(t), "", " ")
		if err == nil {
			err = os.WriteFile(vectorFile, append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Texts) < 40 || len(v.Large) == 0 {
		t.Fatal("the vectors are incomplete")
	}
	for _, c := range v.Texts {
		m, err := NewMachine(pieces(), core.Constraint{Grammar: c.Grammar, Trigger: c.Trigger})
		if err != nil {
			t.Fatal(err)
		}
		text, err := hex.DecodeString(c.Text)
		if err != nil {
			t.Fatal(err)
		}
		s := m.Start()
		for _, b := range text {
			s = m.Next(s, 2+core.Token(b))
		}
		got := textVector{Grammar: c.Grammar, Trigger: c.Trigger, Text: c.Text}
		if got.fill(m, s); !reflect.DeepEqual(got, c) {
			t.Errorf("after %q: %+v, want %+v", text, got, c)
		}
	}
	for _, c := range v.Large {
		got := countVector{Grammar: c.Grammar, Text: c.Text}
		if got.fill(machine(t, c.Grammar)); got != c {
			t.Errorf("%+v, want %+v", got, c)
		}
	}
}
