// LangChain's client of OpenAI, on both of its APIs. usage: node langchain.mjs URL MODEL
import assert from "node:assert/strict";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
const [baseURL, model] = process.argv.slice(2);
const common = { model, apiKey: "unused", configuration: { baseURL }, maxRetries: 0 };
const question = "What is a receipt?";
const texts = [];
for (const useResponsesApi of [false, true]) {
  const chat = new ChatOpenAI({ ...common, useResponsesApi });
  const whole = await chat.invoke(question);
  let text = "";
  for await (const piece of await chat.stream(question)) text += piece.text;
  assert.ok(text && text === whole.text && whole.usage_metadata.output_tokens > 0);
  texts.push(text);
  const weather = { type: "function", function: { name: "weather", parameters: { type: "object", properties: { city: { enum: ["Delos", "Naxos"] } }, required: ["city"], additionalProperties: false } } };
  const called = await chat.bindTools([weather], { tool_choice: "weather" }).invoke(question);
  assert.ok(["Delos", "Naxos"].includes(called.tool_calls[0].args.city));
}
assert.equal(texts[0], texts[1]);
const vectors = await new OpenAIEmbeddings(common).embedDocuments([question, "Who pays?"]);
assert.equal(vectors.length, 2);
console.log("ok", JSON.stringify(texts[0]));
