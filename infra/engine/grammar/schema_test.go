package grammar

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/koinon-network/koinon/core"
)

// Schemas with instances that their grammars accept and refuse.
var schemaTests = []struct {
	schema   string
	accepted []string
	refused  []string
}{
	{`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"],"additionalProperties":false}`,
		[]string{`{"name":"Ann","age":3}`, `{"name": "é\n\u00e9", "age": -12}`, "{\n  \"name\":\"\",\n  \"age\":0\n}"},
		[]string{`{"age":3,"name":"Ann"}`, `{"name":"Ann"}`, `{"name":1,"age":3}`, `{"name":"a","age":3,"b":1}`, `{"name":"a","age":03}`, `{"name":"a","age":1.5}`}},
	{`{"type":"object","properties":{"a":{"type":"null"},"b":{"type":"boolean"},"c":{}}}`,
		[]string{`{}`, `{"a":null}`, `{"b":true}`, `{"a":null,"c":[1,{"x":"y"}]}`, `{"a":null,"b":false,"c":"d"}`}, []string{`{,"b":true}`, `{"b":true,}`, `{"b":true "c":1}`, `{"d":1}`}},
	{`{"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"null"}},"required":["ab"],"additionalProperties":{"type":"string"}}`,
		[]string{`{"ab":null}`, `{"a":1,"ab":null,"b":"x","abc":"y","":"z"}`}, []string{`{"ab":null,"a":"x"}`, `{"ab":null,"ab":"x"}`, `{"ab":null,"c":1}`}},
	{`{"type":"object","additionalProperties":{"type":"integer"}}`, []string{`{}`, `{"x":1,"y":2}`}, []string{`{"x":"y"}`}},
	{`{"type":"object"}`, []string{`{}`, `{"x":[null,{"y":1e5}]}`}, []string{`[]`, `{"x"}`}},
	{`{"enum":["red","green",3,null,{"a":[1]}]}`, []string{`"red"`, `3`, `null`, `{"a":[1]}`}, []string{`"blue"`, `4`}},
	{`{"type":"string","enum":["a","b",1]}`, []string{`"a"`}, []string{`1`}},
	{`{"const":"a\"b\\c\n"}`, []string{`"a\"b\\c\n"`}, []string{`"a"`}},
	{`{"anyOf":[{"type":"string","maxLength":2},{"type":"array","items":{"type":"integer"}}]}`, []string{`"ab"`, `[1,2]`, `[]`}, []string{`"abc"`, `["a"]`}},
	{`{"oneOf":[{"type":"string"},{"type":"null"}]}`, []string{`"ab"`, `null`}, []string{`1`}},
	{`{"type":["string","null"],"minLength":1}`, []string{`"a"`, `null`}, []string{`""`}},
	{`{"type":"string","minLength":2,"maxLength":4}`, []string{`"ab"`, `"😀😀"`, `"\ud83d\ude00\n"`, `"abcd"`}, []string{`"a"`, `"abcde"`, `"\ud83d"`, `"\ud83d\ude00"`}},
	{`{"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":3}`, []string{`[true,false]`, `[true, true, true]`}, []string{`[true]`, `[true,true,true,true]`, `[]`}},
	{`{"type":"array","maxItems":1}`, []string{`[]`, `["x"]`}, []string{`[1,2]`}},
	{`{"type":"array","maxItems":0}`, []string{`[]`}, []string{`[1]`}},
	{`{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false,"minItems":1}`, []string{`["a"]`, `["a",1]`}, []string{`[]`, `["a",1,2]`, `[1]`}},
	{`{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"null"},"minItems":2,"maxItems":3}`, []string{`["a",null]`, `["a",null,null]`}, []string{`["a"]`, `["a",null,null,null]`}},
	{`{"type":"integer","minimum":-12,"maximum":345}`, []string{`-12`, `-1`, `0`, `9`, `10`, `99`, `100`, `299`, `345`}, []string{`-13`, `346`, `400`, `1000`, `00`, `-0`}},
	{`{"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":1000}`, []string{`1`, `999`, `500`}, []string{`0`, `1000`, `-1`}},
	{`{"type":"integer","minimum":18}`, []string{`18`, `99`, `123456789`}, []string{`17`, `-18`, `1`}},
	{`{"type":"integer","maximum":-3}`, []string{`-3`, `-30`}, []string{`-2`, `3`, `0`}},
	{`{"type":"number","minimum":-1,"maximum":2}`, []string{`-1`, `-0.5`, `0`, `1.999`, `2`, `2.0`}, []string{`-1.1`, `2.1`, `3`}},
	{`{"type":"number","minimum":0}`, []string{`0`, `12.5`}, []string{`-1`}},
	{`{"type":"number","maximum":-2}`, []string{`-2`, `-2.5`, `-77`}, []string{`-1.5`, `0`}},
	{`{"type":"number"}`, []string{`1e10`, `-2.5E-3`, `0.1`}, []string{`.5`, `1.`, `+1`}},
	{`{"type":"string","format":"date"}`, []string{`"2024-02-29"`, `"2023-12-31"`, `"2000-02-29"`, `"2023-04-30"`}, []string{`"2023-02-29"`, `"2023-04-31"`, `"2023-13-01"`, `"1900-02-29"`}},
	{`{"type":"string","format":"date-time"}`, []string{`"2024-02-29T23:59:59Z"`, `"2023-12-31T00:00:00.123+01:30"`}, []string{`"2023-12-31"`, `"2023-12-31T24:00:00Z"`}},
	{`{"type":"string","format":"time"}`, []string{`"23:59:59Z"`}, []string{`"1:00:00Z"`}},
	{`{"type":"string","format":"uuid"}`, []string{`"123e4567-e89b-12d3-a456-426614174000"`}, []string{`"123e4567e89b12d3a456426614174000"`}},
	{`{"type":"string","pattern":"^[a-z]+\\d{2,3}$"}`, []string{`"ab12"`, `"z999"`}, []string{`"12"`, `"ab1"`, `"ab12x"`}},
	{`{"type":"string","pattern":"ab"}`, []string{`"ab"`, `"xxabyy"`}, []string{`"axb"`}},
	{`{"type":"string","pattern":"^(foo|ba[^rz]|\"q\\\\)$|^x"}`, []string{`"foo"`, `"bat"`, `"ba\n"`, `"ba\""`, `"\"q\\"`, `"xyz"`}, []string{`"bar"`, `"foox"`}},
	{`{"type":"string","pattern":"^a.b$"}`, []string{`"a\tb"`, `"aéb"`}, []string{`"a\nb"`}},
	{`{"type":"string","pattern":"^\u00e9\\w*\\s?$"}`, []string{`"é_a1 "`, `"é\t"`}, []string{`"éé"`}},
	{`{"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}},"$ref":"#/$defs/node"}`,
		[]string{`{"v":1,"next":null}`, `{"v":1,"next":{"v":2,"next":{"v":3,"next":null}}}`}, []string{`{"v":1}`, `{"v":1,"next":{"v":2}}`}},
	{`{"type":"array","items":{"$ref":"#"}}`, []string{`[]`, `[[],[[]]]`}, []string{`[1]`}},
	{`{"allOf":[{"$ref":"#/definitions/x~1y"}],"definitions":{"x/y":{"const":1}},"description":"d"}`, []string{`1`}, []string{`2`}},
	{`{"properties":{"a":{"type":"string"}}}`, []string{`{"a":"b"}`, `{}`}, []string{`{"a":1}`}},
	{`true`, []string{`{"a":[1,"x",null]}`, `1`}, []string{`x`}},
	{`{"items":{"type":"integer","minimum":0,"maximum":9}}`, []string{`[1,2]`}, []string{`[10]`}},
}

