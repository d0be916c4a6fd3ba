// What a user of the `openai` package does, through the gateway, to each provider. tests/sdk/test_node.py runs this.
// Each part that passes says its name on a line of its own; the first that fails ends the program.
import assert from "node:assert/strict";
import OpenAI from "openai";

const { PENSTOCK_URL, PENSTOCK_KEY, PENSTOCK_DOORS } = process.env;
const client = new OpenAI({ baseURL: `${PENSTOCK_URL}/v1`, apiKey: PENSTOCK_KEY, maxRetries: 0, timeout: 10_000 });
const doors = PENSTOCK_DOORS.split(",");
const user = (content) => ({ role: "user", content });
const tools = ["weather", "now"].map((name) => ({
  type: "function",
  function: { name, parameters: { type: "object", properties: { city: { type: "string" } } } },
}));

async function chat(model) {
  const heard = await client.chat.completions.create({ model, messages: [user("ECHO salmon pool")] });
  assert.equal(heard.object, "chat.completion");
  assert.equal(heard.choices[0].message.content.trim(), "salmon pool");
  assert.equal(heard.choices[0].finish_reason, "stop");
  assert.equal(heard.usage.total_tokens, heard.usage.prompt_tokens + heard.usage.completion_tokens);
}

async function stream(model) {
  const runner = client.chat.completions.stream({
    model,
    messages: [user("SAY_TOKENS 12")],
    stream_options: { include_usage: true },
  });
  let pieces = 0;
  runner.on("content", () => (pieces += 1));
  const heard = await runner.finalChatCompletion();
  assert.ok(pieces > 3, `a stream of ${pieces} pieces`);
  assert.equal(heard.choices[0].message.content.trim().split(/\s+/).length, 12);
  assert.ok((await runner.totalUsage()).completion_tokens > 0);
}

async function two_tools(model) {
  const messages = [user("CALL_TOOLS 2")];
  const asked = (await client.chat.completions.create({ model, messages, tools })).choices[0];
  assert.equal(asked.finish_reason, "tool_calls");
  assert.deepEqual(asked.message.tool_calls.map((call) => call.function.name), ["weather", "now"]);
  const results = asked.message.tool_calls.map((call, at) => {
    assert.equal(typeof JSON.parse(call.function.arguments), "object");
    return { role: "tool", tool_call_id: call.id, content: ["sunny", "noon"][at] };
  });
  const runner = client.chat.completions.stream({ model, messages: [...messages, asked.message, ...results], tools });
  const said = await runner.finalContent();
  assert.match(said, /sunny/);
  assert.match(said, /noon/);
}

async function tools_in_a_stream(model) {
  const runner = client.chat.completions.stream({ model, messages: [user("CALL_TOOLS 2")], tools });
  const { tool_calls } = await runner.finalMessage();
  assert.deepEqual(tool_calls.map((call) => call.function.name), ["weather", "now"]);
  assert.equal(new Set(tool_calls.map((call) => call.id)).size, 2);
  for (const call of tool_calls) assert.equal(typeof JSON.parse(call.function.arguments), "object");
}

async function errors() {
  const ask = (model, other = client) => other.chat.completions.create({ model, messages: [user("hi")] });
  const stranger = new OpenAI({ baseURL: `${PENSTOCK_URL}/v1`, apiKey: "vk-nobody", maxRetries: 0 });
  await assert.rejects(ask(doors[0], stranger), (e) => e instanceof OpenAI.AuthenticationError && e.status === 401);
  await assert.rejects(ask("nobody/nothing"), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
  const wrong = client.chat.completions.create({ model: doors[1], messages: [user("hi")], temperature: "hot" });
  await assert.rejects(wrong, (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
}

for (const door of doors) {
  for (const part of [chat, stream, two_tools, tools_in_a_stream]) {
    await part(door);
    console.log(`${door} ${part.name}`);
  }
}
await errors();
console.log("errors");
