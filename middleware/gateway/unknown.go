package gateway

import "github.com/koinon-network/koinon/core"

// openAI is the dialect of chat and plain completions and of embeddings.
var openAI = dialect{
	rules: rules{
		indifferent: []string{"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"},
		refusals: map[string]refusal{
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
		},
	},
	failure: func(e *core.Error) (int, any) { return describe(e) },
}
