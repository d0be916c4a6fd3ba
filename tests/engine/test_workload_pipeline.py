"""Pipelines from their directories: real loading, stages that are really called, and what each mistake is told."""

import json
import logging
import shutil
import types
from collections import Counter
from contextlib import contextmanager
from functools import wraps

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, DiTPipeline, UNet2DModel

from penstock.base.errors import BadRequest
from penstock.engine.workloads import failures, noise, outputs, pipeline
from tests.engine.tiny import SDXL_SIDE


@contextmanager
def counted(points):
    """How often each stage's methods were called, wrapped on the instances as a run would."""
    calls = Counter()

    def wrap(point):
        original = getattr(point.owner, point.method)

        @wraps(original)  # a pipeline asks what its scheduler's methods take
        def wrapper(*args, **kwargs):
            calls[point.stage, point.method] += 1
            return original(*args, **kwargs)

        object.__setattr__(point.owner, point.method, wrapper)

    for point in points:
        wrap(point)
    try:
        yield calls
    finally:
        for point in points:
            object.__delattr__(point.owner, point.method)


def refused(said, hint, /, *args, **kwargs):
    with pytest.raises(BadRequest) as caught:
        pipeline.load(*args, **kwargs)
    assert said in caught.value.message, caught.value.message
    assert hint in (caught.value.hint or ""), caught.value.hint
    return caught.value


def test_it_is_loaded_as_a_user_would_and_runs(tiny_sdxl_dir):
    """The class that the directory names, on the CPU, with the pipeline's own number of steps unless told."""
    loaded = pipeline.load(tiny_sdxl_dir, steps=2, arguments={"height": SDXL_SIDE, "width": SDXL_SIDE})
    assert type(loaded.root).__name__ == "StableDiffusionXLPipeline"
    assert (loaded.kind, loaded.device, loaded.steps, loaded.batch) == ("pipeline", "cpu", 2, 1)
    (image,) = loaded.call()
    assert image.size == (SDXL_SIDE, SDXL_SIDE)
    assert set(loaded.modules()) == {"vae", "unet", "text_encoder", "text_encoder_2"}
    exact = loaded.numbers()
    assert exact.shape == (1, 3, SDXL_SIDE, SDXL_SIDE)
    assert outputs.max_error(exact, loaded.numbers()) == 0.0
    assert outputs.max_error(exact[0].permute(1, 2, 0), image) <= 0.5 / 255 + 1e-6
    assert pipeline.load(tiny_sdxl_dir).steps == 50


def test_its_stages_are_what_is_called(tiny_sdxl_dir):
    """Every stage point is hit as often as the pipeline's own loop says; the denoiser once a step, guidance batched."""
    loaded = pipeline.load(tiny_sdxl_dir, steps=3)
    with counted(loaded.stages()) as calls:
        loaded.call()
    assert calls == {
        ("encode_prompt", "encode_prompt"): 1,
        ("prepare_latents", "prepare_latents"): 1,
        ("unet", "forward"): 3,
        ("scheduler", "set_timesteps"): 1,
        ("scheduler", "step"): 3,
        ("vae", "decode"): 1,
        ("postprocess", "postprocess"): 1,
    }


def test_batches_make_as_many_images(tiny_sdxl_dir):
    """Of the same prompt; the workload itself stays as it was."""
    loaded = pipeline.load(tiny_sdxl_dir, steps=1)
    assert len(loaded.with_batch(3)()) == 3
    assert len(loaded.call()) == 1
    assert len(pipeline.load(tiny_sdxl_dir, steps=1, batch=2).call()) == 2


def test_a_dtype_is_a_dtype(tiny_sdxl_dir):
    """bf16 weights, everywhere; an unknown one is told."""
    loaded = pipeline.load(tiny_sdxl_dir, dtype="bf16", steps=1)
    assert {p.dtype for part in loaded.modules().values() for p in part.parameters()} == {torch.bfloat16}
    refused("'gpu' is no device", "cuda:1", tiny_sdxl_dir, device="gpu")
    refused("'int3' is no dtype", "fp32, bf16, fp16", tiny_sdxl_dir, dtype="int3")