func TestSchemas(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for _, c := range schemaTests {
		text, err := FromSchema([]byte(c.schema))
		if err != nil {
			t.Errorf("%s: %v", c.schema, err)
			continue
		}
		m, valid := machine(t, text), validator(t, c.schema)
		for _, instance := range c.accepted {
			if !accepts(t, m, instance) {
				t.Errorf("%s does not accept %s", c.schema, instance)
			}
			if err := valid(instance); err != nil {
				t.Errorf("%s: %s is not valid at all: %v", c.schema, instance, err)
			}
		}
		for _, instance := range c.refused {
			if accepts(t, m, instance) {
				t.Errorf("%s accepts %s", c.schema, instance)
			}
		}
		found := 0
		for range 90 {
			if instance, ok := wander(r, m); ok {
				found++
				if err := valid(instance); err != nil {
					t.Fatalf("%s accepts %s, which is not valid: %v\n%s", c.schema, instance, err, text)
				}
			}
		}
		if found == 0 {
			t.Errorf("%s: none of 90 walks found an instance", c.schema)
		}
	}
}

func validator(t *testing.T, schema string) func(instance string) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	return func(instance string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(instance))
		if err != nil {
			return err
		}
		return s.Validate(v)
	}
}

// wander draws a sentence byte by byte.
func wander(r *rand.Rand, m *Machine) (string, bool) {
	s := m.Start()
	var text []byte
	for len(text) < 300 {
		if s.Complete() && (s.Ended() || r.IntN(3) == 0) {
			return string(text), true
		}
		mask := m.Mask(s)
		var ids []core.Token
		for id := core.Token(2); id < 258; id++ {
			if mask.Has(id) {
				ids = append(ids, id)
				if id == 2+'a' || id == 2+'b' {
					ids = append(ids, id, id, id, id, id, id, id, id)
				}
				if strings.IndexByte(`"]},:`, byte(id-2)) >= 0 {
					for range 1 + len(ids)/2 { // what ends something is likelier
						ids = append(ids, id)
					}
				}
			}
		}
		if len(ids) == 0 {
			return string(text), s.Complete()
		}
		id := ids[r.IntN(len(ids))]
		s, text = m.Next(s, id), append(text, byte(id-2))
	}
	return "", false
}

