"""Literal tables of the reference that no code holds in one place. tests/house/test_docs.py holds them to the code."""

REQUEST_HEADERS: dict[str, str] = {
    "authorization": "`Bearer KEY`: a virtual key, or the admin key for `/admin/*`. Never forwarded.",
    "x-api-key": "A virtual key, as Anthropic's clients send it. Never forwarded.",
    "x-goog-api-key": "A virtual key, as Google's clients send it. Never forwarded.",
    "x-request-id": "The caller's own id: kept in the ledger and echoed as `x-client-request-id`.",
    "x-penstock-meta": (
        "`key=value` pairs, comma-separated, at most 16 of 256 characters: kept on every entry of the call; "
        "`penstock cost --by meta:KEY` groups by them. They are joined with the body's `metadata` and win over it."
    ),
    "x-penstock-user": (
        "Who asks through the caller, at most 256 characters; else the body's `user`. Kept in the ledger, and held to the "
        "limits of that user of the virtual key, where it has any."
    ),
    "x-openrouter-metadata": "`enabled`: below `/api/v1` the reply says in `openrouter_metadata` how it was routed.",
    "x-penstock-trace": "A trace id that ties several calls together. Default: the id in `traceparent`, else the request id.",
    "x-penstock-batch": "At a batch's creation. `own`: the gateway runs it; `native`: to the provider's service also where no batch price is known.",
    "x-penstock-stage": "The name of the pipeline stage that makes the call.",
    "x-penstock-priority": (
        "`batch`: this call may wait behind interactive ones where a provider has a queue. `interactive` is the default, and "
        "does not raise a virtual key whose `priority` is batch."
    ),
    "x-penstock-async": "`true`: the call is kept and answered 202; its answer is fetched at `/v1/jobs/{id}`.",
    "x-penstock-webhook": "With `x-penstock-async`: where the end is posted; its host stands in `jobs.webhook_hosts`.",
    "x-penstock-cache": (
        "`off`, `exact`, `semantic`, `refresh`, `only` or `default`: which tiers of the cache have a part in this call; see "
        "[keep answers](../how-to/keep-answers.md). It wins over the body's `penstock.cache`, as those below do."
    ),
    "x-penstock-cache-ttl": "Seconds: nothing older is served, and the answer is kept no longer.",
    "x-penstock-cache-min-score": "From 0 to 1: the least score of a hit by meaning. It can only tighten what is configured.",
    "x-penstock-cache-namespace": "At most 128 characters: answers are shared with calls of the same namespace only.",
    "x-penstock-cache-tags": "At most 16, comma-separated: names by which `penstock cache purge --tag` drops the answer.",
    "x-penstock-cache-no-store": "`true`: the answer is not kept.",
    "cache-control": "`no-store`: the answer is not kept.",
    "x-penstock-operator": "With the admin key: who holds it, in his own words. Kept in the record of changes.",
    "traceparent": "W3C Trace Context: its trace id is used where `x-penstock-trace` is absent.",
}
"""Lower-case name -> meaning: what the gateway reads."""

