"""Faults of a pipeline's parts: precision, layout, tiling, guidance, quantisation. Made in a real tiny pipeline or its real parts,
mended by the code that the finding suggests."""

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from hypothesis import given
from hypothesis import strategies as some
from msgspec import structs
from torch import Tensor, nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

from penstock.engine.lab.probes import guiding, parts, watching
from penstock.engine.lab.probes.parts import is_autoencoder
from penstock.engine.lab.probes.stopwatch import Stopwatch
from penstock.engine.measure import ports
from penstock.engine.measure.findings import guidance, layout, live, precision, quantised
from penstock.engine.measure.seen import Convs, GuidedPair, Output, Part, Quantised, Seen, Tiling
from penstock.engine.workloads.pipeline import PipelineWorkload
from tests.engine import families, faults
from tests.engine.clocks import Scripted
from tests.engine.faults import CARD, code, found, look, mend, module, on_gpu, pipeline


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Dynamo begins anew in each test."""
    faults.forget()
    yield
    faults.forget()


def overflowing(vae: Any) -> Any:
    """The same autoencoder, whose last activations are beyond float16 and well within bfloat16."""
    with torch.no_grad():
        vae.decoder.conv_in.weight.mul_(3000.0)
        vae.decoder.conv_in.bias.fill_(60000.0)
    return vae


def test_a_float32_vae_on_a_gpu_and_the_code_that_decodes_in_bfloat16(tiny_sdxl: Any):
    """The UNet stays as it is, so that the latents must be cast on the way in: the code does it."""
    workload = pipeline(tiny_sdxl, output_type="pt")
    reference = workload.call()
    seen = on_gpu(look(workload))
    (said,) = found(seen, "fp32-vae", peaks=CARD)
    assert said.where == "pipe.vae"
    assert said.saves_ms == pytest.approx(said.facts["vae_ms"] * 0.5)  # TF32's peak is half of bf16's
    assert found(look(workload), "fp32-vae") == []  # a CPU's choice is another one
    mend(said, pipe=tiny_sdxl)
    seen = on_gpu(look(workload))
    assert found(seen, "fp32-vae", peaks=CARD) == []
    (vae,) = [part for part in seen.parts if part.name == "vae"]
    assert vae.output is not None
    assert vae.output.dtype == "bfloat16"
    assert float((workload.call().float() - reference).abs().max()) < 0.1


@pytest.mark.filterwarnings("ignore:.upcast_vae. is deprecated:FutureWarning")
def test_a_float16_vae_that_its_configuration_upcasts_is_a_float32_vae(tiny_sdxl: Any):
    """What counts is the precision while it decodes, not at rest."""
    tiny_sdxl.vae.to(torch.float16)
    tiny_sdxl.vae.register_to_config(force_upcast=True)
    seen = on_gpu(look(pipeline(tiny_sdxl, output_type="pt")))
    (said,) = found(seen, "fp32-vae")
    assert "rest in float16, because its configuration says force_upcast" in said.evidence
    assert said.saves_ms is None
    assert "peaks in both precisions" in said.bound
    assert next(tiny_sdxl.vae.parameters()).dtype is torch.float16


def test_a_float16_vae_that_overflows_and_is_finite_in_bfloat16(tiny_sdxl: Any):
    """Real weights beyond float16's range; upcasting switched off, as public recipes do."""
    vae = overflowing(tiny_sdxl.vae)
    vae.to(torch.float16).register_to_config(force_upcast=False)
    decode = vae.decode
    vae.decode = lambda z, *args, **kwargs: decode(z.half(), *args, **kwargs)  # as an fp16 pipeline would
    workload = pipeline(tiny_sdxl, output_type="pt")
    (said,) = found(look(workload), "fp16-unsafe-vae")
    assert said.facts["non_finite"] > 0
    assert "overflows in float16" in said.title
    del vae.decode
    mend(said, pipe=tiny_sdxl)
    seen = look(workload)
    assert found(seen, "fp16-unsafe-vae") == []
    (out,) = [part.output for part in seen.parts if part.output is not None]
    assert out.non_finite == 0


