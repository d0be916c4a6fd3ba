"""Name further targets in the request, and read from the reply who answered, after how many attempts."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("PENSTOCK_KEY", "anything"),
)

for _ in range(4):
    reply = client.chat.completions.with_raw_response.create(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": "Name a river."}],
        extra_body={"fallbacks": ["anthropic/claude-haiku-4-5", "gemini/gemini-3.5-flash-lite"]},
    )
    print(
        f"{reply.headers['x-penstock-provider']} answered, attempt {reply.headers['x-penstock-attempts']}, "
        f"${reply.headers['x-penstock-cost-usd']}"
    )
