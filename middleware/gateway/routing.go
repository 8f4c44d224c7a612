package gateway

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/koinon-network/koinon/core"
)

// routing is what a caller wishes about who answers, in OpenRouter's words.
type routing struct {
	Model    string      `json:"model"`
	Models   []string    `json:"models"`
	Provider *preference `json:"provider"`
}

// preference narrows and orders the providers of a model. Names are addresses
// or monikers; only an address cannot be taken by somebody else.
type preference struct {
	Order          []string   `json:"order"`
	Only           []string   `json:"only"`
	Ignore         []string   `json:"ignore"`
	Sort           string     `json:"sort"`
	MaxPrice       *priceCaps `json:"max_price"`
	AllowFallbacks *bool      `json:"allow_fallbacks"`
	Tier           core.Tier  `json:"tier"` // as behind a model's name
}

// priceCaps are the highest prices that will do.
type priceCaps struct {
	Prompt     perMillion `json:"prompt"`
	Completion perMillion `json:"completion"`
	Request    perMillion `json:"request"`
}

// perMillion is a price for a million tokens.
type perMillion struct {
	core.Amount
	set bool
}

// UnmarshalJSON reads an amount with its unit, or a number of koin.
func (p *perMillion) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var s string
	if json.Unmarshal(b, &s) != nil || strings.Trim(s, "0123456789.") == "" {
		s = strings.Trim(string(b), `"`) + core.Denom
	}
	a, err := core.ParseAmount(s)
	if err != nil {
		return invalid("provider.max_price", "provider.max_price: %v; a number is koin per million tokens", err)
	}
	*p = perMillion{a, true}
	return nil
}

// allows reports whether a price per token is within the cap.
func (p perMillion) allows(token core.Amount) bool {
	return !p.set || token.Mul(1_000_000).Cmp(p.Amount) <= 0
}

var preferenceRules = rules{nil, map[string]refusal{
	"require_parameters": {[]string{"true", "false"}, "every provider honours every parameter"},
	"data_collection":    {[]string{`"allow"`}, "what a provider keeps of a prompt cannot be known; ask nothing that a stranger must not read"},
	"zdr":                {[]string{"false"}, "what a provider keeps of a prompt cannot be known; ask nothing that a stranger must not read"},
	"quantizations":      {[]string{"[]"}, "a model's name stands for one file with one format of weights"},
}}

// UnmarshalJSON implements [json.Unmarshaler].
func (p *preference) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	type bare preference
	return preferenceRules.part("provider", b, (*bare)(p))
}

// Limits of a caller's wishes.
const (
	maxModels = 16
	maxNames  = 64 // of providers, in each list
)

// names are the models to try, in order.
func (p *routing) names() ([]string, error) {
	if len(p.Models) > maxModels {
		return nil, invalid("models", "models: %d, at most %d are possible", len(p.Models), maxModels)
	}
	var names []string
	for _, n := range append([]string{p.Model}, p.Models...) {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil, invalid("model", "model: say which model to ask; GET /v1/models lists them")
	}
	return names, nil
}

func (p *preference) check() error {
	for _, l := range []struct {
		name string
		list []string
	}{{"order", p.Order}, {"only", p.Only}, {"ignore", p.Ignore}} {
		if len(l.list) > maxNames {
			return invalid("provider."+l.name, "provider.%s: %d names, at most %d are possible", l.name, len(l.list), maxNames)
		}
	}
	if !slices.Contains([]string{"", "price", "throughput", "latency"}, p.Sort) {
		return invalid("provider.sort", "provider.sort: %q is not supported; use price, throughput or latency", clip(p.Sort, 40))
	}
	if p.Tier != "" && p.Tier != core.TierExact && p.Tier != core.TierStatistical {
		return invalid("provider.tier", "provider.tier: %q is not supported; use exact or statistical", clip(string(p.Tier), 40))
	}
	if p.MaxPrice != nil && p.MaxPrice.Request.set {
		return invalid("provider.max_price.request", "provider.max_price.request: not supported, there is no price per request")
	}
	return nil
}