def test_a_float16_vae_with_headroom_is_safe(tiny_sdxl: Any):
    """Float16 is no fault by itself: how large the activations are decides."""
    vae = tiny_sdxl.vae.to(torch.float16)
    workload = module(vae, torch.randn(1, 4, 8, 8).half())
    workload.root = Decoding(vae)
    seen = look(Decodes(workload))
    (out,) = [part.output for part in seen.parts]
    assert out is not None
    assert (out.dtype, out.non_finite) == ("float16", 0)
    assert out.largest is not None
    assert 0 < out.largest < precision.FP16_MOST / precision.HEADROOM
    assert found(seen, "fp16-unsafe-vae") == []
    close = structs.replace(out, largest=40000.0)
    (said,) = found(
        structs.replace(seen, parts=(structs.replace(seen.parts[0], output=close),)), "fp16-unsafe-vae"
    )
    assert "close to overflowing" in said.title
    assert vars(vae.decoder.conv_in).keys() == vars(nn.Conv2d(1, 1, 1)).keys()  # looked inside, and left


class Decoding(nn.Module):
    """Calls ``decode`` of an autoencoder."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, z: Tensor) -> Tensor:
        return self.vae.decode(z).sample


class Decodes:
    """The workload whose part is the autoencoder itself."""

    kind, steps, batch, device, name = "module", 1, 1, "cpu", "decodes"

    def __init__(self, inner: Any) -> None:
        self.inner, self.root = inner, inner.root

    def call(self) -> Any:
        return self.inner.call()

    def stages(self) -> tuple[Any, ...]:
        return ()

    def modules(self) -> dict[str, Any]:
        return {"vae": self.root.vae}

    def with_batch(self, batch: int) -> None:
        return None


def test_latents_that_were_spoilt_before_are_not_the_vaes_fault():
    """What comes in must be finite before what goes out is judged; a black image alone is enough."""
    out = Output(elements=4, non_finite=4, input_non_finite=2, dtype="float16")
    part = Part(name="vae", path="pipe.vae", autoencoder=True, output=out)
    assert precision.find(Seen(parts=(part,))) == []
    black = structs.replace(out, non_finite=0, input_non_finite=0, black_image=True)
    (said,) = precision.find(Seen(parts=(structs.replace(part, output=black),)))
    assert "one value throughout" in said.evidence


def test_a_black_image_is_seen_in_the_runs_own_output(tiny_sdxl: Any):
    """NaN becomes black where the image is made of integers."""
    vae = overflowing(tiny_sdxl.vae)
    vae.to(torch.float16).register_to_config(force_upcast=False)
    decode = vae.decode
    vae.decode = lambda z, *args, **kwargs: decode(z.half() * torch.nan, *args, **kwargs)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        seen = look(pipeline(tiny_sdxl))
    (out,) = [part.output for part in seen.parts if part.output is not None]
    assert out.black_image


def test_float16_convolutions_on_a_cpu(tiny_sdxl: Any):
    """220 times slower than bfloat16, measured."""
    vae = tiny_sdxl.vae.to(torch.float16)
    workload = Decodes(module(Decoding(vae), torch.randn(1, 4, 8, 8).half()))
    (said,) = found(look(workload), "fp16-on-cpu")
    assert said.where == "model.vae"
    mend(said, model=workload.root)
    assert found(look(workload), "fp16-on-cpu") == []


def test_convolutions_that_are_not_channels_last(tiny_sdxl: Any):
    """VAE and UNet are; text encoders have none. With the suggested code, no more."""
    workload = pipeline(tiny_sdxl, output_type="pt")
    said = found(look(workload), "missing-channels-last")
    assert {one.where for one in said} == {"pipe.vae", "pipe.unet"}
    for one in said:
        mend(one, pipe=tiny_sdxl)
    seen = look(workload)
    assert found(seen, "missing-channels-last") == []
    assert all(part.convs.contiguous == 0 for part in seen.parts)


class Laid(nn.Module):
    """Two convolutions; moves the clock by what their layout costs."""

    def __init__(self, clock: Scripted, *, first_s: float, last_s: float) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3))
        self.clock, self.first_s, self.last_s = clock, first_s, last_s

    def forward(self, x: Tensor) -> Tensor:
        laid = all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in self.convs)
        self.clock.now_s += self.last_s if laid else self.first_s
        return self.convs(x)


@pytest.mark.parametrize(("last_s", "saves_ms"), [(30e-3, 10.0), (40e-3, None), (50e-3, None)])
def test_both_layouts_are_timed_on_request_and_what_gains_nothing_is_no_fault(
    last_s: float, saves_ms: float | None
):
    """Weights are the same storages as before, whatever was found."""
    clock = Scripted()
    root = Laid(clock, first_s=40e-3, last_s=last_s)
    workload = module(root, torch.randn(1, 4, 8, 8))
    before = [(weight.data_ptr(), weight.stride()) for weight in root.parameters()]
    (said,) = found(look(workload, clock=clock), "missing-channels-last")
    assert said.saves_ms is None
    assert "not known before it is timed both ways" in said.evidence
    told = found(look(workload, deep=True, clock=clock), "missing-channels-last")
    assert [(weight.data_ptr(), weight.stride()) for weight in root.parameters()] == before
    assert [one.saves_ms for one in told] == ([] if saves_ms is None else [pytest.approx(saves_ms)])
    if told:
        assert "40 ms as it is, 30 ms channels-last" in told[0].evidence


def test_the_layout_of_an_autoencoder_is_timed_where_it_decodes(tiny_sdxl: Any):
    """Its ``forward`` is never called."""
    vae = tiny_sdxl.vae
    decoding = Decodes(module(Decoding(vae), torch.randn(1, 4, 8, 8)))
    before = parts.channels_first(vae, [])
    seen = look(decoding, deep=True)
    tried = seen.parts[0].channels_last
    assert tried is not None
    assert tried.times == 1
    assert len(before) == seen.parts[0].convs.contiguous == len(parts.channels_first(vae, []))


def test_layout_of_what_is_no_fault():
    """One convolution in a transformer, pointwise convolutions and depthwise ones have nothing to gain."""
    patches = nn.Sequential(nn.Conv2d(3, 64, 4, 4), nn.Flatten(2), nn.Linear(64, 4096))
    assert found(look(module(patches, torch.randn(1, 3, 32, 32))), "missing-channels-last") == []
    one_by_one = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1))
    assert found(look(module(one_by_one, torch.randn(1, 8, 8, 8))), "missing-channels-last") == []
    video = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1))
    workload = module(video, torch.randn(1, 4, 4, 4, 4))
    (said,) = found(look(workload), "missing-channels-last")
    assert code(said) == "model.to(memory_format=torch.channels_last_3d)"
    mend(said, model=video)
    assert found(look(workload), "missing-channels-last") == []


@pytest.mark.parametrize("batch", [1, 2])
def test_tiling_and_slicing_without_need(tiny_sdxl: Any, batch: int):
    """128 pixels in tiles of 64 on a card that has room: one tile a decode with the fix's code."""
    tiny_sdxl.vae.enable_tiling()
    if batch > 1:
        tiny_sdxl.vae.enable_slicing()
    workload = pipeline(tiny_sdxl, side=128, batch=batch, output_type="pt")
    (said,) = found(look(workload), "tiling-without-need", peaks=CARD)
    assert said.facts["tiles"] == 9 * batch
    assert said.facts["whole_bytes"] > batch * 4 * 128 * 128 * 32  # two activations of 16 channels at least
    (vae,) = [part for part in look(workload).parts if part.name == "vae"]
    assert said.saves_ms is not None
    assert said.saves_ms > 0
    assert "its largest tile" in said.bound
    assert vae.tiling is not None
    known = structs.replace(vae, wall_ms=90.0)
    (bounded,) = found(Seen(parts=(known,)), "tiling-without-need", peaks=CARD)
    # one piece takes at least as long as its largest tile
    assert bounded.saves_ms == pytest.approx(90.0 * (1 - 1 / (9 * batch)))
    assert vars(tiny_sdxl.vae)["use_tiling"] is True
    small = structs.replace(CARD, memory_bytes=2**20)
    assert found(look(workload), "tiling-without-need", peaks=small) == []  # there it is needed
    mend(said, pipe=tiny_sdxl)
    assert found(look(workload), "tiling-without-need", peaks=CARD) == []


