"""The tiny models are real ones: they load as users' models load, run, and are the same twice."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.engine.tiny import SDXL_SIDE, WORDS, run_sdxl


def test_the_tiny_pipeline_is_a_real_one(tiny_sdxl, tiny_sdxl_dir):
    """Seven parts from the disk; an image of the asked size, equal twice for equal noise."""
    assert type(tiny_sdxl).__name__ == "StableDiffusionXLPipeline"
    assert (tiny_sdxl_dir / "unet/diffusion_pytorch_model.safetensors").exists()
    first, second = run_sdxl(tiny_sdxl), run_sdxl(tiny_sdxl)
    assert first.shape == (1, 3, SDXL_SIDE, SDXL_SIDE)
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)


def test_each_test_has_its_own_pipeline(tiny_sdxl, loaded_sdxl):
    """What a test does to its weights, scheduler and methods stays with it."""
    assert tiny_sdxl.unet is not loaded_sdxl.unet
    assert tiny_sdxl.scheduler is not loaded_sdxl.scheduler
    assert next(tiny_sdxl.unet.parameters()).data_ptr() != next(loaded_sdxl.unet.parameters()).data_ptr()
    assert tiny_sdxl.vae.decode.__self__ is tiny_sdxl.vae


def test_the_tiny_generator_is_a_real_one(tiny_generator_dir):
    """Loaded by the Auto classes, it makes the number of tokens it is asked for."""
    model = AutoModelForCausalLM.from_pretrained(tiny_generator_dir, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tiny_generator_dir, local_files_only=True)
    asked = tokenizer([" ".join(WORDS[:3])], return_tensors="pt")
    made = model.generate(**asked, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert made.shape == (1, 3 + 5)
