package core

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"testing"
)

func TestAmounts(t *testing.T) {
	for _, c := range []struct {
		in, akoin, people string
	}{
		{"0", "0", "0 koin"}, {"1500", "1500", "0.0000000000000015 koin"}, {"1500akoin", "1500", "0.0000000000000015 koin"},
		{"1koin", "1000000000000000000", "1 koin"}, {"0.25koin", "250000000000000000", "0.25 koin"}, {" 2.50 koin ", "2500000000000000000", "2.5 koin"},
		{".5koin", "500000000000000000", "0.5 koin"},
	} {
		a, err := ParseAmount(c.in)
		if err != nil || a.String() != c.akoin || a.Format() != c.people {
			t.Errorf("%q is %s, %s, %v", c.in, a, a.Format(), err)
		}
	}
	for _, bad := range []string{"", "-1", "+1", "1.5", "1e3", "koin", "0x10", "1.0000000000000000001koin", "1 000", "١", "1" + string(make([]byte, 200))} {
		if a, err := ParseAmount(bad); err == nil {
			t.Errorf("%q passes as %s", bad, a)
		}
	}
	if _, err := AmountFromBig(new(big.Int).Lsh(big.NewInt(1), 256)); err == nil {
		t.Error("2^256 passes")
	}
	if _, err := AmountFromBig(big.NewInt(-1)); err == nil {
		t.Error("-1 passes")
	}
	if _, ok := NewAmount(1).Sub(NewAmount(2)); ok {
		t.Error("1 - 2 is an amount")
	}
}

func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"1", "0.5koin", "12akoin", ".koin", "1.2.3koin"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAmount(s)
		if err != nil {
			return
		}
		for _, again := range []string{a.String(), a.String() + "akoin", a.Format()} {
			if b, err := ParseAmount(again); err != nil || a.Cmp(b) != 0 {
				t.Fatalf("%q is %s, read back from %q as %s: %v", s, a, again, b, err)
			}
		}
	})
}

// distinct fills every field of v with something, and returns one copy per
// field in which only that field differs.
func distinct[T any](v T) (T, map[string]T) {
	fill := func(f reflect.Value, n int64) {
		switch x := f.Addr().Interface().(type) {
		case *Amount:
			*x = NewAmount(uint64(n))
		case **Progress:
			*x = &Progress{Count: uint32(n)}
		case **uint64:
			u := uint64(n)
			*x = &u
		case *[]Token:
			*x = []Token{Token(n)}
		case *[]TokenBias:
			*x = []TokenBias{{Token: Token(n), Bias: int32(-n)}}
		case **Constraint:
			*x = &Constraint{Grammar: string(rune('a' + n%26)), Trigger: string(rune('A' + n%26))}
		case *[]string:
			*x = []string{string(rune('a' + n%26))}
		case *Sampler:
			x.Temperature = uint32(n)
		case *Pooling:
			*x = Pooling(rune('a' + n%26))
		default:
			switch f.Kind() {
			case reflect.Array:
				f.Index(0).SetUint(uint64(n % 251))
			case reflect.Uint32, reflect.Uint64:
				f.SetUint(uint64(n))
			case reflect.Int32, reflect.Int64:
				f.SetInt(n)
			case reflect.String:
				f.SetString(string(rune('a' + n%26)))
			case reflect.Bool:
				f.SetBool(n%2 == 0)
			default:
				panic(f.Type())
			}
		}
	}
	all := reflect.ValueOf(&v).Elem()
	for i := range all.NumField() {
		fill(all.Field(i), int64(10+2*i))
	}
	others := map[string]T{}
	for i := range all.NumField() {
		o := v
		fill(reflect.ValueOf(&o).Elem().Field(i), int64(101+2*i))
		others[all.Type().Field(i).Name] = o
	}
	return v, others
}