def test_tiling_that_cuts_nothing_costs_nothing_and_both_ways_are_timed_on_request(tiny_sdxl: Any):
    """At 64 pixels there is one tile. With ``deep`` the saving is measured, in one decode each way."""
    tiny_sdxl.vae.enable_tiling()
    assert found(look(pipeline(tiny_sdxl, output_type="pt")), "tiling-without-need", peaks=CARD) == []
    part = Part(
        name="vae",
        path="pipe.vae",
        autoencoder=True,
        tiling=Tiling(tiling=True, decodes=2, tiles=18, whole_bytes=1000, cut_ms=50.0, whole_ms=20.0),
    )
    (said,) = layout.find(Seen(parts=(part,)), CARD)
    assert said.saves_ms == 60.0


class Sequential:
    """A real UNet in a loop that is guided: by two calls a step, or as ``step`` is replaced."""

    kind, steps, batch, device, name = "pipeline", 3, 1, "cpu", "sequential"

    def __init__(self, unet: Any, *, extra: bool = False) -> None:
        torch.manual_seed(0)
        self.unet = unet
        self.root = self
        self.extra = extra
        self.latents = torch.randn(1, 4, 8, 8)
        self.conditions = torch.randn(1, 7, 64), torch.randn(1, 7, 64)
        self.times = [{"text_embeds": torch.randn(1, 32), "time_ids": torch.zeros(1, 6)} for _ in range(2)]
        self.step = self.twice

    def twice(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        first = self.unet(
            sample, timestep, encoder_hidden_states=self.conditions[0], added_cond_kwargs=self.times[0]
        ).sample
        second = self.unet(
            sample, timestep, encoder_hidden_states=self.conditions[1], added_cond_kwargs=self.times[1]
        ).sample
        return first, second

    def call(self) -> Tensor:
        x = self.latents
        with torch.no_grad():
            for t in range(self.steps):
                uncond, cond = self.step(x, torch.tensor(900.0 - 100 * t))
                x = x - 0.1 * (uncond + 5.0 * (cond - uncond))
        return x

    def stages(self) -> tuple[Any, ...]:
        return ()

    def modules(self) -> dict[str, Any]:
        return {"unet": self.unet}

    def with_batch(self, batch: int) -> None:
        return None


def test_guidance_by_two_calls_and_by_one_with_the_fixs_own_code(tiny_sdxl: Any):
    """The code, run in the loop, halves the calls and gives the same latents."""
    workload = Sequential(tiny_sdxl.unet)
    reference = workload.call()
    seen = look(workload)
    (said,) = found(seen, "sequential-guidance")
    assert (said.facts["calls"], said.facts["pairs"], said.facts["batch"]) == (6, 3, 1)
    (part,) = seen.parts
    assert part.wall_ms is not None
    assert said.saves_ms == pytest.approx(part.wall_ms / 2)
    names = {
        "pipe": workload,
        "encoder_hidden_states_first": workload.conditions[0],
        "encoder_hidden_states_second": workload.conditions[1],
        "added_cond_kwargs_first": workload.times[0],
        "added_cond_kwargs_second": workload.times[1],
    }

    def once(sample: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        done = mend(said, sample=sample, timestep=timestep, **names)
        return done["first"], done["second"]

    workload.step = once
    mended = look(workload)
    assert found(mended, "sequential-guidance") == []
    assert mended.parts[0].forward_calls == 3
    assert torch.allclose(workload.call(), reference, atol=1e-4)


def test_both_ways_of_guiding_are_timed_on_the_inputs_of_a_real_step(tiny_sdxl: Any):
    """What ``deep`` does: the figures are there, whatever they are, and the saving is their difference."""
    workload = Sequential(tiny_sdxl.unet)
    stopwatch = Stopwatch("cpu", ports.watch("cpu"))
    run = watching.Watch(workload, {"unet": []}, stopwatch)
    run.call()
    calls = run.parts["unet"]
    pair = calls.guided("unet", "pipe.unet")
    assert pair is not None
    twice_ms, once_ms = guiding.both_ways(tiny_sdxl.unet, pair, calls.pairs[-1], stopwatch)
    assert min(twice_ms, once_ms) > 0
    (said,) = guidance.find(
        Seen(steps=3, guided=(structs.replace(pair, twice_ms=twice_ms, once_ms=once_ms),))
    )
    assert said.saves_ms == pytest.approx(max(0.0, (twice_ms - once_ms) * 3))
    assert "measured" in said.evidence


def test_a_pipeline_that_batches_its_guidance_is_no_fault(tiny_sdxl: Any):
    """diffusers' SDXL: one call a step, batch 2."""
    seen = look(pipeline(tiny_sdxl, steps=3, output_type="pt"))
    assert seen.guided == ()
    (unet,) = [part for part in seen.parts if part.name == "unet"]
    assert unet.forward_calls == 3


def tiny_flux() -> FluxPipeline:
    """A real pipeline that guides by two calls a step (``true_cfg_scale``); embeddings are given, so that it needs no text encoders."""
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    ).eval()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=families.small_vae().eval(),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
    )


