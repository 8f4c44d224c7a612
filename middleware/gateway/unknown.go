package gateway

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// indifferent are OpenAI's parameters that say nothing about the answer: they
// are accepted and go no further.
var indifferent = []string{"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}

// refusals are OpenAI's parameters that cannot be honoured, with the values that
// ask for nothing and are accepted all the same.
var refusals = map[string]struct {
	harmless []string // JSON
	why      string
}{
	"store":              {[]string{"false"}, "answers are not stored for later retrieval; receipts are, at /v1/receipts"},
	"service_tier":       {[]string{`"auto"`, `"default"`}, "there are no tiers of service; the market has prices"},
	"modalities":         {[]string{`["text"]`}, "models here read and write text only"},
	"audio":              {nil, "models here read and write text only"},
	"prediction":         {nil, "predicted outputs would not make anything faster here"},
	"reasoning_effort":   {nil, "no model here has such a setting; see chat_template_kwargs for what its template knows"},
	"verbosity":          {[]string{`"medium"`}, "no model here has such a setting; say it in the prompt"},
	"web_search_options": {nil, "models here reach no web; offer a function in tools instead"},
	"functions":          {[]string{"[]"}, "use tools, which has replaced it"},
	"function_call":      {[]string{`"none"`}, "use tool_choice, which has replaced it"},
	"suffix":             {[]string{`""`}, "no model here fills in the middle of a text"},
	"moderation":         {nil, "nothing is moderated here"},
}

// refuseUnknown names the first member of the JSON object b that v has no field
// for and that is not known to be without influence. null counts as absent.
func refuseUnknown(b []byte, v any) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(b, &members) != nil {
		return nil // decoding says what is wrong
	}
	known := fields(reflect.TypeOf(v).Elem(), nil)
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		raw := members[name]
		if string(raw) == "null" || slices.Contains(known, name) || slices.Contains(indifferent, name) {
			continue
		}
		r, ok := refusals[name]
		if !ok {
			e := invalid(clip(name, 100), "%s: this call has no such parameter", clip(name, 100))
			e.Next = "leave it out; docs/api.md lists all of them"
			return e
		}
		var tight bytes.Buffer
		if json.Compact(&tight, raw) == nil && slices.Contains(r.harmless, tight.String()) {
			continue
		}
		e := invalid(name, "%s: not supported", name)
		e.Next = r.why
		return e
	}
	return nil
}

// fields lists the JSON names of a struct's fields, embedded ones included.
func fields(t reflect.Type, names []string) []string {
	for f := range fieldsOf(t) {
		if f.Anonymous {
			names = fields(f.Type, names)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}
