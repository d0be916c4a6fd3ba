"""A pipeline's text embeddings from the cache: bit by bit what its encoders make, and never of other weights."""

import copy

import pytest
import torch

from penstock.blobs.gdsf import Limits
from penstock.blobs.memory import MemoryBlobs
from penstock.blobs.sqlite import SqliteBlobs
from penstock.blobs.tensors import TensorCache
from penstock.engine.workloads.text_embeddings import TextEmbeddings
from tests.engine import tiny

AMPLE = Limits.of(1 << 28, 10_000)
ASKED = {"prompt": "a red lamp", "device": torch.device("cpu"), "negative_prompt": "rain"}


class Counted:
    """How often the text encoders ran."""

    def __init__(self, pipe):
        self.runs = 0
        for name in ("text_encoder", "text_encoder_2"):
            part = getattr(pipe, name, None)
            if part is not None:
                part.register_forward_hook(self.ran)

    def ran(self, *_):
        self.runs += 1

    def of(self, work):
        before = self.runs
        made = work()
        return made, self.runs - before


@pytest.fixture
def pipe():
    return tiny.sdxl()


def cache(store=None):
    return TensorCache(store or MemoryBlobs(AMPLE), "text", 3600.0)


def same(one, two):
    """Bit by bit, NaNs and zeros' signs too."""
    assert len(one) == len(two)
    for left, right in zip(one, two, strict=True):
        assert (left is None) == (right is None)
        if left is not None:
            assert (left.dtype, left.shape, left.device) == (right.dtype, right.shape, right.device)
            assert torch.equal(left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.no_grad()
def test_a_hit_is_bit_by_bit_the_same_and_runs_no_encoder(pipe, dtype):
    pipe.to(dtype)
    counted = Counted(pipe)
    plain, runs = counted.of(lambda: pipe.encode_prompt(**ASKED))
    assert runs == 4
    kept = cache()
    with TextEmbeddings(pipe, kept):
        first, runs = counted.of(lambda: pipe.encode_prompt(**ASKED))
        assert runs == 4
        second, runs = counted.of(lambda: pipe.encode_prompt(**ASKED))
        assert runs == 0
    same(plain, first)
    same(plain, second)
    assert plain[0].dtype == dtype
    assert (kept.hits, kept.misses) == (1, 1)
    assert "encode_prompt" not in vars(pipe)


@torch.no_grad()
def test_the_image_is_the_same_and_the_whole_pipeline_hits(pipe):
    counted = Counted(pipe)
    plain = tiny.run_sdxl(pipe)
    with TextEmbeddings(pipe, cache()):
        tiny.run_sdxl(pipe)
        image, runs = counted.of(lambda: tiny.run_sdxl(pipe))
    assert runs == 0
    assert torch.equal(plain, image)


@torch.no_grad()
def test_every_argument_that_changes_the_result_is_another_key(pipe):
    counted = Counted(pipe)
    asks = [
        ASKED,
        {**ASKED, "prompt": "a red lamps"},
        {**ASKED, "prompt": ["a red lamp"], "negative_prompt": ["rain"]},
        {**ASKED, "prompt_2": "a cat"},
        {**ASKED, "negative_prompt": None},
        {**ASKED, "negative_prompt": ""},
        {**ASKED, "negative_prompt_2": "dog"},
        {**ASKED, "clip_skip": 0},
        {**ASKED, "num_images_per_prompt": 2},
        {**ASKED, "do_classifier_free_guidance": False},
    ]
    plain = [pipe.encode_prompt(**ask) for ask in asks]
    with TextEmbeddings(pipe, cache()):
        for ask, wanted in zip(asks, plain, strict=True):
            made, runs = counted.of(lambda ask=ask: pipe.encode_prompt(**ask))
            assert runs > 0
            same(wanted, made)
        for ask, wanted in zip(asks, plain, strict=True):
            made, runs = counted.of(lambda ask=ask: pipe.encode_prompt(**ask))
            assert runs == 0
            same(wanted, made)
        positional, runs = counted.of(
            lambda: pipe.encode_prompt("a red lamp", None, torch.device("cpu"), negative_prompt="rain")
        )
    assert runs == 0
    same(plain[0], positional)


def norm(part):
    """The last layer's norm, wherever this version of transformers has it."""
    return next(layer for name, layer in part.named_modules() if name.endswith("final_layer_norm"))


def written(pipe):
    norm(pipe.text_encoder_2).bias.add_(0.5)


def replaced(pipe):
    layer = norm(pipe.text_encoder)
    layer.weight = torch.nn.Parameter(layer.weight * 2)


def swapped(pipe):
    torch.manual_seed(7)
    pipe.text_encoder = tiny.clip()


def loaded(pipe):
    state = {name: one + 1 for name, one in pipe.text_encoder.state_dict().items()}
    pipe.text_encoder.load_state_dict(state)


def other_words(pipe):
    pipe.tokenizer.add_tokens(["lamp"])


def shorter(pipe):
    pipe.tokenizer.model_max_length = pipe.tokenizer_2.model_max_length = 5


def zeros(pipe):
    pipe.register_to_config(force_zeros_for_empty_prompt=False)


@pytest.mark.parametrize("change", [written, replaced, swapped, loaded, other_words, shorter, zeros])
@torch.no_grad()
def test_a_change_of_weights_or_tokenizer_is_another_key(pipe, change):
    kept = cache()
    with TextEmbeddings(pipe, kept):
        pipe.encode_prompt(**ASKED)
        pipe.encode_prompt(**ASKED)
        assert kept.misses == 1
        change(pipe)
        pipe.encode_prompt(**ASKED)
        assert kept.misses == 2
        pipe.encode_prompt(**ASKED)
        assert kept.hits == 2


@torch.no_grad()
def test_writes_that_torch_does_not_count_are_told(pipe):
    kept = cache()
    with TextEmbeddings(pipe, kept) as embeddings:
        pipe.encode_prompt(**ASKED)
        norm(pipe.text_encoder).bias.data.add_(1)
        embeddings.changed()
        pipe.encode_prompt(**ASKED)
    assert (kept.hits, kept.misses) == (0, 2)


@torch.no_grad()
def test_another_process_with_the_same_weights_hits(pipe, tmp_path):
    """A key is of what the weights are, not of where they lie; and a state that tokenizers keep from call to call is none."""
    twin = tiny.sdxl()
    counted = Counted(twin)
    store = SqliteBlobs(str(tmp_path / "b.db"), AMPLE, now_ms=lambda: 0)
    with TextEmbeddings(pipe, cache(store)) as first:
        made = pipe.encode_prompt(**ASKED)
        first.changed()
        pipe.encode_prompt(**ASKED)
    with TextEmbeddings(twin, kept := cache(store)):
        again, runs = counted.of(lambda: twin.encode_prompt(**ASKED))
    assert runs == 0
    assert kept.hits == 1
    same(made, again)
    store.close()


@torch.no_grad()
def test_what_is_answered_is_the_callers_own(pipe):
    with TextEmbeddings(pipe, cache()):
        first = pipe.encode_prompt(**ASKED)
        wanted = copy.deepcopy(first)
        for one in (*first, *pipe.encode_prompt(**ASKED)):
            one.zero_()
        same(wanted, pipe.encode_prompt(**ASKED))


def test_what_cannot_be_answered_from_a_cache_is_not(pipe):
    """Gradients, training, embeddings of one's own, a LoRA scale."""
    kept = cache()
    with TextEmbeddings(pipe, kept) as embeddings:
        made = pipe.encode_prompt(**ASKED)
        assert made[0].requires_grad
        with torch.no_grad():
            pipe.text_encoder.train()
            pipe.encode_prompt(**ASKED)
            pipe.text_encoder.eval()
            real, embeddings._encode = embeddings._encode, lambda **words: words["lora_scale"]
            assert pipe.encode_prompt(**ASKED, lora_scale=0.5) == 0.5
            embeddings._encode = real
            own = [one.detach() for one in made]
            pipe.encode_prompt(
                None, prompt_embeds=own[0], negative_prompt_embeds=own[1],
                pooled_prompt_embeds=own[2], negative_pooled_prompt_embeds=own[3],
            )  # fmt: skip
            with pytest.raises(TypeError):
                pipe.encode_prompt(nonsense=1)
    assert embeddings.bypassed == 4
    assert (kept.hits, kept.misses) == (0, 0)


@torch.no_grad()
def test_autocast_is_another_key(pipe):
    kept = cache()
    with TextEmbeddings(pipe, kept):
        pipe.encode_prompt(**ASKED)
        with torch.autocast("cpu", torch.bfloat16):
            half = pipe.encode_prompt(**ASKED)
            same(half, pipe.encode_prompt(**ASKED))
    assert (kept.hits, kept.misses) == (1, 2)


@torch.no_grad()
def test_what_does_not_fit_is_made_anew(pipe):
    """A value that is whole, and yet not what encode_prompt returns."""
    store = MemoryBlobs(AMPLE)
    kept = cache(store)
    with TextEmbeddings(pipe, kept):
        wanted = pipe.encode_prompt(**ASKED)
        (place, (key,)) = next((place, list(keys)) for place, keys in store._places.items())
        tensors = kept.get(key)
        kept.put(key, tensors[:-1])
        same(wanted, pipe.encode_prompt(**ASKED))
        kept.put(key, [])
        same(wanted, pipe.encode_prompt(**ASKED))
    assert place.kind == "tensor"
