"""Tiny pipelines of other families than SDXL's, random weights: what a loader for *any* pipeline has to get along with."""

from typing import Any

import diffusers as D
import torch
import transformers as T

from tests.engine import tiny


def _t5(kind: Any = T.T5EncoderModel, config: Any = T.T5Config) -> Any:
    return kind(config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)).eval()


def _words() -> Any:
    return tiny.generator()[1]


def small_vae() -> Any:
    """A KL autoencoder of two levels."""
    return D.AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
        shift_factor=0.1,
        scaling_factor=0.3,
    )


def img2img() -> Any:
    """Works on a picture, which its signature calls optional; steps are fewer than asked for."""
    unet = D.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        norm_num_groups=8,
        attention_head_dim=4,
    )
    return D.StableDiffusionImg2ImgPipeline(
        vae=small_vae(),
        text_encoder=tiny.clip(),
        tokenizer=tiny.clip_tokenizer(),
        unet=unet,
        scheduler=D.EulerDiscreteScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def flux() -> Any:
    """A transformer with rotary positions, guidance as an input, CLIP and T5; asks its scheduler what it takes."""
    transformer = D.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return D.FluxPipeline(
        scheduler=D.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=small_vae(),
        text_encoder=tiny.clip(),
        tokenizer=tiny.clip_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=_words(),
        transformer=transformer,
    )


def sd3() -> Any:
    """Without its third text encoder, which ``from_pretrained`` must be told."""
    transformer = D.SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=96,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=4,
    )
    return D.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=D.FlowMatchEulerDiscreteScheduler(),
        vae=small_vae(),
        text_encoder=tiny.clip(projected=True),
        tokenizer=tiny.clip_tokenizer(),
        text_encoder_2=tiny.clip(projected=True),
        tokenizer_2=tiny.clip_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def pixart() -> Any:
    """T5 with an attention mask that its code looks into."""
    transformer = D.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
    )
    return D.PixArtSigmaPipeline(
        transformer=transformer,
        vae=small_vae(),
        scheduler=D.DPMSolverMultistepScheduler(),
        text_encoder=_t5(),
        tokenizer=_words(),
    )


def wan() -> Any:
    """Video: a 3-d autoencoder, and guidance as a second call of the transformer."""
    transformer = D.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=256,
        ffn_dim=32,
        num_layers=1,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    return D.WanPipeline(
        transformer=transformer,
        vae=D.AutoencoderKLWan(
            base_dim=3,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        scheduler=D.FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=_t5(T.UMT5EncoderModel, T.UMT5Config),
        tokenizer=_words(),
    )


def ddpm() -> Any:
    """Unconditional: no prompt, no autoencoder."""
    unet = D.UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    return D.DDPMPipeline(unet=unet, scheduler=D.DDPMScheduler())


def dit() -> Any:
    """Class-conditional: a required argument that is no prompt."""
    transformer = D.DiTTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=1000,
        norm_elementwise_affine=False,
    )
    return D.DiTPipeline(transformer=transformer, vae=small_vae(), scheduler=D.DDIMScheduler())


SMALL: dict[Any, dict[str, Any]] = {
    img2img: {},
    flux: {"height": 16, "width": 16, "max_sequence_length": 16},
    sd3: {"height": 32, "width": 32},
    pixart: {"height": 32, "width": 32, "use_resolution_binning": False, "max_sequence_length": 16, "clean_caption": False},
    wan: {"height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 16},
    ddpm: {},
    dit: {},
}  # fmt: skip
"""Builder -> the arguments that keep a call of it small."""


def saved(build: Any, folder: Any) -> Any:
    """The pipeline as ``save_pretrained`` writes it; the folder."""
    torch.manual_seed(0)
    build().save_pretrained(folder)
    return folder