def test_a_real_pipeline_with_true_guidance_and_one_call_in_place_of_its_two():
    """Flux with ``true_cfg_scale``: two calls a step. The fix's code, on the inputs of a real step, gives both calls' outputs."""
    pipe = tiny_flux()
    names = ("prompt_embeds", "negative_prompt_embeds")
    pooled = {f"{name[:-13]}pooled_prompt_embeds": torch.randn(1, 32) for name in names}
    arguments = {name: torch.randn(1, 5, 32) for name in names} | pooled
    pipe.set_progress_bar_config(disable=True)
    given = {"num_inference_steps": 2, "height": 32, "width": 32, "output_type": "pt", **arguments}
    workload = PipelineWorkload("flux", pipe, given | {"true_cfg_scale": 4.0})
    run = watching.Watch(workload, {"vae": [], "transformer": []}, Stopwatch("cpu", ports.watch("cpu")))
    run.call()
    calls = run.parts["transformer"]
    pair = calls.guided("transformer", "pipe.transformer")
    assert pair is not None
    assert (pair.pairs, pair.calls, pair.ragged) == (2, 4, ())
    (said,) = guidance.find(Seen(steps=2, guided=(pair,)))
    first, second = calls.pairs[-1]
    held = {f"{name}_first": first[name] for name in pair.differing} | {
        f"{name}_second": second[name] for name in pair.differing
    }
    with torch.no_grad():
        apart = pipe.transformer(**first)[0], pipe.transformer(**second)[0]
        space = mend(said, pipe=pipe, **{**second, **held})
    assert torch.allclose(space["first"], apart[0], atol=1e-5)
    assert torch.allclose(space["second"], apart[1], atol=1e-5)
    assert not torch.allclose(apart[0], apart[1], atol=1e-5)
    plain = look(
        PipelineWorkload("flux", pipe, {k: v for k, v in given.items() if not k.startswith("negative")})
    )
    assert plain.guided == ()