RESPONSE_HEADERS: dict[str, str] = {
    "x-request-id": "The call's id: always fresh and ours. `penstock explain`, `/v1/generation` and the logs know it.",
    "x-client-request-id": "The caller's own `x-request-id`, where it sent one.",
    "x-penstock-provider": "The provider that answered.",
    "x-penstock-model": "The model that was asked of it, by the provider's own id.",
    "x-penstock-attempts": "How many attempts the call took; 1 is the first one, 0 an answer from the cache.",
    "x-penstock-cost-usd": (
        "Cost of all attempts in exact decimal dollars. Absent in a stream (the head leaves before the cost is known: "
        "ask `/v1/generation`) and where any price is unknown."
    ),
    "x-penstock-adjusted": "What was dropped or approximated for this provider, comma-separated: see [dialects](dialects.md).",
    "x-penstock-cache": (
        "`hit-exact`, `hit-semantic`, `coalesced` (the answer of an identical call in flight), `miss`, or `bypass` (not looked for). "
        "Absent where no tier of the cache is on."
    ),
    "x-penstock-cache-entry": "On a hit: the kept answer's name, for `penstock cache audit` and `purge --entry`.",
    "x-penstock-cache-age": "On a hit: whole seconds since the answer was made.",
    "x-penstock-cache-score": "On a hit by meaning: the similarity of both texts, from 0 to 1.",
    "x-penstock-cache-threshold": "On a hit by meaning: the least score that would have been served.",
    "server-timing": (
        "`gateway;dur=…, upstream;dur=…` in milliseconds: the gateway's own share from the first byte read to the first "
        "byte written, and the time it waited for providers, in their queues, and for back-offs."
    ),
    "x-ratelimit-limit-requests": (
        "Calls that pass at once from idle (the key's burst). On every reply of a key that has limits; where several limits "
        "hold a call, the one that has least left."
    ),
    "x-ratelimit-remaining-requests": "Calls that would pass at once now.",
    "x-ratelimit-reset-requests": "Until the whole burst is free again, as a Go duration (`1.5s`, `6m0s`).",
    "x-ratelimit-limit-tokens": "The same for tokens.",
    "x-ratelimit-remaining-tokens": "The same for tokens.",
    "x-ratelimit-reset-tokens": "The same for tokens.",
    "retry-after": "Whole seconds, rounded up: on every 429 and 503, on a 402 until the budget's window ends (absent where no window would do), and where a provider said it.",
    "retry-after-ms": "The same in milliseconds.",
    "content-type": "`application/json`, or `text/event-stream; charset=utf-8` for a stream.",
    "location": "On a 202 (`x-penstock-async`): where the job is.",
    "cache-control": "`no-cache`, on streams.",
    "x-accel-buffering": "`no`, on streams: tells a proxy in front not to hold events back.",
}
"""Lower-case name -> meaning: what the gateway's own replies say."""

