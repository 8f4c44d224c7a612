package grammar

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
)

// reader decides by plain recursion over the rules what the automaton must say:
// whether a text is a sentence, and whether it is the beginning of one.
type reader struct {
	p      *parser
	text   string
	viable bool // some path needed bytes beyond the end
	memo   map[memoKey][]int
}

type memoKey struct {
	e  *expr
	at int
}

func read(p *parser, text string) (complete, viable bool) {
	r := &reader{p: p, text: text, memo: map[memoKey][]int{}}
	for _, end := range r.ends(p.named["root"].body, 0) {
		complete = complete || end == len(text)
	}
	return complete, r.viable || complete
}

// ends returns where e can end when it begins at a position.
func (r *reader) ends(e *expr, at int) []int {
	key := memoKey{e, at}
	if out, ok := r.memo[key]; ok {
		return out
	}
	var out []int
	switch e.op {
	case literal:
		rest := r.text[at:]
		if strings.HasPrefix(rest, e.text) {
			out = []int{at + len(e.text)}
		} else if strings.HasPrefix(e.text, rest) {
			r.viable = true
		}
	case class:
		out = r.class(e, at)
	case reference:
		out = r.ends(r.p.named[e.text].body, at)
	case choice:
		for _, k := range e.kids {
			out = merge(out, r.ends(k, at))
		}
	case sequence:
		out = []int{at}
		for _, k := range e.kids {
			var next []int
			for _, i := range out {
				next = merge(next, r.ends(k, i))
			}
			out = next
		}
	case repeat:
		now := []int{at}
		for n := 0; len(now) > 0 && (e.max == unbounded || n <= e.max); n++ {
			if n >= e.min {
				if before := len(out); len(merge(out, now)) == before && n > e.min {
					break
				}
				out = merge(out, now)
			}
			if n == e.max {
				break
			}
			var next []int
			for _, i := range now {
				next = merge(next, r.ends(e.kids[0], i))
			}
			now = next
		}
	}
	r.memo[key] = out
	return out
}

func (r *reader) class(e *expr, at int) []int {
	has := func(c rune) bool {
		for _, s := range e.ranges {
			if c >= s.lo && c <= s.hi {
				return true
			}
		}
		return false
	}
	rest := r.text[at:]
	if utf8.FullRuneInString(rest) {
		if c, n := utf8.DecodeRuneInString(rest); (c != utf8.RuneError || n > 1) && has(c) {
			return []int{at + n}
		}
		return nil
	}
	r.viable = r.viable || rest == "" || begins(rest, e.ranges)
	return nil
}

// begins reports whether the first bytes of some character are part.
func begins(part string, ranges []span) bool {
	lead, n, least := part[0], 0, rune(0)
	switch {
	case lead >= 0xc2 && lead <= 0xdf:
		n, least = 2, 0x80
	case lead >= 0xe0 && lead <= 0xef:
		n, least = 3, 0x800
	case lead >= 0xf0 && lead <= 0xf4:
		n, least = 4, 0x10000
	default:
		return false
	}
	c := rune(lead) & (1<<(7-n) - 1)
	for _, b := range []byte(part[1:]) {
		if b&0xc0 != 0x80 {
			return false
		}
		c = c<<6 | rune(b&0x3f)
	}
	missing := 6 * (n - len(part))
	lo, hi := max(least, c<<missing), (c+1)<<missing-1
	return len(within(ranges, lo, hi)) > 0
}

func merge(a, b []int) []int {
	for _, x := range b {
		found := false
		for _, y := range a {
			found = found || x == y
		}
		if !found {
			a = append(a[:len(a):len(a)], x)
		}
	}
	return a
}

// pieces is a vocabulary: an end token, a control token, all bytes, and others.
func pieces(others ...string) *Vocabulary {
	list := [][]byte{nil, nil}
	for b := range 256 {
		list = append(list, []byte{byte(b)})
	}
	for _, s := range others {
		list = append(list, []byte(s))
	}
	return NewVocabulary(len(list), func(t core.Token) []byte { return list[t] }, func(t core.Token) bool { return t == 0 })
}

