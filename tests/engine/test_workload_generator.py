"""Text generators from their directories: prefill and decode apart, tokens counted, and what each mistake is told."""

import json
import shutil

import pytest
import torch
import transformers

from penstock.base.errors import BadRequest
from penstock.engine.measure import counting
from penstock.engine.workloads import generator, on_meta, pipeline
from tests.engine.test_workload_pipeline import counted


def refused(said, hint, /, *args, **kwargs):
    with pytest.raises(BadRequest) as caught:
        generator.load(*args, **kwargs)
    assert said in caught.value.message, caught.value.message
    assert hint in (caught.value.hint or ""), caught.value.hint


def test_it_makes_the_tokens_it_was_asked_for(tiny_generator_dir):
    """Greedily, from the tokenizer's prompt, past any end-of-text; the same twice, and as the model's own generate."""
    loaded = generator.load(tiny_generator_dir, prompt="a red lamp", tokens=6)
    made = loaded.call()
    assert made.shape == (1, 3 + 6)
    assert made[0, :3].tolist() == loaded.tokenizer("a red lamp")["input_ids"]
    assert torch.equal(made, loaded.call())
    assert (loaded.kind, loaded.device, loaded.steps, loaded.batch) == ("generator", "cpu", 6, 1)
    assert loaded.counted() == {"prompt_tokens": 3, "new_tokens": 6, "decode_calls": 5}
    own = loaded.root.generate(
        loaded.prompt_BT, attention_mask=torch.ones_like(loaded.prompt_BT), max_new_tokens=6, min_new_tokens=6
    )
    assert torch.equal(made, own)


@pytest.mark.parametrize("prompt_tokens", [1, 7])
def test_prefill_and_decode_are_told_apart(tiny_generator_dir, prompt_tokens):
    """One prefill of all the prompt's tokens, one decode of one token for each further token - of a short prompt as well."""
    loaded = generator.load(tiny_generator_dir, prompt_tokens=prompt_tokens, tokens=5)
    widths = []
    loaded.root.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    before = dict(vars(loaded.root))
    with counted(loaded.stages()) as calls:
        loaded.call()
    assert calls == {("prefill", "_prefill"): 1, ("decode", "__call__"): 4}
    assert widths == [prompt_tokens, 1, 1, 1, 1]
    assert vars(loaded.root).keys() == before.keys()


def test_batches_are_the_prompt_repeated(tiny_generator_dir):
    """Each row the same tokens as alone."""
    loaded = generator.load(tiny_generator_dir, tokens=4)
    three = loaded.with_batch(3)()
    assert three.shape[0] == 3
    assert torch.equal(three[2], loaded.call()[0])
    assert generator.load(tiny_generator_dir, tokens=4, batch=2).call().shape[0] == 2


def test_without_a_tokenizer_the_prompt_is_made_up(tiny_generator_dir, tmp_path):
    """And a written prompt is refused."""
    folder = shutil.copytree(tiny_generator_dir, tmp_path / "bare")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert generator.load(folder, tokens=2).call().shape == (1, 16 + 2)
    refused("has no tokenizer", "prompt_tokens=128", folder, prompt="a")


def test_wrong_directories_are_told(tiny_generator_dir, tiny_sdxl_dir, tmp_path):
    """What it is instead, and what to write."""
    refused("There is no", "Relative paths", tmp_path / "nowhere")
    refused("no config.json", "save_pretrained", tmp_path)
    refused("no config.json", "without --generate", tiny_sdxl_dir)
    refused("no model_type", "UNet2DConditionModel", tiny_sdxl_dir / "unet")
    folder = shutil.copytree(tiny_generator_dir, tmp_path / "copy")
    (folder / "model.safetensors").unlink()
    refused("cannot be loaded", "--gpu h100", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "teapot"}))
    refused("cannot be loaded", "by itself", folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))
    refused("cannot be loaded", "generates no text", folder)


def test_wrong_numbers_are_told(tiny_generator_dir):
    """Too few tokens to decode, more than there are positions, an unknown dtype, no prompt."""
    refused("show no decode", "2 or more", tiny_generator_dir, tokens=1)
    refused("256 positions", "Ask for 56", tiny_generator_dir, prompt_tokens=200, tokens=100)
    refused("no dtype", "fp32", tiny_generator_dir, dtype="fp1")
    refused("is none", "1 or more", tiny_generator_dir, prompt_tokens=0)


def test_weights_keep_the_dtype_they_were_saved_in(tiny_generator_dir):
    """Unless another is asked for."""
    assert generator.load(tiny_generator_dir).root.dtype == torch.float32
    assert generator.load(tiny_generator_dir, dtype="bf16").root.dtype == torch.bfloat16


SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES = {
    "gpt2": ("fp32", transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)),
    "gemma2": ("fp32", transformers.Gemma2Config(**SIZES, head_dim=8)),
    "mixtral": ("bf16", transformers.MixtralConfig(**SIZES, num_local_experts=2)),
    "mamba": ("fp32", transformers.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0)),
}  # fmt: skip
"""Learned positions, sliding windows, experts, and a state instead of keys and values."""


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_generate_and_are_foreseen(family, tmp_path):
    """Prefill and decode are told apart in each; FLOPs without weights are the FLOPs with them."""
    dtype, config = FAMILIES[family]
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    loaded = generator.load(tmp_path, dtype=dtype, prompt_tokens=7, tokens=6)
    with counted(loaded.stages()) as calls:
        assert loaded.call().shape == (1, 7 + 6)
    assert calls == {("prefill", "_prefill"): 1, ("decode", "__call__"): 5}
    plan = on_meta.of_generator(tmp_path, dtype=dtype, prompt_tokens=7, tokens=6)
    assert [(part.name, part.calls) for part in plan.parts] == [("prefill", 1), ("decode", 5)]
    assert sum(part.flops * part.calls for part in plan.parts) == counting.count(loaded.call).flops
    assert plan.embedding_bytes["key_value_cache"] > 0


OWN = "from pathlib import Path\nPath(__file__).with_name('RAN').write_text('')\n"


@pytest.fixture
def eager_user(monkeypatch):
    """One who answers y to whatever is asked; what was asked."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "y")
    return asked


def with_own_code(folder, name, **changed):
    """The directory's configuration of that name, with a class of its own that leaves a file where it is run."""
    config = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    own = {
        "AutoConfig": "evil.Config",
        "AutoModelForCausalLM": "evil.Model",
        "AutoTokenizer": ["evil.Words", None],
    }
    (folder / name).write_text(json.dumps({**config, **changed, "auto_map": own}))
    (folder / "evil.py").write_text(OWN)
    return folder


def test_a_model_s_own_code_is_never_run(tiny_generator_dir, tmp_path, eager_user):
    """Nothing is asked, nothing of the directory is imported; the user is told what to do instead."""
    folder = shutil.copytree(tiny_generator_dir, tmp_path / "model")
    with_own_code(folder, "config.json", model_type="evil")
    refused("cannot be loaded", "my_module.py:build", folder)
    with pytest.raises(BadRequest):
        on_meta.of_generator(folder)
    with_own_code(folder, "config.json", model_type="clip")  # known, and it generates no text
    refused("cannot be loaded", "my_module.py:build", folder)
    with pytest.raises(BadRequest):
        on_meta.of_generator(folder)
    assert eager_user == []
    assert not list(tmp_path.rglob("RAN"))


def test_a_tokenizer_s_own_code_is_never_run(tiny_generator_dir, tmp_path, eager_user):
    folder = shutil.copytree(tiny_generator_dir, tmp_path / "model")
    with_own_code(folder, "tokenizer_config.json", tokenizer_class="Words")
    refused("The tokenizer of", "my_module.py:build", folder)
    assert eager_user == []
    assert not list(tmp_path.rglob("RAN"))


def test_a_known_model_with_a_rest_of_own_code_is_loaded_without_it(tiny_generator_dir, tmp_path, eager_user):
    """Many directories keep ``auto_map`` from before transformers knew their model."""
    folder = with_own_code(shutil.copytree(tiny_generator_dir, tmp_path / "model"), "config.json")
    assert type(generator.load(folder, tokens=2).root).__module__.startswith("transformers.")
    assert eager_user == []
    assert not list(tmp_path.rglob("RAN"))


@pytest.mark.parametrize("kind", ["AutoTokenizer", "CLIPTokenizer"])
def test_a_pipeline_s_components_run_no_own_code(kind, tiny_sdxl_dir, tmp_path, eager_user):
    """diffusers hands its components no ``trust_remote_code``: what would ask is refused before; what is named outright loads."""
    folder = shutil.copytree(tiny_sdxl_dir, tmp_path / "pipe")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "tokenizer": ["transformers", kind]}))
    with_own_code(folder / "tokenizer", "tokenizer_config.json", tokenizer_class="Words")
    for load in (pipeline.load, on_meta.of_pipeline):
        if kind == "CLIPTokenizer":
            assert load(folder, steps=1)
            continue
        with pytest.raises(BadRequest, match="code of its own") as caught:
            load(folder, steps=1)
        assert "my_module.py:build" in (caught.value.hint or "")
    assert eager_user == []
    assert not list(tmp_path.rglob("RAN"))
