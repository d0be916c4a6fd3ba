"""Real models that are tiny: a whole Stable Diffusion XL and a text generator, random weights, saved as users save theirs.

Nothing is downloaded. The seeds are fixed, so that a figure counted on one machine is the figure on another.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

torch.set_num_threads(1)  # two cores, and sums that are the same twice

WORDS = ("a", "red", "lamp", "on", "the", "desk", "cat", "and", "dog", "in", "rain")
"""What the tiny text generator's tokenizer knows."""
SDXL_STEPS, SDXL_SIDE = 4, 64
"""What the tests ask of the tiny pipeline: steps, and the image's height and width in pixels."""


def clip_tokenizer() -> CLIPTokenizer:
    """Byte-level, letter by letter, so that any prompt can be encoded without a vocabulary file."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "ab"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[("a", "b")],  # an empty list of merges is taken for a missing file
        model_max_length=77,
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )


def _text_config(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def clip(*, projected: bool = False) -> Any:
    """A CLIP text encoder of two layers and width 32."""
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(_text_config(32)).eval()


def sdxl() -> StableDiffusionXLPipeline:
    """A real pipeline with random weights: UNet with cross-attention, KL autoencoder, two CLIP encoders, DPM++ 2M Karras."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SDXL_SIDE // 8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 32,
        cross_attention_dim=64,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SDXL_SIDE,
    )
    return StableDiffusionXLPipeline(
        vae=vae.eval(),
        text_encoder=clip(),
        text_encoder_2=clip(projected=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet.eval(),
        scheduler=DPMSolverMultistepScheduler(use_karras_sigmas=True),
        add_watermarker=False,
    )


def save_sdxl(folder: Path) -> Path:
    """The pipeline above as ``save_pretrained`` writes it; the folder."""
    sdxl().save_pretrained(folder)
    return folder


def run_sdxl(
    pipe: Any, *, steps: int = SDXL_STEPS, batch: int = 1, side: int = SDXL_SIDE, **more: Any
) -> Any:
    """One call as a user would write it, with fixed noise; the images as a tensor, batch x 3 x side x side."""
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        ["a red lamp"] * batch,
        num_inference_steps=steps,
        height=side,
        width=side,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
        **more,
    ).images


def generator() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A two-layer Llama with random weights, and a tokenizer of whole words."""
    torch.manual_seed(0)
    special = ("<pad>", "<s>", "</s>", "<unk>")
    vocab = {word: index for index, word in enumerate((*special, *WORDS))}
    plain = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


def save_generator(folder: Path) -> Path:
    """The generator above as ``save_pretrained`` writes it, model and tokenizer; the folder."""
    model, tokenizer = generator()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