var grammars = []string{
	`root ::= "yes" | "no" | "yesterday"`,
	`root ::= "a"* "b"`,
	`root ::= ("ab" | "a")* "c"?`,
	`root ::= "(" root ")" root | ""`,
	`root ::= item ("," ws item)*  item ::= [a-c]+ | "[" root "]"  ws ::= " "*`,
	`root ::= "a" root "b" | "a" root "c" | ""`,
	`root ::= [ab]{2,4} "c"{3} "d"{1,}`,
	`root ::= ("a" | "ab" | "ba"){2,5}`,
	`root ::= ((("a"*)*)* "b")+`,
	`root ::= x y z  x ::= "a"?  y ::= x "b"?  z ::= y "c"`,
	`root ::= [^\"\\a]+ "\""`,
	`root ::= [à-ü€😀-😎b]{1,3}`,
	`root ::= .*`,
	`root ::= "" | "a" (""* "b"){0}`,
	"root ::= # a comment\n  \"a\\n\\x41\\u20ac\\U0001F600\" | \n [\\]\\-a-] rest\nrest ::= \"c\" rest | \"d\"",
	`root ::= if | "x"   if ::= "a" root | "a" root "b" root`,
}

func TestMasksAreWhatTheGrammarSays(t *testing.T) {
	v := pieces("ab", "ba", "abab", "aabb", "()", "((", "))(", "c", "cd", "yes", "yesterday", "esterday", "€", "\x82\xac", "é€", "a,", ", a", "[a", "]]", "xb", "\xf0\x9f")
	r := rand.New(rand.NewPCG(1, 1))
	for _, g := range grammars {
		m, err := NewMachine(v, core.Constraint{Grammar: g})
		if err != nil {
			t.Fatalf("%s: %v", g, err)
		}
		p, err := parse(g)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			s, text := m.Start(), ""
			for range 14 {
				complete, viable := read(p, text)
				if s.Dead() == viable || s.Complete() != complete {
					t.Fatalf("%s: after %q dead %v, complete %v; want viable %v, complete %v", g, text, s.Dead(), s.Complete(), viable, complete)
				}
				mask := m.Mask(s)
				var allowed []core.Token
				for id := range core.Token(v.size) {
					if id > 1 && mask.Has(id) {
						allowed = append(allowed, id)
					}
					if id > 1 && id < 258 && r.IntN(20) > 0 && strings.IndexByte("abc\xc3\xf0\x82\",)", byte(id-2)) < 0 {
						continue // a byte that is seldom of interest
					}
					want := complete
					if id == 1 {
						want = false
					} else if id > 1 {
						_, want = read(p, text+string(v.pieces[id]))
					}
					if mask.Has(id) != want {
						t.Fatalf("%s: after %q token %q is allowed: %v, want %v", g, text, v.pieces[id], mask.Has(id), want)
					}
				}
				if len(allowed) == 0 {
					if !s.Ended() {
						t.Fatalf("%s: after %q nothing is allowed but the answer has not ended", g, text)
					}
					break
				}
				next := allowed[r.IntN(len(allowed))]
				if r.IntN(12) == 0 {
					next = core.Token(2 + r.IntN(v.size-2)) // perhaps a wrong one
				}
				s, text = m.Next(s, next), text+string(v.pieces[next])
				if s.Dead() {
					break
				}
			}
		}
	}
}

func accepts(t testing.TB, m *Machine, text string) bool {
	t.Helper()
	s := m.Start()
	for i := range len(text) {
		s = m.Next(s, core.Token(2+int(text[i])))
	}
	return s.Complete()
}

func machine(t testing.TB, grammar string) *Machine {
	t.Helper()
	m, err := NewMachine(pieces(), core.Constraint{Grammar: grammar})
	if err != nil {
		t.Fatalf("%s\n%v", grammar, err)
	}
	return m
}