class Noisy(nn.Module):
    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return x * c + t


class Repeats(Sequential):
    """Calls a denoiser twice a step with other latents, as a second-order scheduler does."""

    def twice(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        c = torch.ones(1, 4, 8, 8)
        return self.unet(sample, timestep, c), self.unet(sample + 1, timestep - 1, c)


def test_two_calls_with_other_latents_are_a_second_order_scheduler():
    assert look(Repeats(Noisy())).guided == ()


def test_prompts_of_other_lengths_are_padded_in_the_code():
    """Conditions that differ in shape cannot be concatenated."""
    pair = GuidedPair(
        part="transformer",
        path="pipe.transformer",
        pairs=1,
        calls=2,
        batch=1,
        same=("x",),
        ragged=("c",),
        gives_tensor=True,
    )
    space: dict[str, Any] = {
        "torch": torch,
        "x": torch.zeros(1, 2),
        "c_first": torch.ones(1, 3, 5),
        "c_second": torch.ones(1, 7, 5),
        "pipe": type("Pipe", (), {"transformer": staticmethod(lambda x, c: c.sum((1, 2)))}),
    }
    exec(guidance.code(pair), space)
    assert (float(space["first"]), float(space["second"])) == (15.0, 35.0)


def test_quantised_and_not_compiled_and_compiled_by_the_fix(tiny_sdxl: Any):
    """torchao's int8 in the real UNet: its repeated blocks can be compiled; a plain module is compiled as a whole."""
    quantize_(
        tiny_sdxl.unet,
        Int8DynamicActivationInt8WeightConfig(),
        filter_fn=lambda m, name: isinstance(m, nn.Linear) and "attn2.to_out" in name,
    )
    (said,) = found(look(pipeline(tiny_sdxl, output_type="pt")), "quantised-without-compile")
    assert code(said) == "pipe.unet.compile_repeated_blocks(fullgraph=True)"
    assert said.facts["quantised_weights"] == said.facts["uncompiled"] > 0
    assert "Int8Tensor" in said.evidence
    by_eager = partial(tiny_sdxl.unet.compile_repeated_blocks, backend="eager")
    mend(said, pipe=SimpleNamespace(unet=SimpleNamespace(compile_repeated_blocks=by_eager)))
    seen = look(pipeline(tiny_sdxl, output_type="pt"))
    assert found(seen, "quantised-without-compile") == []
    (unet,) = [part for part in seen.parts if part.name == "unet"]
    assert unet.quantised.weights == said.facts["quantised_weights"]
    assert all(
        place.forward_calls == 2 for place in unet.compiled
    )  # one call a step and block, each in a graph
    assert found(seen, "compiled-nothing") == []


def test_quantised_in_compiled_regions_is_no_fault():
    """As a whole, in place, or region by region: what counts is that each quantised weight is in one."""
    plain = nn.Sequential(nn.Sequential(nn.Linear(64, 64), nn.GELU()), nn.Linear(64, 64)).eval()
    quantize_(plain, Int8DynamicActivationInt8WeightConfig())
    workload = module(plain, torch.randn(32, 64))
    (said,) = found(look(workload), "quantised-without-compile")
    assert said.facts["uncompiled"] == 2
    assert code(said) == "model = torch.compile(model)"  # in place, PyTorch's own classes compile nothing
    plain[0].compile(backend="eager")
    (said,) = found(look(workload), "quantised-without-compile")
    assert (said.facts["uncompiled"], said.facts["quantised_weights"]) == (1, 2)
    plain[0]._compiled_call_impl = None
    space = mend(said, model=plain, torch=SimpleNamespace(compile=partial(torch.compile, backend="eager")))
    workload = module(space["model"], torch.randn(32, 64))
    seen = look(workload)
    assert seen.compilation is not None
    assert seen.compilation.graphs > 0
    assert found(seen, "quantised-without-compile") == []
    assert seen.parts[0].quantised.weights == 2


def test_quantised_weights_outside_the_repeated_blocks_need_the_whole_compiled():
    """Where the blocks are compiled already and something is left, compiling the blocks again would not help."""
    part = Part(
        name="unet", path="pipe.unet", repeated_blocks=True, quantised=Quantised(weights=9, uncompiled=2)
    )
    (said,) = quantised.find(Seen(parts=(part,)))
    assert code(said) == "pipe.unet.compile()"


def test_plain_weights_are_not_quantised():
    seen = look(module(nn.Linear(8, 8), torch.randn(2, 8)))
    assert seen.parts[0].quantised.weights == 0
    assert seen.parts[0].weight_bytes == 4 * (8 * 8 + 8)


@given(
    share=some.floats(0, 1),
    contiguous=some.integers(0, 9),
    used=some.booleans(),
)
def test_the_rule_on_layout_in_all_its_cases(share: float, contiguous: int, used: bool):
    part = Part(
        name="model",
        path="model",
        forward_calls=int(used),
        convs=Convs(count=9, contiguous=contiguous, parameter_share=share),
    )
    told = layout.find(Seen(parts=(part,)))
    assert bool(told) == (used and contiguous >= 2 and share >= 0.1)


@given(saves=some.lists(some.one_of(some.none(), some.floats(0, 100)), max_size=6))
def test_findings_are_ranked_by_what_they_save_and_then_by_gravity(saves: list[float | None]):
    from penstock.engine.measure.records import Finding  # noqa: PLC0415 - beside its use

    kinds = ["recompiles", "over-peak", "missing-channels-last", "broken-torchvision", "x", "memory-growth"]
    ranked = live.ranked(
        [Finding(id=kind, title="", evidence="", saves_ms=ms) for kind, ms in zip(kinds, saves, strict=False)]
    )
    known = [one.saves_ms for one in ranked if one.saves_ms is not None]
    assert known == sorted(known, reverse=True)
    assert all(one.saves_ms is None for one in ranked[len(known) :])
    rest = [live.GRAVITY.index(one.id) if one.id in live.GRAVITY else 99 for one in ranked[len(known) :]]
    assert rest == sorted(rest)


def test_an_autoencoder_is_known_by_its_methods():
    assert is_autoencoder(families.small_vae())
    seen = look(module(nn.Linear(2, 2), torch.randn(1, 2)))
    assert not seen.parts[0].autoencoder
