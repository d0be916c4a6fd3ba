"""A causal language model of transformers with its tokenizer, generating: prefill and decode apart, tokens counted.

The model's own ``generate`` runs, greedily, and always makes the number of tokens it was asked for. What it does between the
model's calls (choosing the token, asking whether to stop) belongs to no stage, and shows as the residual.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from penstock.base.errors import BadRequest
from penstock.engine.workloads import failures, noise, saved
from penstock.engine.workloads.workload import StagePoint

PROMPT = "A red lamp on the desk"
TOKENS = 32
"""New tokens of a call, where nothing is said."""


class GeneratorWorkload:
    """A text generator and one prompt."""

    kind = "generator"

    def __init__(self, name: str, root: Any, tokenizer: Any, prompt_BT: torch.Tensor, *, tokens: int) -> None:
        self.name = name
        self.root = root
        self.tokenizer = tokenizer
        """None where the directory has none: the prompt is then of made-up tokens."""
        self.prompt_BT = prompt_BT
        """int64, batch x prompt's tokens, on the model's device; no padding."""
        self.steps = tokens
        """New tokens of one call, for each prompt of the batch."""
        self.batch = int(prompt_BT.shape[0])
        self.device = str(prompt_BT.device)

    def call(self) -> Any:
        """Generate once; int64, batch x (prompt's + new tokens)."""
        return self._generate(self.prompt_BT)

    def counted(self) -> dict[str, int]:
        """Tokens of one call: read in prefill, made (the first by prefill, the others by one decode each)."""
        batch, prompt = self.prompt_BT.shape
        return {
            "prompt_tokens": batch * prompt,
            "new_tokens": batch * self.steps,
            "decode_calls": self.steps - 1,
        }

    def _generate(self, prompt_BT: torch.Tensor) -> Any:
        return failures.run(
            lambda: self.root.generate(
                prompt_BT,
                attention_mask=torch.ones_like(prompt_BT),
                max_new_tokens=self.steps,
                min_new_tokens=self.steps,
                do_sample=False,
                num_beams=1,
                pad_token_id=_pad(self.root),
            ),
            self.name,
        )

    def stages(self) -> tuple[StagePoint, ...]:
        """``prefill``, once a call; ``decode``, once for each further token."""
        return stage_points(self.root)

    def modules(self) -> dict[str, Any]:
        """The model, as ``model``."""
        return {"model": self.root}

    def with_batch(self, batch: int) -> Callable[[], Any] | None:
        """A call with ``batch`` prompts: its own, repeated."""
        rows = torch.arange(batch, device=self.prompt_BT.device) % self.batch
        prompt_BT = self.prompt_BT[rows]
        return lambda: self._generate(prompt_BT)


def stage_points(model: Any) -> tuple[StagePoint, ...]:
    """Prefill and decode of a live model.

    ``generate`` runs the prompt through ``_prefill``, which calls the model as ``self(…)``: Python looks that up on the class,
    past what stands on the instance. Every later token is ``self.__call__(…)``, which is looked up on the instance. So a wrapper
    on the instance's ``__call__`` sees the decodes alone (generation/utils.py of transformers 5.23; proved in the tests). What wraps
    the model's ``forward`` instead, as our ranges do, sees the prompt's as well: that one is prefill's own work, and no decode.
    """
    if callable(getattr(model, "_prefill", None)):
        return (
            StagePoint(model, "_prefill", "prefill"),
            StagePoint(model, "__call__", "decode", not_within="prefill"),
        )
    return (StagePoint(model, "forward", "forward"),)


def _pad(model: Any) -> int:
    config = model.generation_config
    for value in (config.pad_token_id, config.eos_token_id, 0):
        if value is not None:
            return int(cast("list[int]", value)[0]) if isinstance(value, list) else int(value)
    return 0


def load(
    path: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    prompt: str | None = None,
    prompt_tokens: int | None = None,
    tokens: int = TOKENS,
    batch: int = 1,
) -> GeneratorWorkload:
    """The workload of a model's directory. ``prompt_tokens`` asks for a prompt of that length, of made-up tokens.

    ``dtype``: fp32, bf16, fp16; None loads the weights as they were saved. BadRequest says what is missing.
    """
    folder = Path(path)
    check(folder)
    if tokens < 2:
        raise BadRequest(f"{tokens} new tokens show no decode.", param="tokens", hint="Ask for 2 or more.")
    weights = "auto" if dtype is None else saved.dtype_of(dtype)
    transformers = failures.needed("transformers", "A text generator")
    failures.named(transformers, "AutoModelForCausalLM")
    where = saved.device_of(device)
    model = _loaded(transformers, folder, weights)
    failures.run(lambda: model.eval().to(where), f"Moving {folder} to {where}")
    tokenizer = _tokenizer(transformers, folder)
    ids = _prompt(folder, model, tokenizer, prompt, prompt_tokens)
    room = getattr(model.config, "max_position_embeddings", None)
    if isinstance(room, int) and ids.shape[1] + tokens > room:
        raise BadRequest(
            f"{ids.shape[1]} tokens of prompt and {tokens} new ones are more than the model's {room} positions.",
            param="tokens",
            hint=f"Ask for {max(2, room - ids.shape[1])} new tokens or fewer.",
        )
    return GeneratorWorkload(
        str(path), model, tokenizer, ids.to(model.device).repeat(batch, 1), tokens=tokens
    )


def check(folder: Path) -> dict[str, Any]:
    """The directory's ``config.json``; BadRequest where it is no text generator's."""
    saved.directory(folder, "a text generator", "Name the directory that save_pretrained wrote.")
    if not (folder / "config.json").exists():
        pipeline = (folder / "model_index.json").exists()
        raise BadRequest(
            f"{folder} holds no config.json: it is no transformers model's directory.",
            param="target",
            hint=f"It is a diffusers pipeline's, without --generate: penstock profile {folder}"
            if pipeline
            else "Name the directory that save_pretrained wrote; it is not downloaded from here.",
        )
    config = saved.read_json(folder / "config.json")
    if "model_type" not in config:
        raise BadRequest(
            f"{folder / 'config.json'} has no model_type: it is no transformers model's.",
            param="target",
            hint=f"It is {config['_class_name']}'s, a part of a pipeline: name the pipeline's directory."
            if "_class_name" in config
            else "save_pretrained writes one.",
        )
    return config


def _loaded(transformers: Any, folder: Path, dtype: Any) -> Any:
    try:
        # None, transformers' default, asks on the terminal whether to run the directory's own code; False never runs it
        with noise.without_bars():
            return transformers.AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, dtype=dtype
            )
    except Exception as error:
        text = str(error)
        hint = "It must load by itself first: AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)."
        if "no file named" in text:
            hint = f"Weights are missing. Without them it can be judged beforehand: penstock profile {folder} --generate --gpu h100"
        elif "trust_remote_code" in text:
            hint = failures.OWN_CODE
        elif "Unrecognized configuration class" in text:
            hint = "It generates no text (an encoder, for instance): build it in a file of yours, my_module.py:build."
        raise BadRequest(
            f"{folder} cannot be loaded: {failures.said(error)}", param="target", hint=hint
        ) from error


