"""Embeddings, moderations, rankings and KServe-v2 inference, as several vendors write them.

Sources: openai-openapi 2.3.0 (CreateEmbeddingRequest, CreateModerationRequest), docs.cohere.com (v2 embed, v2 rerank),
jina.ai/reranker, Google's discovery documents (batchEmbedContents, predict), the Open Inference Protocol V2; read 2026-11.

A vector is made of its words: equal words, equal vectors. A document's score is how many of the query's words it has.
"""

import base64
import struct
from hashlib import blake2b
from typing import Any

import msgspec

from penstock.simulate.content import tokens_in
from penstock.simulate.openai_rules import bad
from penstock.simulate.picture import png
from penstock.simulate.reply import Call, Refused, Reply
from penstock.simulate.untyped import as_int, as_list, as_object, as_text, is_list, is_object
from penstock.wire.http import Headers

_encode = msgspec.json.Encoder().encode
_JSON: Headers = [(b"content-type", b"application/json")]
OPENAI_DIMENSIONS = 16
"""Few, so that bodies stay readable; as many as are asked for otherwise."""
OPENAI_MOST_DIMENSIONS = 3072
"""Of text-embedding-3-large."""
_HARMS = ("harassment", "hate", "self-harm", "sexual", "violence")


def vector(words: str, dimensions: int = OPENAI_DIMENSIONS) -> list[float]:
    """Of length 1, always the same for the same words."""
    if not 0 < dimensions <= OPENAI_MOST_DIMENSIONS:
        raise bad(f"Invalid value for 'dimensions' = {str(dimensions)[:20]}.", "dimensions")
    made: list[float] = []
    block = 0
    while len(made) < dimensions:
        digest = blake2b(f"{block} {words}".encode(), digest_size=64).digest()
        made += [value / 32768 for value in struct.unpack("<32h", digest)]
        block += 1
    made = made[:dimensions]
    length = sum(value * value for value in made) ** 0.5 or 1.0
    return [value / length for value in made]


def answer(call: Call) -> Reply | None:
    """The reply to what this file knows of OpenAI's paths, or None."""
    if call.method != "POST":
        return None
    if call.path.endswith("/embeddings"):
        return _embeddings(as_object(call.json))
    if call.path.endswith("/moderations"):
        return _moderations(as_object(call.json), call)
    if call.path.endswith("/rerank"):
        return _rerank(as_object(call.json), call, cohere=False)
    return None


def _reply(body: Any) -> Reply:
    return Reply(200, _JSON, _encode(body))


def _embeddings(body: dict[str, Any]) -> Reply:
    if not as_text(body.get("model")):
        raise bad("you must provide a model parameter", None)
    given = body.get("input")
    inputs: list[Any] = as_list(given) if is_list(given) else [given]
    if inputs and all(isinstance(one, int) for one in inputs):
        inputs = [inputs]
    if not inputs or any(not (isinstance(one, str) or is_list(one)) or not one for one in inputs):
        raise bad("'$.input' is invalid. Please check the API reference.", "input")
    wanted = as_int(body.get("dimensions")) or OPENAI_DIMENSIONS
    as_base64 = body.get("encoding_format") == "base64"
    rows: list[dict[str, Any]] = []
    tokens = 0
    for index, one in enumerate(inputs):
        words = one if isinstance(one, str) else " ".join(str(token) for token in as_list(one))
        tokens += tokens_in(words) if isinstance(one, str) else len(as_list(one))
        made = vector(words, wanted)
        shown: Any = base64.b64encode(struct.pack(f"<{wanted}f", *made)).decode() if as_base64 else made
        rows.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _reply({"object": "list", "data": rows, "model": body["model"], "usage": usage})