func TestErrorsNameThePlace(t *testing.T) {
	for _, c := range []struct{ grammar, says string }{
		{``, "line 1, column 1: there is no rule named root"},
		{`a ::= "b"`, "no rule named root"},
		{"root ::= \"a\"\n  b", "line 2, column 3: there is no rule named b"},
		{"root ::= \"a\" )", `column 14: ")" does not belong here`},
		{"root ::= (\"a\"", "expected )"},
		{"root ::= \"a", "the literal does not end on its line"},
		{"root ::= [a", "the class does not end on its line"},
		{"root ::= []", "the class holds no character"},
		{`root ::= [^\x00-\U0010ffff]`, "the class holds no character"},
		{`root ::= [z-a]`, "runs backwards"},
		{`root ::= "\q"`, "no such escape"},
		{`root ::= "\u12"`, "needs 4 hexadecimal digits"},
		{`root ::= "\ud800"`, "no character U+D800"},
		{`root ::= "a"{3,2}`, "counts backwards"},
		{`root ::= "a"{x}`, "expected a number"},
		{`root ::= "a"{2`, "expected }"},
		{`root ::= "a"{9999999}`, "at most 1048576"},
		{`root ::= "a" root ::= "b"`, "the rule root is defined twice"},
		{`root = "a"`, "expected ::= after the name root"},
		{`root ::= root "a" | "b"`, "the rule root begins with itself"},
		{`root ::= a  a ::= "x"? b  b ::= a "y" | "z"`, "the rule a begins with itself"},
		{`root ::= "a" root`, "the rule root never ends"},
		{`root ::= ("a"?){2,3}`, "what is counted here can be empty"},
		{"root ::= \"\xff\"", "not UTF-8"},
		{"root ::= " + strings.Repeat("(", 200), "nested more than 100 deep"},
		{"root ::= \"a\"" + strings.Repeat("*", 200), "more than 100 repetitions"},
		{"root ::= " + strings.Repeat(`("a"|"b")? `, 3000), "too much is possible"},
		{strings.Repeat("#", 70000), "at most 65536 bytes"},
	} {
		_, err := NewMachine(pieces(), core.Constraint{Grammar: c.grammar})
		if err == nil || !strings.Contains(err.Error(), c.says) || core.CodeOf(err) != core.CodeInvalid {
			t.Errorf("%.60q: %v, want %q", c.grammar, err, c.says)
		}
	}
}

func TestTriggers(t *testing.T) {
	v := pieces("<call", "<call>", "a<call>1", "a<call>x", "1", "ll>", "<ca", "hello")
	m, err := NewMachine(v, core.Constraint{Grammar: `root ::= [0-9]+ "</call>"`, Trigger: "<call>"})
	if err != nil {
		t.Fatal(err)
	}
	token := func(s string) core.Token {
		for id := v.size - 1; id > 1; id-- {
			if string(v.pieces[id]) == s {
				return core.Token(id)
			}
		}
		t.Fatal(s)
		return 0
	}
	allowed := func(s State, id core.Token) bool { mask := m.Mask(s); return mask == nil || mask.Has(id) }
	s := m.Start()
	for _, id := range []core.Token{0, 1, token("hello"), token("<call>"), token("<call"), token("a<call>1")} {
		if !allowed(s, id) {
			t.Errorf("at the start %q is forbidden", v.pieces[id])
		}
	}
	if allowed(s, token("a<call>x")) {
		t.Error("a token may pass the trigger and break the grammar")
	}
	for _, path := range [][]string{{"<call>"}, {"<", "<ca", "ll>"}, {"hello", "<call", ">"}, {"<ca", "<call>"}, {"<ca", "hello", "<call>"}} {
		at := s
		for _, p := range path {
			if !allowed(at, token(p)) {
				t.Fatalf("%q: %q is forbidden", path, p)
			}
			at = m.Next(at, token(p))
		}
		if at.Complete() || allowed(at, 0) || allowed(at, 1) || allowed(at, token("hello")) || !allowed(at, token("1")) {
			t.Errorf("after %q the grammar does not hold", path)
		}
		if at = m.Next(at, 1); !at.Dead() {
			t.Error("a control token within the grammar")
		}
	}
	after := m.Next(m.Next(s, token("<ca")), 1)
	if after.Dead() || !allowed(after, token("ll>")) {
		t.Error("a control token within the free text breaks it")
	}
	if free := m.Next(m.Next(s, token("<ca")), token("hello")); !allowed(free, token("1")) || !free.Complete() {
		t.Error("the text is not free after a part of the trigger")
	}
	end := m.Next(m.Next(s, token("a<call>1")), token("1"))
	for _, b := range "</call>" {
		end = m.Next(end, core.Token(2+b))
	}
	if !end.Ended() || !end.Complete() {
		t.Error("the sentence has not ended")
	}
}