func TestSchemasThatCannotBeHonoured(t *testing.T) {
	for _, c := range []struct{ schema, says string }{
		{`{"type":"object","patternProperties":{}}`, "at #: patternProperties cannot be honoured"},
		{`{"type":"array","uniqueItems":true}`, "uniqueItems cannot be honoured"},
		{`{"properties":{"a":{"type":"number","multipleOf":3}}}`, "at #/properties/a: multipleOf cannot"},
		{`{"not":{}}`, "not cannot be honoured"},
		{`{"if":{},"then":{}}`, "if cannot be honoured"},
		{`{"allOf":[{},{}]}`, "allOf of more than one"},
		{`{"anyOf":[{"type":"null"}],"properties":{}}`, "properties beside anyOf"},
		{`{"$ref":"http://example.com/x"}`, "only references within the schema"},
		{`{"$ref":"#/$defs/x"}`, "there is no #/$defs/x"},
		{`{"$ref":"#"}`, "without an end"},
		{`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`, "without an end"},
		{`{"type":"text"}`, `type "text" is none of`},
		{`{"type":"string","format":"email"}`, `the format "email"`},
		{`{"type":"string","pattern":"(?=a)"}`, "cannot be honoured"},
		{`{"type":"string","pattern":"\\bword"}`, "cannot be honoured"},
		{`{"type":"string","pattern":"a$b"}`, "an anchor in the middle"},
		{`{"type":"string","pattern":"(a)\\1"}`, "cannot be honoured"},
		{`{"type":"string","pattern":"a","maxLength":3}`, "together"},
		{`{"type":"string","minLength":3,"maxLength":2}`, "minLength is 3 and maxLength is 2"},
		{`{"type":"string","maxLength":-1}`, "not a count"},
		{`{"type":"integer","minimum":2,"maximum":1}`, "no number is at least 2"},
		{`{"type":"number","minimum":0.5}`, "minimum 0.5 cannot"},
		{`{"type":"number","exclusiveMinimum":0}`, "exclusiveMinimum 0 cannot"},
		{`{"required":["a"]}`, `the required property "a" is not described`},
		{`{"enum":[]}`, "at least one value"},
		{`{"type":"string","enum":[1]}`, "no value is of the type"},
		{`{"items":[{}]}`, "use prefixItems"},
		{`false`, "nothing is allowed"},
		{`{"a":1,"a":2}`, `names "a" twice`},
		{`{"type":`, "is no JSON"},
		{`{} {}`, "something after"},
		{`7`, "a schema is an object"},
		{strings.Repeat(`{"items":`, 100) + "{}" + strings.Repeat("}", 100), "nested more than 64"},
		{`{"enum":["` + strings.Repeat("x", 70000) + `"]}`, "too large"},
	} {
		text, err := FromSchema([]byte(c.schema))
		if err == nil || !strings.Contains(err.Error(), c.says) || core.CodeOf(err) != core.CodeInvalid {
			t.Errorf("%.80s: %v, %.80q; want %q", c.schema, err, text, c.says)
		}
	}
}

