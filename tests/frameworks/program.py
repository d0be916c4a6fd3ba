"""What a user of langchain-openai, pydantic-ai or litellm writes, against a gateway: ``program.py NAME URL KEY MODEL``.

Prints one JSON object of what it got. Runs with the interpreter of ``.venv-frameworks``, and imports nothing of ours.
"""

import asyncio
import json
import sys
from typing import Any


def langchain(url: str, key: str, model: str) -> dict[str, Any]:
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    chat = ChatOpenAI(base_url=f"{url}/v1", api_key=key, model=model, max_retries=0, stream_usage=True)
    said = chat.invoke("ECHO Hello from LangChain")
    pieces = list(chat.stream("ECHO one two three four five"))
    streamed = "".join(str(piece.content) for piece in pieces)
    usage = next(piece.usage_metadata for piece in reversed(pieces) if piece.usage_metadata)
    called = chat.bind_tools([weather], tool_choice="weather").invoke("What is the weather in Oslo?")
    made: dict[str, Any] = {
        "said": said.content,
        "streamed": streamed,
        "tokens": usage["total_tokens"],
        "tool": called.tool_calls[0]["name"],
    }
    if model.startswith("openai/"):
        embedder = OpenAIEmbeddings(
            base_url=f"{url}/v1",
            api_key=key,
            model="openai/text-embedding-3-small",
            check_embedding_ctx_length=False,
        )
        made["vectors"] = len(embedder.embed_documents(["a heron", "a weir"]))
    try:
        ChatOpenAI(base_url=f"{url}/v1", api_key="wrong", model=model, max_retries=0).invoke("x")
    except Exception as error:
        made["error"] = type(error).__name__
    return made


def pydantic_ai(url: str, key: str, model: str) -> dict[str, Any]:
    from pydantic import BaseModel
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    class City(BaseModel):
        name: str
        country: str

    calls: list[str] = []
    chat = OpenAIChatModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=key))
    plain = Agent(chat)
    said = plain.run_sync("ECHO Hello from Pydantic AI")
    shaped = Agent(chat, output_type=City).run_sync("Name a city")
    tooled = Agent(chat)

    @tooled.tool_plain
    def weather(city: str) -> str:
        """The weather in a city."""
        calls.append(city)
        return f"sunny in {city}"

    answered = tooled.run_sync("CALL_TOOL What is the weather in Oslo?")

    async def stream() -> str:
        async with plain.run_stream("ECHO one two three four five") as result:
            return await result.get_output()

    return {
        "said": said.output,
        "streamed": asyncio.run(stream()),
        "shaped": type(shaped.output).__name__,
        "called": len(calls),
        "answered": bool(answered.output),
        "tokens": said.usage().total_tokens if callable(said.usage) else said.usage.total_tokens,
    }


def litellm(url: str, key: str, model: str) -> dict[str, Any]:
    import litellm as library

    library.suppress_debug_info = True
    told: Any = [{"role": "user", "content": "ECHO Hello from LiteLLM"}]
    where = {"api_base": f"{url}/v1", "api_key": key, "custom_llm_provider": "openai", "num_retries": 0}
    said: Any = library.completion(model=model, messages=told, **where)
    told[0]["content"] = "ECHO one two three four five"
    chunks: list[Any] = list(library.completion(model=model, messages=told, stream=True, **where))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    made: dict[str, Any] = {
        "said": said.choices[0].message.content,
        "streamed": streamed,
        "tokens": said.usage.total_tokens,
    }
    try:
        library.completion(model=model, messages=told, **{**where, "api_key": "wrong"})
    except Exception as error:
        made["error"] = type(error).__name__
    return made


if __name__ == "__main__":
    name, url, key, model = sys.argv[1:]
    made = {"langchain": langchain, "pydantic_ai": pydantic_ai, "litellm": litellm}[name](url, key, model)
    print(json.dumps(made))