API_PATHS: dict[str, str] = {
    "POST /v1/chat/completions": (
        "OpenAI's chat completions, streamed or not. `model` is `provider/model`, a bare model name, an alias or a "
        "route's id. Beside OpenAI's fields: `models` and `fallbacks` (further targets, in order), `provider` "
        "(OpenRouter's, whole: see [use it as OpenRouter](../how-to/use-it-as-openrouter.md)), `reasoning` (OpenRouter's "
        "`effort`, `max_tokens`, `enabled`, `exclude`), `metadata` (kept in the ledger)."
    ),
    "POST /v1/completions": (
        "OpenAI's legacy completions. A provider with `completions: true` (and OpenAI's own old models) gets them as they are; any "
        "other gets the prompt as one user's message (`prompt-as-chat`), and then several prompts, tokens as a prompt, `suffix` and "
        "`best_of` are refused with the reason."
    ),
    "POST /v1/responses": (
        "OpenAI's Responses API over any provider, streamed or not; `previous_response_id` is served from the gateway's own "
        "store. See [use the Responses API](../how-to/use-the-responses-api.md)."
    ),
    "POST /v1/images/generations": "Pictures, as JSON; `stream` for previews and the picture as events. See [make pictures](../how-to/make-images.md).",
    "POST /v1/images/edits": "Pictures made of pictures: a form with `image` (or `image[]`, up to 16) and `mask`, or JSON `images`.",
    "GET /v1/images/content/{id}": "A picture that was asked for with `response_format: url`. The link is its own key, and ends.",
    "GET /v1/responses/{id}": "A kept response, for the key that made it; `store: false` keeps none, and after 30 days it is gone.",
    "DELETE /v1/responses/{id}": "Deletes it, and with it the beginning of what was said after it.",
    "GET /v1/responses/{id}/input_items": (
        "What the model was given: the conversation before it and its own input. `limit` (1 to 100, default 20), `order` "
        "(`desc` or `asc`), `after` (an item's id)."
    ),
    "POST /v1/responses/{id}/cancel": (
        "Ends a response that is made in the background, also in the middle, and shows it as `cancelled`; one that is over is "
        "shown as it is. 400 for a kept response that was not made in the background."
    ),
    "POST /v1/messages": (
        "Anthropic's messages, streamed or not, at either API version (none named: 2023-06-01). `model` as above; beside "
        "Anthropic's fields `models`, `fallbacks` and `provider`. See [use the Anthropic SDK](../how-to/use-the-anthropic-sdk.md)."
    ),
    "POST /v1/messages/count_tokens": (
        "The tokens of a prompt in Anthropic's words. `x-penstock-counted-by` says whether the provider counted (Anthropic, "
        "Gemini) or it is our estimate."
    ),
    "POST /v1beta/models/{model}:generateContent": (
        "Gemini's, in AI Studio's and in Vertex's form; `{model}` as above, its slash written as it is or as `%2F`. Field names "
        "in camelCase or snake_case. The key is `x-goog-api-key`, `?key=` or a bearer token. See "
        "[use the google-genai SDK](../how-to/use-the-google-genai-sdk.md)."
    ),
    "POST /v1beta/models/{model}:streamGenerateContent": (
        "The same, streamed: with `?alt=sse` as server-sent events without comments, else as one JSON array, piece by piece."
    ),
    "POST /v1beta/models/{model}:batchEmbedContents": (
        "Embeddings of contents; `:embedContent` of one, and Vertex's `:predict` with `instances`, at the same places."
    ),
    "POST /v1beta/models/{model}:countTokens": (
        "The tokens of contents, or of a whole `generateContentRequest`. `x-penstock-counted-by` as above."
    ),
    "GET /v1beta/models": "What `/v1/models` lists, in Gemini's shape, by pages (`pageSize`, `pageToken`).",
    "GET /v1beta/models/{model}": "One of them.",
    "GET /v1/models": (
        "What the presented key may call: routes, aliases, then the known chat models of each configured provider. In "
        "Anthropic's shape, by pages, where `anthropic-version` is sent; in Gemini's where `x-goog-api-key` is. Below `/api/v1` in OpenRouter's shape, one row for "
        "all endpoints of a model, with prices, limits and parameters; there it takes `offset`, `limit`, `sort`, "
        "`supported_parameters`, `input_modalities`, `output_modalities`, `q`, `context`, `min_price`, `max_price`, "
        "`model_authors`, `providers`, `zdr` and `distillable`."
    ),
    "GET /v1/models/{model:path}": "One of them.",
    "GET /api/v1/models/user": "The same as `/api/v1/models`: a key sees what it may call anyway.",
    "GET /api/v1/models/count": "How many there are, with the same filters.",
    "GET /api/v1/models/{author}/{slug}/endpoints": (
        "Who serves a model: price, limits, and latency, throughput and uptime as this gateway measured them; null where it "
        "has not."
    ),
    "GET /api/v1/model/{model:path}": "One model, as `data`.",
    "GET /api/v1/endpoints/zdr": "Endpoints that are known to keep nothing of a request.",
    "GET /api/v1/providers": "The configured providers.",
    "GET /api/v1/key": (
        "The presented key: `label`, its own budget as `limit`, `limit_remaining` and `limit_reset`, every budget above it in "
        "`budgets`, what it has spent in all, and since the day, the week and the month began (UTC)."
    ),
    "GET /api/v1/auth/key": "The same as `/api/v1/key`.",
    "GET /api/v1/credits": "The nearest budget above the key as `total_credits` and `total_usage`; 403 where there is none.",
    "GET /v1/generation": (
        "`?id=`: one call's record in OpenRouter's shape. The id is the reply's `x-request-id` or its body's `id`; only "
        "the key that made the call may read it, from the reply's last byte on."
    ),
    "POST /v1/ledger/entries": (
        'Costs from outside the gateway, one or `{"entries": [...]}` of at most 1,000: `id` (the same when sent again), '
        "`trace`, `stage`, `user`, `at` (Unix seconds or ISO 8601), `duration_ms`, `joules`, `meta`, and one of `compute` (with "
        "`gpu_seconds`, else `duration_ms`), `storage` with `gb_months`, `egress` with `gb`, `unit` with `quantity` and "
        '`usd_per_unit`. Answered `{"accepted": n, "duplicates": m}` once stored; 400 lists every fault in `faults`, and '
        "nothing of the batch is stored. See [meter a service](../how-to/meter-a-service.md)."
    ),
    "GET /v1/files": (
        "The key's files, newest first, in OpenAI's shape; `purpose`, `order`, `after`, `limit`. See [run batches and "
        "jobs](../how-to/run-batches-and-jobs.md)."
    ),
    "POST /v1/files": "Uploads one, as multipart/form-data: `file`, `purpose`, `expires_after`.",
    "GET /v1/files/{id}": "One of them.",
    "DELETE /v1/files/{id}": "Removes it.",
    "GET /v1/files/{id}/content": "Its bytes.",
    "GET /v1/batches": "The key's batches, newest first, in OpenAI's shape.",
    "POST /v1/batches": "A batch of a file's lines, over any provider.",
    "GET /v1/batches/{id}": "How it stands, line by line in `request_counts`.",
    "POST /v1/batches/{id}/cancel": "No further line begins; what was answered stays.",
    "GET /v1/messages/batches": "The key's message batches, newest first, in Anthropic's shape.",
    "POST /v1/messages/batches": "A batch of messages, over any provider.",
    "GET /v1/messages/batches/{id}": "How it stands.",
    "DELETE /v1/messages/batches/{id}": "Removes it and its results, once it has ended.",
    "POST /v1/messages/batches/{id}/cancel": "No further message begins; what was answered stays.",
    "GET /v1/messages/batches/{id}/results": "Its results, one JSON line each, in the order of the requests.",
    "GET /v1/jobs": "The key's jobs (`x-penstock-async`), newest first, without their answers.",
    "GET /v1/jobs/{id}": "One of them, with its answer once there is one: `result.status`, `headers`, `body`.",
    "DELETE /v1/jobs/{id}": "Removes it; one that runs is cancelled.",
    "GET /v1/jobs/{id}/result": "The answer itself, as it would have been sent.",
    "POST /v1/jobs/{id}/cancel": "Ends it, also in the middle.",
    "* /raw/{provider}/{path}": (
        "Any method: the provider's own path, bytes untouched, with our key. See [reach the rest of a "
        "provider](../how-to/reach-the-rest-of-a-provider.md)."
    ),
    "* /v1/fine_tuning/{path}": "The same at the first provider with `raw: true` that speaks OpenAI's dialect.",
    "GET /health": "200 while the process lives.",
    "GET /ready": "200 while calls can be served and recorded; else 503 with the reason.",
    "GET /metrics": "Prometheus text: see [metrics](metrics.md).",
    "POST /admin/reload": "Reads the configuration anew and swaps; a faulty one is refused with its faults. Needs the admin key.",
    "GET /admin/health": "Breakers, key cool-downs, queues and connections as they stand. Needs the admin key.",
    "GET /admin/keys": (
        "Every virtual key: the configuration's (`source: config`), then those made at run time, each with all its fields but "
        "the key, with `in_force` and, where it has no effect, `why_not`. Needs the admin key, as all of these do. See "
        "[manage keys and budgets at run time](../how-to/manage-keys-at-run-time.md)."
    ),
    "POST /admin/keys": (
        "Makes one: `name`, and the fields of `virtual_keys[]` but `key` and `previous`. 201 with the fresh `key`, which is "
        "shown this once. 400 lists every fault in `faults`, 409 says what stands against it; then nothing was changed."
    ),
    "GET /admin/keys/{name}": "One of them.",
    "PATCH /admin/keys/{name}": "Changes the fields that are given; null sets one to its default.",
    "DELETE /admin/keys/{name}": "Revokes it: refused from now on.",
    "POST /admin/keys/{name}/rotate": (
        "A fresh `key`, shown this once. The old one is taken for `grace_s` seconds (default 86,400); with 0 neither it nor "
        "any before it."
    ),
    "GET /admin/teams": "Every team, as with keys.",
    "POST /admin/teams": "Makes one: `name`, and the fields of `teams[]`.",
    "GET /admin/teams/{name}": "One of them.",
    "PATCH /admin/teams/{name}": "Changes the fields that are given; null sets one to its default.",
    "DELETE /admin/teams/{name}": "Removes it. 409 while a key made at run time belongs to it.",
    "GET /admin/organisations": "Every organisation, as with keys.",
    "POST /admin/organisations": "Makes one: `name`, and the fields of `organisations[]`.",
    "GET /admin/organisations/{name}": "One of them.",
    "PATCH /admin/organisations/{name}": "Changes the fields that are given; null sets one to its default.",
    "DELETE /admin/organisations/{name}": "Removes it. 409 while a team made at run time belongs to it.",
    "GET /admin/budgets": (
        "Every budget in force, with whose it is (`kind`, `of`, `user`), what all workers and nodes have spent in its window "
        "as far as is known (`spent_usd`, `left_usd`; null of the user `*`), what of that calls in the ledger account for (`in_ledger_usd`) and what "
        "not (`withheld_usd`: killed runs had leased it, calls of unknown cost have held it; null where not known), and when the window began and ends."
    ),
    "PUT /admin/budgets/{kind}/{name}": (
        "Sets a budget of a `key`, `team` or `organisation` made at run time: the fields of a budget. It replaces the one of "
        "the same name (which is the period where it has none), or is added."
    ),
    "DELETE /admin/budgets/{kind}/{name}/{budget}": "Removes that budget.",
    "GET /admin/cache/stats": (
        "What the cache holds, how look-ups ended, what was saved; of the semantic tier each class with its threshold and "
        "labels, and its audits. 404 `cache_off` without a cache. Needs the admin key, as all of these do. See "
        "[Audit the semantic cache](../how-to/audit-the-semantic-cache.md)."
    ),
    "GET /admin/cache/report": (
        "Of the last `days` (7), by class: hits, hit rate, money saved, audits, and the share of wrong answers among hits "
        "with its Clopper-Pearson bounds."
    ),
    "GET /admin/cache/audits": (
        "Kept answers beside fresh ones, newest first: `state` (open, right, wrong, all), `class`, `limit` (50, at most 500), "
        "`before` (the `number` of the last one seen)."
    ),
    "GET /admin/cache/audits/{id}": "One of them, and to which requests its entry was served.",
    "POST /admin/cache/audits/{id}": (
        '`{"verdict": "right"}` or `"wrong"`: wrong drops and quarantines the entry, and keeps the two prompts apart, in every '
        "process."
    ),
    "POST /admin/cache/purge": (
        "Drops answers: of a `tenant` (as `cache.scope` says), `namespace`, `tag` or `model` (several: what matches each), one `entry` of the semantic tier, or `all`."
    ),
    "POST /admin/cache/warm": (
        "Keeps answers before they are asked for: `calls` of a `request` (the body of `path`, default "
        "`/v1/chat/completions`) with an `answer`, or without: then it is made, and paid by the virtual key named `key`."
    ),
    "GET /admin/audit": (
        "The record of changes, newest first: `id`, `at`, `who`, `action`, `kind`, `name`, `before`, `after`; never a key. "
        "`?limit=` (100, at most 1,000), `before=ID` for the next page, `kind=`, `name=`."
    ),
}
"""Method and path below the first prefix -> meaning."""