def _moderations(body: dict[str, Any], call: Call) -> Reply:
    given = body.get("input")
    if given is None:
        raise bad("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    inputs: list[Any] = as_list(given) if is_list(given) else [given]
    if inputs and is_object(inputs[0]):
        inputs = [" ".join(as_text(as_object(part).get("text")) for part in inputs)]
    results: list[dict[str, Any]] = []
    for one in inputs:
        scores = {harm: 0.98 if harm in as_text(one) else 0.01 for harm in _HARMS}
        categories = {harm: score > 0.5 for harm, score in scores.items()}
        results.append(
            {
                "flagged": any(categories.values()),
                "categories": categories,
                "category_scores": scores,
                "category_applied_input_types": {harm: ["text"] for harm in _HARMS},
            }
        )
    return _reply({"id": f"modr-sim{call.serial}", "model": as_text(body.get("model")), "results": results})


def score(query: str, document: str) -> float:
    """Which share of the query's words the document has."""
    asked = set(query.lower().split())
    return round(len(asked & set(document.lower().split())) / max(len(asked), 1), 6)


def _rerank(body: dict[str, Any], call: Call, *, cohere: bool) -> Reply:
    documents = as_list(body.get("documents"))
    query = as_text(body.get("query"))
    if not query or not documents:
        raise Refused(400, "invalid request: query and documents are required")
    texts = [
        as_text(one) if isinstance(one, str) else as_text(as_object(one).get("text")) for one in documents
    ]
    scored = sorted(((score(query, text), -index) for index, text in enumerate(texts)), reverse=True)
    top = as_int(body.get("top_n")) or len(texts)
    results = [{"index": -index, "relevance_score": value} for value, index in scored[:top]]
    if cohere:
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": -(-len(texts) // 100)}}
        return _reply({"id": f"sim-{call.serial}", "results": results, "meta": meta})
    tokens = sum(tokens_in(text) + tokens_in(query) for text in texts)
    return _reply(
        {"model": as_text(body.get("model")), "usage": {"total_tokens": tokens}, "results": results}
    )


class Cohere:
    """Cohere's second version, as far as it embeds and ranks, and KServe's: both refuse with one sentence."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        body = as_object(call.json)
        if call.path.endswith("/rerank"):
            self._key(call)
            return _rerank(body, call, cohere=True)
        if call.path.endswith("/embed"):
            self._key(call)
            return _embed(body, call)
        if call.path.endswith("/infer"):
            return _infer(body, call)
        raise Refused(404, f"unknown path {call.path}")

    def _key(self, call: Call) -> None:
        if not call.key:
            raise Refused(401, "no api key supplied")

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """Cohere's ``message``, KServe's ``error``."""
        name = "error" if call.path.endswith("/infer") else "message"
        words = refused.message or "the simulator was told to refuse"
        return Reply(refused.status, _JSON, _encode({name: words}))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never asked: there are no streams."""
        return b""


COHERE = Cohere()


def _embed(body: dict[str, Any], call: Call) -> Reply:
    if not as_text(body.get("input_type")):
        raise Refused(400, "invalid request: valid input_type must be provided with the provided model")
    texts = [as_text(one) for one in as_list(body.get("texts"))]
    images = 0
    for one in as_list(body.get("inputs")):
        for part in as_list(as_object(one).get("content")):
            url = as_text(as_object(as_object(part).get("image_url")).get("url"))
            images += bool(url)
            texts.append(url or as_text(as_object(part).get("text")))
    if not texts:
        raise Refused(400, "invalid request: one of texts, images or inputs must be provided")
    wanted = as_int(body.get("output_dimension")) or OPENAI_DIMENSIONS
    tokens = sum(tokens_in(text) for text in texts if not text.startswith("data:"))
    billed: dict[str, Any] = {"input_tokens": tokens}
    if images:
        billed |= {"images": images, "image_tokens": 100 * images}
    return _reply(
        {
            "id": f"sim-{call.serial}",
            "embeddings": {"float": [vector(text, wanted) for text in texts]},
            "texts": texts,
            "response_type": "embeddings_by_type",
            "meta": {"api_version": {"version": "2"}, "billed_units": billed},
        }
    )


def _infer(body: dict[str, Any], call: Call) -> Reply:
    """What the model does stands in its name: embed, classify or draw."""
    name = call.path.split("/models/")[-1].split("/")[0]
    inputs = [as_object(one) for one in as_list(body.get("inputs"))]
    words = next((one for one in inputs if one.get("datatype") == "BYTES"), None)
    if words is None:
        raise Refused(400, "unable to parse the inputs: expected a BYTES tensor")
    texts = [as_text(one) for one in as_list(words.get("data"))]
    if as_list(words.get("shape"))[:1] != [len(texts)]:
        raise Refused(400, f"unexpected shape for input '{as_text(words.get('name'))}'")
    output: dict[str, Any]
    if "classif" in name:
        rows = [[0.97, 0.03] if "harm" in text else [0.02, 0.98] for text in texts]
        output = {
            "name": "SCORES",
            "datatype": "FP32",
            "shape": [len(texts), 2],
            "data": [one for row in rows for one in row],
        }
    elif "pixels" in name:
        data = [channel for text in texts for _ in range(4) for channel in vector_pixels(text)]
        output = {"name": "IMAGE", "datatype": "UINT8", "shape": [len(texts), 2, 2, 3], "data": data}
    elif "draw" in name:
        drawn = [base64.b64encode(png(8, 8, tokens_in(text))).decode() for text in texts]
        output = {"name": "IMAGE", "datatype": "BYTES", "shape": [len(texts), 1], "data": drawn}
    elif "embed" in name:
        flat = [value for text in texts for value in vector(text)]
        output = {
            "name": "EMBEDDING",
            "datatype": "FP32",
            "shape": [len(texts), OPENAI_DIMENSIONS],
            "data": flat,
        }
    else:
        raise Refused(404, f"Request for unknown model: '{name}' is not found")
    return _reply({"model_name": name, "model_version": "1", "outputs": [output]})


def vector_pixels(text: str) -> tuple[int, int, int]:
    """One colour for these words."""
    red, green, blue = blake2b(text.encode(), digest_size=3).digest()
    return red, green, blue


def gemini(call: Call, verb: str) -> Reply | None:
    """Google's three ways to embed, or None for another verb."""
    body = as_object(call.json)
    if verb == "batchEmbedContents":
        asked = [as_object(one) for one in as_list(body.get("requests"))]
        if not asked:
            raise Refused(400, "* BatchEmbedContentsRequest.requests: must not be empty")
        made = [_values(one) for one in asked]
        tokens = sum(tokens_in(_said(one)) for one in asked)
        counts = {"promptTokenCount": tokens, "totalTokenCount": tokens}
        return _reply({"embeddings": [{"values": values} for values in made], "usageMetadata": counts})
    if verb == "embedContent":
        return _reply({"embedding": {"values": _values(body)}})
    if verb == "predict":
        wanted = as_int(as_object(body.get("parameters")).get("outputDimensionality")) or OPENAI_DIMENSIONS
        predictions: list[dict[str, Any]] = []
        for one in as_list(body.get("instances")):
            words = as_text(as_object(one).get("content"))
            statistics = {"token_count": tokens_in(words), "truncated": False}
            predictions.append({"embeddings": {"values": vector(words, wanted), "statistics": statistics}})
        return _reply({"predictions": predictions})
    return None


def _said(asked: dict[str, Any]) -> str:
    parts = [as_object(part) for part in as_list(as_object(asked.get("content")).get("parts"))]
    return " ".join(
        as_text(part.get("text")) or as_text(as_object(part.get("inlineData")).get("data")) for part in parts
    )


def _values(asked: dict[str, Any]) -> list[float]:
    wanted = as_int(asked.get("outputDimensionality")) or as_int(asked.get("output_dimensionality"))
    # Google's shortened vectors are not of length 1 (gemini-embedding-001): ours are of length 2 then.
    made = vector(_said(asked), wanted or OPENAI_DIMENSIONS)
    return [2 * value for value in made] if wanted else made
