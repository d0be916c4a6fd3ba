"""Label calls with metadata and add up what each label cost; `penstock cost --by meta:campaign` says the same."""

import os
from collections import Counter

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("PENSTOCK_KEY", "anything"),
)
spent: Counter[str] = Counter()

for number in range(6):
    campaign = ("spring", "autumn")[number % 2]
    reply = client.chat.completions.with_raw_response.create(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": f"A caption for product {number}."}],
        metadata={"campaign": campaign, "sku": str(number)},
    )
    record = client.get(f"/generation?id={reply.headers['x-request-id']}", cast_to=object)
    spent[campaign] += round(record["data"]["total_cost"] * 1_000_000_000)

for campaign, nusd in spent.items():
    print(f"{campaign}: {nusd} nano-dollars")
