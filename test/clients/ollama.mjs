// The stock npm client of Ollama, unmodified: only the host differs. usage: node ollama.mjs BASE MODEL
import assert from "node:assert/strict";
import { Ollama } from "ollama";
const [host, model] = process.argv.slice(2);
const client = new Ollama({ host });
const messages = [{ role: "user", content: "What is a receipt?" }];
assert.ok((await client.list()).models.some((m) => m.name === model));
assert.ok((await client.ps()).models.some((m) => m.name === model));
assert.ok((await client.show({ model })).capabilities.includes("completion"));
assert.ok((await client.version()).version);
const whole = await client.chat({ model: model + ":latest", messages, keep_alive: "5m", options: { num_ctx: 512 } });
assert.ok(whole.message.content && whole.done_reason === "stop" && whole.eval_count > 0);
let text = "", last;
for await (const e of await client.chat({ model, messages, stream: true })) {
  text += e.message.content;
  last = e;
}
assert.equal(text, whole.message.content);
assert.ok(last.done && last.eval_count === whole.eval_count && last.koinon.receipt);
const generated = await client.generate({ model, prompt: messages[0].content });
assert.equal(generated.response, text);
const format = { type: "object", properties: { colour: { enum: ["red", "green"] } }, required: ["colour"], additionalProperties: false };
assert.ok(["red", "green"].includes(JSON.parse((await client.chat({ model, messages, format })).message.content).colour));
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];
assert.ok((await client.chat({ model, messages, tools, options: { num_predict: 8 } })).done);
const { embeddings } = await client.embed({ model, input: ["What is a receipt?", "Who pays?"] });
assert.ok(embeddings.length === 2 && Math.abs(embeddings[0].reduce((s, x) => s + x * x, 0) - 1) < 1e-3);
const wrong = await client.chat({ model: "nope", messages }).catch((e) => e);
assert.ok(wrong.status_code === 404 && /nope/.test(wrong.message));
console.log("ok", last.koinon.receipt);
