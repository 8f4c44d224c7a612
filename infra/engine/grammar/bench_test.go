package grammar

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// large is a vocabulary of 151,936 tokens made like those of byte-level BPE: all
// bytes, words with and without a space, capitals, other scripts, runs of space
// and signs.
func large() *Vocabulary {
	const n = 151_936
	r := rand.New(rand.NewPCG(1, 5))
	list := make([][]byte, 0, n)
	seen := map[string]bool{}
	add := func(s string) {
		if !seen[s] && len(list) < n {
			seen[s] = true
			list = append(list, []byte(s))
		}
	}
	list = append(list, nil, nil)
	for b := range 256 {
		add(string([]byte{byte(b)}))
	}
	for i := 2; i < 128; i++ {
		add(strings.Repeat(" ", i))
	}
	syllables := strings.Fields("a an ar at be ber ca ch ci co con de der di e ed en er es ex fi for ge gra h i ic in ing ion is it k la le li ly ma ment mi mo n na ne ness no o of on or ou p per pre pro r ra re ri ro s se si sh st t ta ter th ti tion to tr u un ur us ve w y z")
	signs := []rune(`{}[]()<>":;,.!?/\|-_=+*&^%$#@'~` + "`\n\t")
	scripts := [][2]rune{{0x430, 0x44f}, {0x4e00, 0x9fa5}, {0x3b1, 0x3c9}, {0x3041, 0x3096}, {0xac00, 0xd7a3}, {0xe0, 0xff}}
	for len(list) < n {
		var b strings.Builder
		switch k := r.IntN(100); {
		case k < 80:
			if k < 50 {
				b.WriteByte(' ')
			}
			word := ""
			for range 1 + r.IntN(4) {
				word += syllables[r.IntN(len(syllables))]
			}
			if k%8 == 0 {
				word = strings.ToUpper(word[:1]) + word[1:]
			}
			b.WriteString(word)
		case k < 88:
			s := scripts[r.IntN(len(scripts))]
			for range 1 + r.IntN(4) {
				b.WriteRune(s[0] + r.Int32N(s[1]-s[0]))
			}
		default:
			for range 1 + r.IntN(4) {
				b.WriteRune(signs[r.IntN(len(signs))])
			}
		}
		add(b.String())
	}
	return NewVocabulary(n, func(t core.Token) []byte { return list[t] }, func(t core.Token) bool { return t == 0 })
}

const anyJSON = `root ::= ws value ws
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (member ("," ws member)*)? "}"
member ::= string ws ":" ws value ws
array ::= "[" ws (value ws ("," ws value ws)*)? "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
ws ::= [ \n\t\r]*
`

func BenchmarkMask(b *testing.B) {
	v := large()
	for _, c := range []struct{ name, grammar, text string }{
		{"start", anyJSON, ``},
		{"key", anyJSON, `{"`},
		{"string", anyJSON, `{"name": "An`},
		{"number", anyJSON, `{"name": 12`},
		{"bounded string", `root ::= "\"" [^"\\\x00-\x1f]{10,1000} "\""`, `"An`},
		{"words", `root ::= [a-z]+ (" " [a-z]+)*`, `an`},
		{"any", `root ::= .*`, `an`},
	} {
		at := func(m *Machine) State {
			s := m.Start()
			for i := range len(c.text) {
				s = m.Next(s, core.Token(2+int(c.text[i])))
			}
			return s
		}
		b.Run(c.name+"/first", func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				m, err := NewMachine(v, core.Constraint{Grammar: c.grammar})
				if err != nil {
					b.Fatal(err)
				}
				s := at(m)
				b.StartTimer()
				m.Mask(s)
			}
		})
		b.Run(c.name+"/again", func(b *testing.B) {
			m, _ := NewMachine(v, core.Constraint{Grammar: c.grammar})
			s := at(m)
			m.Mask(s)
			for b.Loop() {
				m.Mask(s)
			}
		})
	}
}

func BenchmarkNewVocabulary(b *testing.B) {
	for b.Loop() {
		large()
	}
}

const order = `{"type":"object","properties":{"id":{"type":"integer"},"customer":{"type":"object","properties":{"name":{"type":"string"},
"email":{"type":"string","maxLength":80},"vip":{"type":"boolean"}},"required":["name","email","vip"],"additionalProperties":false},
"items":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-\\d{4}$"},"quantity":{"type":"integer","minimum":1,"maximum":99},
"note":{"type":["string","null"]}},"required":["sku","quantity","note"],"additionalProperties":false}},
"due":{"type":"string","format":"date"},"status":{"enum":["open","paid","sent"]},"comment":{"type":"string"}},
"required":["id","customer","items","due","status","comment"],"additionalProperties":false}`

const filled = `{"id": 48213, "customer": {"name": "Anna Contreras de la Corte", "email": "anna.contreras@example.org", "vip": true}, "items": [` +
	`{"sku": "ABC-1234", "quantity": 3, "note": "please wrap it as a present"}, {"sku": "XYZ-9876", "quantity": 12, "note": null}], ` +
	`"due": "2026-11-27", "status": "paid", "comment": "The customer asked for a delivery in the morning and for a printed invoice in the parcel."}`

// BenchmarkAnswer follows an answer token by token: its cost a token, where the
// grammar is new and where it was used before.
func BenchmarkAnswer(b *testing.B) {
	v := large()
	ids := map[string]core.Token{}
	for id, p := range v.pieces {
		ids[string(p)] = core.Token(id)
	}
	var tokens []core.Token
	for rest := filled; rest != ""; {
		n := min(len(rest), 40)
		for ; ids[rest[:n]] == 0; n-- {
		}
		tokens, rest = append(tokens, ids[rest[:n]]), rest[n:]
	}
	grammar, err := FromSchema([]byte(order))
	if err != nil {
		b.Fatal(err)
	}
	follow := func(m *Machine) {
		s := m.Start()
		for _, id := range tokens {
			if mask := m.Mask(s); !mask.Has(id) {
				b.Fatalf("%q is not allowed", v.pieces[id])
			}
			s = m.Next(s, id)
		}
		if !s.Ended() {
			b.Fatal("the answer has not ended")
		}
	}
	warm, err := NewMachine(v, core.Constraint{Grammar: grammar})
	if err != nil {
		b.Fatal(err)
	}
	follow(warm)
	perToken := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(tokens)), "µs/token")
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			m, err := NewMachine(v, core.Constraint{Grammar: grammar})
			if err != nil {
				b.Fatal(err)
			}
			follow(m)
		}
		perToken(b)
	})
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			follow(warm)
		}
		perToken(b)
	})
}