CLASSES: dict[str, str] = {
    "delivered": "reached the caller whole",
    "billed_not_delivered": "was consumed at the provider and did not reach the caller whole (cut, hung up, refused late)",
    "failed": "was never reached, or refused: costs nothing",
    "cache_hit": "no attempt: a kept answer, or that of an identical call in flight; it cost nothing, and `saved_nusd` says what it had cost",
    "audit": "a served semantic hit that was asked again, or a judge's word on one; on no virtual key",
    "shadow": "a judge's word on an answer beside which a neighbour's lay; on no virtual key",
    "embedding": "a text embedded by a provider for the semantic cache; on no virtual key",
    "own_cost": "is none: a cost of your own, posted to `/v1/ledger/entries`",
}
"""Classes of a ledger entry (ledger.entry.EntryClass)."""

ADJUSTMENT_WORDS: dict[str, str] = {
    "-dropped": "the provider has no such thing; it was left out",
    "-stripped": "the same, for thoughts of another provider's model",
    "-ignored": "sent, but this model takes no notice of it",
    "-approximated": "said in another way, with about the same effect",
    "-adjusted": "rewritten into what the provider accepts",
    "-clamped, -lowered, -raised": "moved to the nearest value that the provider accepts, or that a budget covers",
    "-A-as-B": "A is not known there; B was sent",
    "-fetched": "the provider fetches nothing by its address: the gateway did, and sent the bytes",
    "-moved": "stands in another place of the request",
    "-added, -padded, -synthesised, -stubbed": "something that the provider insists on was put in",
    "-replaced, -skipped, -filtered, -merged, -trimmed": "as the word says",
}
"""How to read a word of ``x-penstock-adjusted``."""
