"""Any pipeline: families that differ in their parts, their guidance and their inputs are loaded, run, and foreseen alike."""

import pytest
import torch

from penstock.engine.measure import counting
from penstock.engine.workloads import on_meta, outputs, pipeline
from tests.engine import families
from tests.engine.test_workload_pipeline import counted

STEPS = 3
CALLS = {
    "img2img": {"encode_prompt": 1, "vae_encode": 1, "unet": 2, "vae": 1},
    "flux": {"encode_prompt": 1, "transformer": 3, "vae": 1},
    "sd3": {"encode_prompt": 1, "transformer": 3, "vae": 1},
    "pixart": {"encode_prompt": 1, "transformer": 3, "vae": 1},
    "wan": {"encode_prompt": 1, "transformer": 6, "vae": 1},
    "ddpm": {"unet": 3},
    "dit": {"transformer": 3, "vae": 1},
}
"""Stages that are modules, or the text's, in a call of three steps: what each family's own loop makes of them."""


@pytest.mark.parametrize("build", families.SMALL, ids=lambda build: build.__name__)
def test_a_family_runs_and_is_foreseen(build, tmp_path):
    """Its stages are called as often as its loop says, live and on meta; FLOPs without weights are the FLOPs with them."""
    folder = families.saved(build, tmp_path / build.__name__)
    arguments = families.SMALL[build]
    loaded = pipeline.load(folder, steps=STEPS, arguments=arguments)
    with counted(loaded.stages()) as calls:
        made = loaded.numbers()
    expected = CALLS[build.__name__]
    assert {stage: n for (stage, _), n in calls.items() if stage in expected} == expected
    assert outputs.finite(made)
    assert torch.equal(outputs.tensors(made)[0], outputs.tensors(loaded.numbers())[0])
    two = outputs.tensors(loaded.with_batch(2)())
    assert len(two) == 2 or two[0].shape[0] == 2
    plan = on_meta.of_pipeline(folder, dtype="fp32", steps=STEPS, arguments=arguments)
    assert {part.name: part.calls for part in plan.parts} == expected
    assert sum(part.flops * part.calls for part in plan.parts) == counting.count(loaded.numbers).flops
    weights = {id(p): p.numel() for part in loaded.modules().values() for p in part.parameters()}
    foreseen = {id(p): p.numel() for part in plan.modules.values() for p in part.parameters()}
    assert sum(foreseen.values()) == sum(weights.values())


def test_embeddings_are_told_from_masks_and_positions(tmp_path):
    """PixArt returns masks beside them, Flux positions: neither is a cache's to keep."""
    sizes = {
        build: on_meta.of_pipeline(
            families.saved(build, tmp_path / build.__name__),
            dtype="fp16",
            steps=1,
            arguments=families.SMALL[build],
        ).embedding_bytes
        for build in (families.pixart, families.flux)
    }
    assert sizes[families.pixart] == {"prompt_embedding": 16 * 32 * 2, "negative_embedding": 16 * 32 * 2}
    assert sizes[families.flux] == {"prompt_embedding": 16 * 32 * 2, "pooled_embedding": 32 * 2}