// What a hostile grammar may cost is bounded, and the outcome does not depend on
// what was asked before.
func TestBoundsDoNotDependOnWhatIsKept(t *testing.T) {
	v := pieces("aaaa", "ab", "abab", "bbbb", "aabbaabb", "ccc")
	for _, g := range []string{
		`root ::= "a" root "b" | "a" root "c" | "a" root "a" | "b" root "a"? "b" | ""`,
		`root ::= ("a" | "aa" | "ab" | "b"){0,5000} "c"`,
		`root ::= x* x ::= y+ | "a" y* "b" y ::= z{1,90} z ::= ("a" x "b" | "b" | "ab"){1,90}`,
		`root ::= "a" ("b" ` + strings.Repeat(`("a"|"b")? `, 3000) + `"c")?`,
	} {
		r := rand.New(rand.NewPCG(3, 3))
		warm, err := NewMachine(v, core.Constraint{Grammar: g})
		if err != nil {
			t.Fatal(err)
		}
		s := warm.Start()
		var path []core.Token
		for range 30 {
			mask := warm.Mask(s)
			cold, _ := NewMachine(v, core.Constraint{Grammar: g})
			at := cold.Start()
			for _, id := range path {
				at = cold.Next(at, id)
			}
			if other := cold.Mask(at); other.Len() != mask.Len() {
				t.Fatalf("%.50s: after %d tokens %d are allowed, %d without memory", g, len(path), mask.Len(), other.Len())
			}
			var allowed []core.Token
			for id := range core.Token(v.size) {
				if mask.Has(id) && id > 1 {
					allowed = append(allowed, id)
				}
			}
			if len(allowed) == 0 {
				break
			}
			next := allowed[r.IntN(len(allowed))]
			s, path = warm.Next(s, next), append(path, next)
			if warm.table.bytes > 64<<20 {
				t.Fatalf("%.50s: %d bytes are kept", g, warm.table.bytes)
			}
			if r.IntN(5) == 0 {
				warm.renew()
			}
		}
	}
}

func TestDeepNestingEnds(t *testing.T) {
	m := machine(t, `root ::= "(" root ")" | "x"`)
	s := m.Start()
	depth := 0
	for ; depth < 2000; depth++ {
		if s = m.Next(s, 2+'('); s.Dead() || !m.Mask(s).Has(2+'(') {
			break
		}
	}
	if depth < 400 || depth > maxDepth || s.Dead() {
		t.Fatalf("nesting ends at %d, dead %v", depth, s.Dead())
	}
	if !m.Mask(s).Has(2 + 'x') {
		t.Fatal("the deepest sentence cannot end")
	}
}

func TestCacheKeepsTheLatest(t *testing.T) {
	v := pieces()
	c := NewCache(func() *Vocabulary { return v })
	first := core.Constraint{Grammar: `root ::= "a"`}
	a, err := c.Machine(first)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := c.Machine(core.Constraint{Grammar: first.Grammar, Trigger: "x"}); a == b {
		t.Error("another trigger has the same machine")
	}
	if b, _ := c.Machine(first); a != b {
		t.Error("an equal constraint is compiled again")
	}
	for i := range 40 {
		if _, err := c.Machine(core.Constraint{Grammar: `root ::= "a"` + strings.Repeat(" ", i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := c.Machine(first); a == b || c.recent.Len() > machines || len(c.known) != c.recent.Len() {
		t.Errorf("%d machines are kept", c.recent.Len())
	}
}