// on checks the wishes and splits what a caller names a model into its name and
// the tier that is wished.
func (p *routing) on(model string) (name string, t core.Tier, err error) {
	name, t = tierOf(model)
	if w := p.Provider; w != nil {
		if err := w.check(); err != nil {
			return name, t, err
		}
		if w.Tier == core.TierExact && t != core.TierExact {
			return name, t, invalid("provider.tier", "provider.tier: the model %s is of another tier", clip(model, 100))
		}
		t = cmp.Or(w.Tier, t)
	}
	return name, t, nil
}

// place is where a provider stands in a list of names, or -1.
func place(list []string, p core.Provider) int {
	address := p.Address.String()
	return slices.IndexFunc(list, func(n string) bool { return n == p.Moniker || strings.EqualFold(n, address) })
}

// allows reports whether a candidate may be asked at all.
func (p *preference) allows(c candidate) bool {
	if p == nil {
		return true
	}
	if m := p.MaxPrice; m != nil && (!m.Prompt.allows(c.offer.PriceIn) || !m.Completion.allows(c.offer.PriceOut)) {
		return false
	}
	strict := p.AllowFallbacks != nil && !*p.AllowFallbacks && len(p.Order) > 0
	return (len(p.Only) == 0 || place(p.Only, c.provider) >= 0) && place(p.Ignore, c.provider) < 0 &&
		(!strict || place(p.Order, c.provider) >= 0)
}

// arrange puts candidates, ranked already, into the caller's order.
func (p *preference) arrange(cs []candidate, seen func(core.Address) Observation) []candidate {
	if p == nil {
		return cs
	}
	slices.SortStableFunc(cs, func(a, b candidate) int {
		x, y := place(p.Order, a.provider), place(p.Order, b.provider)
		switch {
		case x >= 0 && y >= 0:
			return x - y
		case x >= 0:
			return -1
		case y >= 0:
			return 1
		}
		u, v := seen(a.provider.Address), seen(b.provider.Address)
		switch p.Sort {
		case "price":
			if c := a.offer.PriceOut.Cmp(b.offer.PriceOut); c != 0 {
				return c
			}
			return a.offer.PriceIn.Cmp(b.offer.PriceIn)
		case "throughput": // those never seen come after those that were
			return cmp.Compare(v.Speed, u.Speed)
		case "latency":
			return cmp.Compare(orMuch(u.Latency), orMuch(v.Latency))
		}
		return 0
	})
	return cs
}

func orMuch(x float64) float64 {
	if x == 0 {
		return 1e9
	}
	return x
}

// one reports whether only the first choice may answer.
func (p *preference) one() bool {
	return p != nil && p.AllowFallbacks != nil && !*p.AllowFallbacks && len(p.Order) == 0
}

// excluded words that a caller's wishes leave nobody.
func (p *preference) excluded(model string, offers int) error {
	return &core.Error{Code: core.CodeNoProvider, Param: "provider", Next: "ask less of provider; koinon models shows who offers what",
		Message: "provider: none of the " + strconv.Itoa(offers) + " offers of " + model + " is as you ask"}
}

// eachModel tries the models that a caller names until one answers. try returns
// the error of an answer of which nothing was sent; spent is what earlier models
// have cost.
func (p *routing) eachModel(try func(model string, spent core.Amount) error) error {
	names, err := p.names()
	if err != nil {
		return err
	}
	var spent core.Amount
	for i, name := range names {
		if err = try(name, spent); err == nil {
			return nil
		}
		e := *asError(err)
		if e.Charge.Cmp(spent) < 0 { // it failed before anything could be paid
			e.Charge = spent
		}
		if i == len(names)-1 || !elsewhere(err) {
			return &e
		}
		spent = e.Charge
	}
	return nil
}

// elsewhere reports whether another model may do better.
func elsewhere(err error) bool {
	switch core.CodeOf(err) {
	case core.CodeNoProvider, core.CodeUnknownModel, core.CodeContextLength:
		return true
	}
	return retryable(err)
}
