// The stock npm client, unmodified: only base_url differs. usage: node openai.mjs URL MODEL
import OpenAI from "openai";
const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "What is a receipt?" }];
const models = await client.models.list();
if (!models.data.some((m) => m.id === model)) throw new Error("the model is not listed");
const whole = await client.chat.completions.create({ model, messages });
if (!whole.choices[0].message.content || whole.choices[0].finish_reason !== "stop") throw new Error(JSON.stringify(whole));
let text = "", usage;
for await (const c of await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } })) {
  text += c.choices[0]?.delta?.content ?? "";
  usage = c.usage ?? usage;
}
if (!text || !usage?.total_tokens) throw new Error("the stream has no text or no usage");
const plain = await client.completions.create({ model, prompt: "Koinon is", max_tokens: 8 });
if (plain.usage.completion_tokens < 1) throw new Error(JSON.stringify(plain));
const wrong = await client.chat.completions.create({ model: "nope", messages }).catch((e) => e);
if (wrong.status !== 404 || wrong.code !== "model_not_found") throw new Error(`unknown model: ${wrong}`);
console.log("ok", JSON.stringify(text));