func TestPatternsInECMAScript(t *testing.T) {
	text, err := FromSchema([]byte(`{"type":"string","pattern":"^\\u00e9\\/\\-[\\]\\u0041]$"}`))
	if err != nil {
		t.Fatal(err)
	}
	if m := machine(t, text); !accepts(t, m, `"é/-A"`) || !accepts(t, m, `"é/-]"`) || accepts(t, m, `"é/-B"`) {
		t.Error("escapes of ECMAScript are misread")
	}
}

func TestIntegerRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	for range 60 {
		lo := r.Int64N(2400) - 1200
		hi := lo + r.Int64N(1500)
		b := newBuilder()
		m := machine(t, "root ::= "+strings.Join(signed(lo, hi, 1, digits), " | ")+"\n"+b.text(""))
		for n := int64(-1300); n < 2800; n += 1 + r.Int64N(3) {
			s, _ := json.Marshal(n)
			if got := accepts(t, m, string(s)); got != (n >= lo && n <= hi) {
				t.Fatalf("%d to %d: %d is accepted: %v", lo, hi, n, got)
			}
		}
	}
}

func TestJSONObject(t *testing.T) {
	m := machine(t, JSONObject())
	for text, want := range map[string]bool{`{}`: true, `{"a":[1,{"b":"c"}, null]}`: true, "{\n\t\"a\": true\n}": true, `[]`: false, `"a"`: false, `{"a"}`: false, `{}x`: false} {
		if accepts(t, m, text) != want {
			t.Errorf("%s: accepted %v", text, !want)
		}
	}
	r := rand.New(rand.NewPCG(4, 9))
	for range 200 {
		if text, ok := wander(r, m); ok && (!json.Valid([]byte(text)) || !utf8.ValidString(text)) {
			t.Fatalf("%q is no JSON", text)
		}
	}
}

func FuzzFromSchema(f *testing.F) {
	for _, c := range schemaTests {
		f.Add([]byte(c.schema))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		text, err := FromSchema(schema)
		if err != nil {
			if core.CodeOf(err) != core.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		if _, err := compile(text, ""); err != nil {
			t.Fatalf("%s: the grammar is wrong: %v", schema, err)
		}
	})
}

func FuzzGrammar(f *testing.F) {
	for _, g := range grammars {
		f.Add(g, "ab(c)", "")
	}
	f.Add(anyJSON, `{"a": [1, "x"]}`, "{")
	v := pieces("ab", "aaaa", `{"`, `":`)
	f.Fuzz(func(t *testing.T, grammar, text, trigger string) {
		if len(trigger) > core.MaxTrigger || len(text) > 200 {
			return
		}
		m, err := NewMachine(v, core.Constraint{Grammar: grammar, Trigger: trigger})
		if err != nil {
			if core.CodeOf(err) != core.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		s := m.Start()
		for i := range len(text) {
			id := core.Token(2 + int(text[i]))
			mask := m.Mask(s)
			next := m.Next(s, id)
			if allowed := mask == nil || mask.Has(id); allowed == next.Dead() && mask.Len() > 0 {
				t.Fatalf("%q: after %q the byte %q is allowed: %v, and leads nowhere: %v", grammar, text[:i], text[i], allowed, next.Dead())
			}
			if s = next; s.Dead() {
				return
			}
		}
	})
}