// Whatever field of a signed value is changed, its digest changes.
func TestDigestsCoverEveryField(t *testing.T) {
	receipt, receipts := distinct(Receipt{})
	for name, r := range receipts {
		if r.Digest() == receipt.Digest() {
			t.Errorf("the receipt's digest does not cover %s", name)
		}
	}
	request, requests := distinct(Request{})
	for name, r := range requests {
		if r.Digest() == request.Digest() {
			t.Errorf("the request's digest does not cover %s", name)
		}
	}
	sampler, samplers := distinct(Sampler{})
	for name, s := range samplers {
		if s.Digest() == sampler.Digest() {
			t.Errorf("the sampler's digest does not cover %s", name)
		}
	}
	progress, progresses := distinct(Progress{})
	for name, p := range progresses {
		if (p.Digest(1) == progress.Digest(1)) != (name == "Signature") {
			t.Errorf("the progress's digest and %s", name)
		}
	}
	if progress.Digest(1) == progress.Digest(2) {
		t.Error("a progress is valid on another chain")
	}
}

func TestWorstCase(t *testing.T) {
	for _, c := range []struct {
		input   int
		prompt  uint32
		most    uint32
		pooling Pooling
		want    Usage
	}{
		{4, 4, 10, "", Usage{Input: 4, Output: 10}}, {9, 4, 10, "", Usage{Input: 4, Output: 5}}, {14, 4, 10, "", Usage{Input: 4}},
		{4, 4, 0, "", Usage{Input: 4}}, {4, 9, 10, "", Usage{Input: 9}}, {4, 4, 10, PoolMean, Usage{Input: 4}},
	} {
		r := Request{Input: make([]Token, c.input), Prompt: c.prompt, Sampler: Sampler{MaxTokens: c.most}, Pooling: c.pooling}
		if got := r.Worst(); got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestVectors(t *testing.T) {
	v := []float32{0.6, -0.8, 0}
	got, err := DecodeVector(EncodeVector(v))
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Error(got, err)
	}
	for _, bad := range []Bytes{nil, {1}, {1, 2, 3}, EncodeVector([]float32{0}), EncodeVector([]float32{1, 1}), EncodeVector([]float32{float32(math.Inf(1))}), make(Bytes, 4*MaxVector+4)} {
		if _, err := DecodeVector(bad); err == nil {
			t.Errorf("%d bytes pass", len(bad))
		}
	}
	if HashLogprobs(nil) != (Hash{}) || HashLogprobs([]TokenLogprobs{{{Token: 1}}, {{Token: 2}}}) == HashLogprobs([]TokenLogprobs{{{Token: 1}, {Token: 2}}}) {
		t.Error("log-probabilities of different positions run together")
	}
}

func FuzzDecodeVector(f *testing.F) {
	f.Add([]byte(EncodeVector([]float32{0.6, 0.8})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := DecodeVector(b); err == nil && string(EncodeVector(v)) != string(b) {
			t.Fatal(v)
		}
	})
}

func TestFieldsDoNotRunTogether(t *testing.T) {
	a := Sampler{Stop: []string{"ab", "c"}}
	b := Sampler{Stop: []string{"a", "bc"}}
	if a.Digest() == b.Digest() {
		t.Error("stop strings run together")
	}
	if HashTokens([]Token{1}) == HashTokens([]Token{1, 0}) || HashTokens(nil) == HashTokens([]Token{0}) {
		t.Error("token hashes do not bind the length")
	}
	if TokenChain(TokenChain(Hash{}, []Token{1}), []Token{2}) != TokenChain(Hash{}, []Token{1, 2}) {
		t.Error("a token chain depends on its chunks")
	}
}

func TestTextForms(t *testing.T) {
	type all struct {
		H Hash
		A Address
		S Signature
		B Bytes
		M Amount
	}
	v := all{H: Hash{1}, A: Address{2}, S: Signature{3}, B: Bytes{4}, M: NewAmount(5)}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var w all
	if err := json.Unmarshal(b, &w); err != nil || !reflect.DeepEqual(v, w) {
		t.Errorf("%s: %+v %v", b, w, err)
	}
	for _, bad := range []string{`{"H":"00"}`, `{"A":"1234"}`, `{"S":"0x12"}`, `{"B":"0xz"}`, `{"M":"-1"}`} {
		if json.Unmarshal([]byte(bad), &w) == nil {
			t.Errorf("%s passes", bad)
		}
	}
}
