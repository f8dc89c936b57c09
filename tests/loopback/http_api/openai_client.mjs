// OpenAI's own client for Node, put through what applications do; prints one JSON object.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, baseURL] = process.argv.slice(2);
const found = createRequire(`${folder}/package.json`).resolve("openai");
const { default: OpenAI } = await import(pathToFileURL(found).href);
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });
const ask = (text, more = {}) => ({
  model: "small",
  messages: [{ role: "user", content: text }],
  ...more,
});
const { completions } = client.chat;

const whole = await completions.create(ask("whole"));
const pieces = [];
let usage = null;
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await completions.create(ask("stream", options))) {
  const text = chunk.choices[0]?.delta?.content;
  if (text) pieces.push(text);
  usage = chunk.usage ?? usage;
}
const tools = [{ type: "function", function: { name: "look", parameters: { type: "object" } } }];
const runner = completions.stream(ask("tool", { tools }));
const called = (await runner.finalChatCompletion()).choices[0].message.tool_calls[0].function;
const schema = { type: "object", properties: { n: { type: "integer" } } };
const format = { type: "json_schema", json_schema: { name: "number", schema, strict: true } };
const parsed = await completions.parse(ask("parse", { response_format: format }));
const models = (await client.models.list()).data.map((model) => model.id);
let error = null;
try {
  await completions.create(ask("refused"));
} catch (raised) {
  error = { kind: raised.constructor.name, status: raised.status, id: raised.requestID };
}
const left = await completions.create(ask("slow", { stream: true }));
for await (const _ of left) break; // which closes the connection

console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    requestId: whole._request_id === whole.request_id,
    pieces,
    tokens: usage.completion_tokens,
    called: { name: called.name, arguments: JSON.parse(called.arguments) },
    parsed: JSON.parse(parsed.choices[0].message.content),
    models,
    error,
  }),
);
