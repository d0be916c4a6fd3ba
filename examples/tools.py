"""A tool call in OpenAI's words, answered by Claude: the gateway translates both ways."""

import json
import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("PENSTOCK_KEY", "anything"),
)
tools = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
messages = [{"role": "user", "content": "What is the weather in Bergen?"}]

asked = client.chat.completions.create(
    model="anthropic/claude-haiku-4-5", messages=messages, tools=tools, tool_choice="required"
)
message = asked.choices[0].message
for call in message.tool_calls:
    print(f"asks {call.function.name}({json.loads(call.function.arguments)})")

messages.append(message.model_dump(exclude_none=True))
messages += [
    {"role": "tool", "tool_call_id": call.id, "content": "12 °C, rain"} for call in message.tool_calls
]
answer = client.chat.completions.create(model="anthropic/claude-haiku-4-5", messages=messages, tools=tools)
print(f"says {answer.choices[0].message.content}")
