// The stock npm client on /v1/responses: whole, streamed, tools, a schema, and what is refused.
// usage: node openai-responses.mjs URL MODEL
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const input = "What is a receipt?";
const whole = await client.responses.create({ model, input });
assert.ok(whole.output_text && whole.status === "completed" && whole.usage.total_tokens > 0 && whole.koinon.receipt);
let text = "", last;
for await (const e of await client.responses.create({ model, input, stream: true })) {
  if (e.type === "response.output_text.delta") text += e.delta;
  last = e;
}
assert.equal(text, whole.output_text);
assert.equal(last.type, "response.completed");
const final = await client.responses.stream({ model, input }).finalResponse();
assert.equal(final.output_text, text);
const Verdict = z.object({ provable: z.boolean(), colour: z.enum(["red", "green"]) });
const parsed = await client.responses.parse({ model, input, text: { format: zodTextFormat(Verdict, "verdict") } });
Verdict.parse(parsed.output_parsed);
const tools = [{ type: "function", name: "weather", strict: true, parameters: { type: "object", properties: { city: { enum: ["Delos", "Naxos"] } }, required: ["city"], additionalProperties: false } }];
const called = await client.responses.create({ model, input, tools, tool_choice: "required", parallel_tool_calls: false });
const call = called.output.find((x) => x.type === "function_call");
assert.ok(["Delos", "Naxos"].includes(JSON.parse(call.arguments).city));
const after = await client.responses.create({ model, tools, tool_choice: "none", max_output_tokens: 8,
  input: [{ role: "user", content: input }, call, { type: "function_call_output", call_id: call.call_id, output: "sun" }] });
assert.ok(after.usage.output_tokens > 0);
const refused = await client.responses.create({ model, input, previous_response_id: whole.id }).catch((e) => e);
assert.ok(refused.status === 400 && refused.param === "previous_response_id");
console.log("ok", whole.koinon.receipt);
