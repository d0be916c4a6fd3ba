// What a user of `@anthropic-ai/sdk` does, through the gateway, to each provider. tests/sdk/test_node.py runs this.
// Each part that passes says its name on a line of its own; the first that fails ends the program.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const { PENSTOCK_URL, PENSTOCK_KEY, PENSTOCK_DOORS, PENSTOCK_THINKERS } = process.env;
const client = new Anthropic({ baseURL: PENSTOCK_URL, apiKey: PENSTOCK_KEY, maxRetries: 0, timeout: 10_000 });
const doors = PENSTOCK_DOORS.split(",");
const thinkers = PENSTOCK_THINKERS.split(",");
const user = (content) => ({ role: "user", content });
const tools = ["weather", "now"].map((name) => ({
  name,
  input_schema: { type: "object", properties: { city: { type: "string" } } },
}));
const text = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");
const calls = (message) => message.content.filter((block) => block.type === "tool_use");

async function messages(model) {
  const heard = await client.messages.create({ model, max_tokens: 99, messages: [user("ECHO salmon pool")] });
  assert.equal(heard.type, "message");
  assert.equal(text(heard).trim(), "salmon pool");
  assert.equal(heard.stop_reason, "end_turn");
  assert.ok(heard.usage.input_tokens > 0 && heard.usage.output_tokens > 0);
}

async function stream(model) {
  const pieces = [];
  const helper = client.messages.stream({ model, max_tokens: 99, messages: [user("SAY_TOKENS 12")] });
  helper.on("text", (piece) => pieces.push(piece));
  const heard = await helper.finalMessage();
  assert.ok(pieces.length > 3, `a stream of ${pieces.length} pieces`);
  assert.equal(pieces.join(""), text(heard));
  assert.equal(text(heard).trim().split(/\s+/).length, 12);
  assert.equal(heard.stop_reason, "end_turn");
}

async function two_tools(model, more = {}, max_tokens = 99) {
  const history = [user("CALL_TOOLS 2")];
  const asked = await client.messages.stream({ model, max_tokens, messages: history, tools, ...more }).finalMessage();
  assert.equal(asked.stop_reason, "tool_use");
  assert.deepEqual(calls(asked).map((call) => call.name), ["weather", "now"]);
  const results = calls(asked).map((call, at) => ({
    type: "tool_result",
    tool_use_id: call.id,
    content: ["sunny", "noon"][at],
  }));
  history.push({ role: "assistant", content: asked.content }, user(results));
  const heard = await client.messages.create({ model, max_tokens, messages: history, tools, ...more });
  assert.equal(heard.stop_reason, "end_turn");
  assert.match(text(heard), /sunny/);
  assert.match(text(heard), /noon/);
  return asked;
}

// The thoughts go back with the tool's result: a simulated provider refuses them where a byte has changed.
async function thinking(model) {
  const asked = await two_tools(model, { thinking: { type: "enabled", budget_tokens: 1024 } }, 4000);
  const thoughts = asked.content.filter((block) => block.type === "thinking");
  assert.ok(thoughts.length > 0 && thoughts.every((block) => block.thinking && block.signature));
}

async function errors() {
  const ask = (model, other = client, more = {}) =>
    other.messages.create({ model, max_tokens: 9, messages: [user("hi")], ...more });
  const stranger = new Anthropic({ baseURL: PENSTOCK_URL, apiKey: "vk-nobody", maxRetries: 0 });
  const kind = (error) => error.error?.error?.type;
  await assert.rejects(
    ask(doors[0], stranger),
    (e) => e instanceof Anthropic.AuthenticationError && kind(e) === "authentication_error",
  );
  await assert.rejects(
    ask("nobody/nothing"),
    (e) => e instanceof Anthropic.NotFoundError && kind(e) === "not_found_error",
  );
  await assert.rejects(
    ask(doors[0], client, { temperature: "hot" }),
    (e) => e instanceof Anthropic.BadRequestError && /temperature/.test(e.message),
  );
}

for (const door of doors) {
  for (const part of [messages, stream, two_tools]) {
    await part(door);
    console.log(`${door} ${part.name}`);
  }
}
for (const door of thinkers) {
  await thinking(door);
  console.log(`${door} thinking`);
}
await errors();
console.log("errors");