def test_pipelines_without_text_run_as_well(tmp_path):
    """Unconditional: a batch size and no prompt. Class-conditional: its required argument is stood in for."""
    unet = UNet2DModel(
        sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )  # fmt: skip
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler(num_train_timesteps=4)).save_pretrained(tmp_path / "ddpm")
    loaded = pipeline.load(tmp_path / "ddpm", steps=2)
    with counted(loaded.stages()) as calls:
        assert len(loaded.call()) == 1
    assert calls == {("unet", "forward"): 2, ("scheduler", "set_timesteps"): 1, ("scheduler", "step"): 2}
    assert len(loaded.with_batch(4)()) == 4
    assert "class_labels" in pipeline.arguments_of(DiTPipeline.__new__(DiTPipeline), 2, 1, {})


def test_wrong_arguments_are_told(tiny_sdxl_dir):
    """By the pipeline's name, with those it takes."""
    error = refused("takes no heigth", "height", tiny_sdxl_dir, arguments={"heigth": 64})
    assert error.param == "arguments"
    loaded = pipeline.load(tiny_sdxl_dir, steps=1, arguments={"height": 63})
    with pytest.raises(BadRequest, match="divisible by 8"):
        loaded.call()


def test_directories_that_are_no_pipeline_are_told(tmp_path, tiny_sdxl_dir, tiny_generator_dir):
    """What it is instead, and what to write."""
    refused("There is no", "Relative paths start in", tmp_path / "nowhere")
    (tmp_path / "file.safetensors").write_bytes(b"")
    refused("is a file", "from_single_file", tmp_path / "file.safetensors")
    refused("no model_index.json", "save_pretrained", tmp_path)
    refused("no model_index.json", "--generate", tiny_generator_dir)
    refused("no model_index.json", "UNet2DConditionModel's alone", tiny_sdxl_dir / "unet")
    refused("no model_index.json", str(tiny_sdxl_dir), tiny_sdxl_dir.parent)


@pytest.mark.parametrize(
    ("index", "said", "hint"),
    [
        ("{", "cannot be read as JSON", "Fetch"),
        ("[]", "no JSON object", "Fetch"),
        ("{}", "no _class_name", "save_pretrained"),
        ('{"_class_name": "TeapotPipeline"}', "has no TeapotPipeline", "A newer diffusers"),
        ('{"_class_name": ["own", "OwnPipeline"]}', "own.py", "my_module.py:build"),
    ],
)
def test_wrong_indexes_are_told(tmp_path, index, said, hint):
    """Before anything is loaded."""
    (tmp_path / "model_index.json").write_text(index)
    refused(said, hint, tmp_path)


def test_missing_parts_and_weights_are_told(tmp_path, tiny_sdxl_dir):
    """A part that was not fetched; weights that were left out; nothing is asked of the network."""
    folder = shutil.copytree(tiny_sdxl_dir, tmp_path / "copy")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    refused("cannot be loaded", "--gpu h100", folder)
    shutil.rmtree(folder / "unet")
    refused("cannot be loaded", "lacks unet/", folder)
    index = json.loads((folder / "model_index.json").read_text())
    assert "unet" in index


def test_a_missing_extra_is_told_with_its_pip_line(tiny_sdxl_dir, monkeypatch):
    """And a torchvision of another build by its name."""

    def absent(name, *args, **kwargs):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(failures, "import_module", absent)
    refused("diffusers, which is not installed", "pip install 'penstock[diffusion]'", tiny_sdxl_dir)

    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(failures, "import_module", broken)
    refused("cannot be imported", "pip uninstall torchvision", tiny_sdxl_dir)


class Breaking(types.ModuleType):
    """A package whose parts are imported as they are named, beside a torchvision of another build."""

    __version__ = "0"

    def __getattr__(self, name):
        raise RuntimeError(f"Failed to import {name} because of: operator torchvision::nms does not exist")


def test_a_broken_torchvision_is_told_where_it_shows(tiny_sdxl_dir, monkeypatch):
    """diffusers and transformers import their parts late: the package itself is there."""
    monkeypatch.setattr(failures, "import_module", lambda name: Breaking(name))
    refused("cannot be imported", "pip uninstall torchvision", tiny_sdxl_dir)


def test_what_libraries_log_at_import_is_not_shown(caplog):
    """And what they log later is."""
    log = logging.getLogger("somebody")
    with noise.hushed():
        log.warning("an optional part is missing")
        log.error("broken")
    log.warning("weights are missing")
    assert [record.message for record in caplog.records] == ["broken", "weights are missing"]