def _tokenizer(transformers: Any, folder: Path) -> Any:
    """The directory's tokenizer; None where it has none."""
    if not any(
        (folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
    ):
        return None
    return failures.run(
        lambda: transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        ),
        f"The tokenizer of {folder}",
    )


def _prompt(
    folder: Path, model: Any, tokenizer: Any, prompt: str | None, prompt_tokens: int | None
) -> torch.Tensor:
    """int64, 1 x tokens."""
    if prompt is not None and tokenizer is None:
        raise BadRequest(
            f"{folder} has no tokenizer for the prompt.",
            param="prompt",
            hint="Save it beside the model (tokenizer.save_pretrained), or ask for a number of tokens: prompt_tokens=128",
        )
    if prompt_tokens is None and tokenizer is not None:
        ids = tokenizer(prompt or PROMPT, return_tensors="pt")["input_ids"]
        if ids.shape[1] == 0:
            raise BadRequest("The prompt has no tokens.", param="prompt", hint="Write at least one word.")
        return ids
    wanted = 16 if prompt_tokens is None else prompt_tokens
    if wanted < 1:
        raise BadRequest(
            f"A prompt of {wanted} tokens is none.", param="prompt_tokens", hint="Ask for 1 or more."
        )
    made = torch.Generator().manual_seed(0)
    return torch.randint(0, int(model.config.get_text_config().vocab_size), (1, wanted), generator=made)
