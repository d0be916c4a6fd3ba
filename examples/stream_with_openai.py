"""Stream an answer with the official client, from any provider, and ask what it cost."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("PENSTOCK_KEY", "anything"),
)

for model in ("openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-3.5-flash-lite"):
    reply = client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": "Why is the sky blue?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    print(f"{reply.headers['x-penstock-provider']}: ", end="")
    for chunk in reply.parse():
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
        if chunk.usage:
            print(f"\n  {chunk.usage.prompt_tokens} + {chunk.usage.completion_tokens} tokens", end="")
    record = client.get(f"/generation?id={reply.headers['x-request-id']}", cast_to=object)
    print(f", ${record['data']['total_cost']:.8f}")
