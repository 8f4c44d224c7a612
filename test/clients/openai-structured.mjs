// The stock npm client on what an answer must look like: schemas, tools, log-probabilities, choices, embeddings.
// usage: node openai-structured.mjs URL MODEL
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "What is a receipt?" }];
const chat = client.chat.completions;

const Verdict = z.object({ provable: z.boolean(), colour: z.enum(["red", "green"]), weight: z.int().min(0).max(99), tags: z.array(z.enum(["a", "b"])).max(2) });
const format = zodResponseFormat(Verdict, "verdict");
const parsed = await chat.parse({ model, messages, response_format: format, max_tokens: 150 });
assert.equal(parsed.choices[0].finish_reason, "stop");
Verdict.parse(parsed.choices[0].message.parsed);
const again = await chat.parse({ model, messages, response_format: format, max_tokens: 150 });
assert.deepEqual(again.choices[0].message.parsed, parsed.choices[0].message.parsed, "the model's default is greedy, so the answer is the same");
const cut = await chat.create({ model, messages, response_format: format, max_tokens: 3 });
assert.equal(cut.choices[0].finish_reason, "length");
const object = await chat.create({ model, messages, response_format: { type: "json_object" }, max_tokens: 200 });
if (object.choices[0].finish_reason === "stop") assert.equal(typeof JSON.parse(object.choices[0].message.content), "object");
else assert.equal(object.choices[0].finish_reason, "length");

const Weather = z.object({ city: z.enum(["Delos", "Naxos"]), days: z.int().min(1).max(5) });
const tools = [zodFunction({ name: "weather", parameters: Weather, description: "Forecast" })];
const forced = { model, messages, tools, tool_choice: { type: "function", function: { name: "weather" } }, parallel_tool_calls: false, max_tokens: 100 };
const called = await chat.parse(forced);
const call = called.choices[0].message.tool_calls[0];
assert.equal(called.choices[0].finish_reason, "tool_calls");
assert.equal(call.function.name, "weather");
Weather.parse(call.function.parsed_arguments);
const stream = chat.stream(forced);
const deltas = [];
stream.on("tool_calls.function.arguments.delta", (e) => deltas.push(e));
const done = (await stream.finalChatCompletion()).choices[0];
assert.equal(done.finish_reason, "tool_calls");
assert.ok(deltas.length > 0);
assert.equal(done.message.tool_calls[0].function.arguments, call.function.arguments);
Weather.parse(done.message.tool_calls[0].function.parsed_arguments);
const followed = await chat.create({ model, tools, tool_choice: "none", max_tokens: 8,
  messages: [...messages, called.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sun" }] });
assert.ok(followed.usage.completion_tokens > 0);

const probs = await chat.create({ model, messages, logprobs: true, top_logprobs: 3, n: 2, seed: 5, temperature: 1, max_tokens: 12 });
assert.equal(probs.choices.length, 2);
for (const c of probs.choices) {
  assert.ok(c.logprobs.content.length > 0 && c.logprobs.content.every((p) => p.logprob <= 0 && p.top_logprobs.length === 3));
  const bytes = Uint8Array.from(c.logprobs.content.flatMap((p) => p.bytes ?? []));
  assert.equal(new TextDecoder().decode(bytes), c.message.content);
}
assert.ok(probs.koinon.choices.length === 2 && probs.koinon.choices[0].receipt !== probs.koinon.choices[1].receipt);

const input = ["What is a receipt?", "Who pays the provider?"];
const floats = await client.embeddings.create({ model, input, encoding_format: "float" });
const plain = await client.embeddings.create({ model, input }); // the client asks for base64 and decodes it
assert.equal(floats.data.length, 2);
for (const i of [0, 1]) {
  const v = floats.data[i].embedding;
  assert.ok(Math.abs(v.reduce((s, x) => s + x * x, 0) - 1) < 1e-3);
  assert.deepEqual(plain.data[i].embedding.map(Math.fround), v.map(Math.fround));
}
const short = await client.embeddings.create({ model, input: input[0], dimensions: 8, encoding_format: "float" });
assert.equal(short.data[0].embedding.length, 8);

const refused = await chat.create({ model, messages, response_format: { type: "json_schema", json_schema: { name: "x", strict: true, schema: { type: "object", properties: { a: { not: {} } } } } } }).catch((e) => e);
assert.equal(refused.status, 400);
assert.match(refused.message, /not/);
console.log("ok", JSON.stringify(parsed.choices[0].message.parsed), call.function.arguments, done.message.tool_calls[0].function.arguments, floats.koinon.choices[0].receipt, probs.koinon.choices[1].receipt);
