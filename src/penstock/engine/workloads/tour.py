"""The guided tour, three steps from one ``nn.Linear`` to a fused MLP: each eager, compiled and with a library's or our own kernel.

What should be seen is written here, before anything is run (``Sight``), and held against what was seen (``differences``): the
habit that the tour teaches. Nothing is measured here.
"""

import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import prod
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor, nn

from penstock.base.errors import BadRequest
from penstock.engine.kernels import geglu, table
from penstock.engine.measure import kernel_names
from penstock.engine.measure.records import KernelRow
from penstock.engine.workloads import saved
from penstock.engine.workloads.module import rebatched
from penstock.engine.workloads.workload import StagePoint

STEPS = ("linear", "mlp", "geglu")
SIDES = ("eager", "compile", "kernels")
SHAPE_CPU, SHAPE_GPU = (4, 64, 768), (64, 128, 768)
"""Batch, sequence, width. On a GPU as in the public series; on a CPU a 32nd of its rows, so that a call takes milliseconds."""
WIDER = 4
"""Hidden width ÷ width, where the shape does not name the former."""


class Sight(Struct, frozen=True, kw_only=True):
    """Kernels that should be seen: so many, of a kind, with these ops in them."""

    count: int
    words: str
    kind: str = ""
    """``gemm`` or ``pointwise``, as ``kernel_names`` decodes a name; empty: any."""
    ops: tuple[str, ...] = ()
    """All of them in the kernel's name or meaning."""

    def __str__(self) -> str:
        return f"{self.count} x {self.words}"

    def shows(self, row: KernelRow) -> bool:
        """Whether a kernel is one of these."""
        decoded = kernel_names.decode(row.name)
        if (
            self.kind
            and decoded.kind != self.kind
            and not (self.kind == "pointwise" and decoded.kind == "other")
        ):
            return False
        text = f"{row.name} {decoded.means}".lower()
        return all(op in text for op in self.ops)


class TourSide(Struct, frozen=True, kw_only=True):
    """One way to run a step."""

    name: str
    """``eager``, ``compile`` or ``kernels``."""
    call: Callable[[], Any]
    sights: tuple[Sight, ...]
    """What should be seen."""
    prepared: bool = False
    """Its first call compiles."""
    compiled: tuple[str, ...] = ()
    """What it compiles."""
    refused: str = ""
    """Why it is not run; empty where it is."""
    reason: str = ""
    """Why this kernel, where there is a choice."""


class Mlp(nn.Module):
    """Linear, GELU, Linear, with biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.act = nn.GELU(approximate="tanh")
        self.down = nn.Linear(hidden, width)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Batch x sequence x width, in and out."""
        return self.down(self.act(self.up(x_BSD)))


class GeGlu(nn.Module):
    """``down(gelu(gate(x)) * up(x))``, without biases, as language models have it."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Batch x sequence x width, in and out."""
        return self.down(geglu.gelu_mul_reference(self.gate(x_BSD), self.up(x_BSD)))


class TourWorkload:
    """One step of the tour, loaded: the module, its input, and its sides."""

    kind = "tour"
    steps = 1

    def __init__(self, step: str, root: nn.Module, x_BSD: Tensor, hidden: int) -> None:
        self.name = step
        self.root = root
        self.x_BSD = x_BSD
        self.hidden = hidden
        self.device = str(x_BSD.device)
        self.batch = int(x_BSD.shape[0])

    def call(self) -> Tensor:
        """The step, eagerly; batch x sequence x (hidden width for ``linear``, else width)."""
        return self._run(self.root, self.x_BSD)

    def _run(self, run: Callable[[Tensor], Tensor], x_BSD: Tensor) -> Tensor:
        with torch.no_grad():
            return run(x_BSD)

    def stages(self) -> tuple[StagePoint, ...]:
        """None: the module's children are its parts."""
        return ()

    def modules(self) -> dict[str, Any]:
        """The module, as ``model``."""
        return {"model": self.root}

    def with_batch(self, batch: int) -> Callable[[], Any] | None:
        """The step on so many sequences."""
        x_BSD = rebatched(self.x_BSD, self.batch, batch)
        return lambda: self._run(self.root, x_BSD)

    def rows(self) -> int:
        """Batch x sequence: rows of every product."""
        return prod(self.x_BSD.shape[:-1])

    def sides(self, names: Sequence[str] = SIDES) -> tuple[TourSide, ...]:
        """Eager, compiled, and the kernel that the table picks; each with what should be seen, or why it is not run."""
        makers = {"eager": self._eager, "compile": self._compiled, "kernels": self._kernels}
        return tuple(makers[name]() for name in names)

    def _eager(self) -> TourSide:
        return TourSide(name="eager", call=self.call, sights=EAGER[self.name])

    def _compiled(self) -> TourSide:
        refused = compile_refusal(self.x_BSD.device)
        # on a CPU Inductor's own kernels are recorded only when asked for (config.cpp); it costs nothing without a profiler
        options = {"cpp.enable_kernel_profile": True} if self.x_BSD.device.type == "cpu" else None
        torch_: Any = torch
        compiled: Any = self.call if refused else torch_.compile(self.root, options=options)
        return TourSide(
            name="compile",
            call=lambda: self._run(compiled, self.x_BSD),
            sights=() if refused else COMPILED[self.name],
            prepared=True,
            compiled=(f"the whole step ({type(self.root).__name__})",),
            refused=refused,
        )

    def _kernels(self) -> TourSide:
        run, refused, reason = self._kernel()
        return TourSide(
            name="kernels",
            call=lambda: self._run(run, self.x_BSD),
            sights=() if refused else self._kernel_sights(reason),
            refused=refused,
            reason=reason,
        )

    def _kernel(self) -> tuple[Callable[[Tensor], Tensor], str, str]:
        """What runs, or why nothing does, and why this."""
        device, dtype, root = self.x_BSD.device, self.x_BSD.dtype, self.root
        if (
            isinstance(root, GeGlu) and device.type == "cpu"
        ):  # shown wherever it runs, chosen by the table or not
            weights = (root.gate.weight, root.up.weight, root.down.weight)
            choice = table.pick("geglu", device=device, dtype=dtype)
            said = (
                choice.reason
                if choice.name == "onednn"
                else f"to be seen; {geglu.onednn_loss(device, dtype)}"
            )
            return (
                (lambda x: geglu.with_onednn(x, *weights)),
                geglu.onednn_refusal(device, dtype),
                f"onednn: {said}",
            )
        if isinstance(root, GeGlu):
            choice = table.pick("geglu", device=device, dtype=dtype)
            weights = (root.gate.weight, root.up.weight, root.down.weight)
            refused = (
                "" if choice.route != "eager" else "; ".join(f"{name}: {why}" for name, why in choice.refused)
            )
            return (lambda x: choice.run(x, *weights)), refused, f"{choice.name}: {choice.reason}"
        if device.type == "cpu":
            refused = geglu.onednn_refusal(device, dtype)
            return (
                _onednn(root),
                refused,
                "onednn: what follows the product is computed as its result is written",
            )
        if isinstance(root, Mlp):
            return _cublaslt(root), "", "cublaslt: GELU in the product's epilogue (aten::_addmm_activation)"
        return root, "one linear is one kernel, its bias in it: nothing is left for another", ""

    def _kernel_sights(self, reason: str) -> tuple[Sight, ...]:
        return TRITON[self.name] if reason.startswith("triton") else LIBRARY[self.name]


def _onednn(root: nn.Module) -> Callable[[Tensor], Tensor]:
    """A linear, or an MLP, by oneDNN's products."""
    fused: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - what Inductor itself calls on a CPU

    def plain(x: Tensor, part: nn.Linear) -> Tensor:
        return fused(x, part.weight, part.bias, "none", [], "")

    if isinstance(root, Mlp):
        return lambda x: plain(fused(x, root.up.weight, root.up.bias, "gelu", [], "tanh"), root.down)
    linear: Any = root
    return lambda x: plain(x, linear)


def _cublaslt(root: Mlp) -> Callable[[Tensor], Tensor]:
    """An MLP with GELU in the first product's epilogue."""
    aten: Any = torch.ops.aten

    def run(x_BSD: Tensor) -> Tensor:
        flat_RD = x_BSD.reshape(-1, x_BSD.shape[-1])
        act_RF = aten._addmm_activation(  # noqa: SLF001 - an op of PyTorch's own, public as torch._addmm_activation
            root.up.bias, flat_RD, root.up.weight.t(), use_gelu=True
        )
        return root.down(act_RF).reshape(x_BSD.shape)

    return run


def _gemms(count: int, words: str) -> Sight:
    return Sight(count=count, words=words, kind="gemm")


_GELU = Sight(count=1, words="gelu, a kernel of its own", kind="pointwise", ops=("gelu",))
_MUL = Sight(count=1, words="multiply, a kernel of its own", kind="pointwise", ops=("mul",))
_FUSED = Sight(count=1, words="gelu and multiply fused", kind="pointwise", ops=("gelu", "mul"))
_ONE = _gemms(1, "product with the bias in its epilogue")
EAGER: dict[str, tuple[Sight, ...]] = {
    "linear": (_ONE,),
    "mlp": (_gemms(2, "product with the bias in its epilogue"), _GELU),
    "geglu": (_gemms(3, "product"), _GELU, _MUL),
}
COMPILED: dict[str, tuple[Sight, ...]] = {
    "linear": (_gemms(1, "the same product: there is nothing to fuse in one linear"),),
    "mlp": (_gemms(2, "the same products"), Sight(count=1, words="gelu, alone: no neighbour to fuse", kind="pointwise", ops=("gelu",))),
    "geglu": (_gemms(3, "the same products"), _FUSED),
}  # fmt: skip
LIBRARY: dict[str, tuple[Sight, ...]] = {
    "linear": (_gemms(1, "product with the bias in its epilogue, by oneDNN"),),
    "mlp": (_gemms(2, "product, gelu in the first one's epilogue"),),
    "geglu": (_gemms(3, "product: gelu ends the first, multiply the second"),),
}
TRITON: dict[str, tuple[Sight, ...]] = {"geglu": (_gemms(3, "product"), _FUSED)}


def differences(sights: Sequence[Sight], rows: Sequence[KernelRow]) -> tuple[str, ...]:
    """What was seen and not expected, and the reverse, a sentence each; empty where all is as expected.

    Each kernel counts to the sight that says most about it.
    """
    seen = dict.fromkeys(range(len(sights)), 0)
    said: list[str] = []
    order = sorted(seen, key=lambda index: (sights[index].kind != "gemm", -len(sights[index].ops)))
    for row in rows:
        match = next((index for index in order if sights[index].shows(row)), None)
        if match is None:
            said.append(f"not expected: {row.count} x {row.name}")
        else:
            seen[match] += row.count
    for index, sight in enumerate(sights):
        if seen[index] != sight.count:
            said.append(f"expected {sight.count}, seen {seen[index]}: {sight.words}")
    return tuple(said)


def compile_refusal(device: torch.device) -> str:
    """Why ``torch.compile`` cannot work there; empty where it can."""
    if device.type == "cpu":
        found = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
        return "" if found else "Inductor compiles C++ on a CPU, and there is no g++ or clang++ here"
    return "" if find_spec("triton") else "Inductor writes Triton for a GPU, and triton is not installed"


def load(
    step: str, *, shape: tuple[int, ...] = (), dtype: str = "", device: str = "", seed: int = 0
) -> TourWorkload:
    """One step, with random weights and input. ``shape``: batch, sequence, width and (else 4 x width) hidden width.

    ``dtype``: fp32, bf16, fp16; by default fp32 on a CPU and bf16 on a GPU. BadRequest for what is none of these.
    """
    if step not in STEPS:
        raise BadRequest(
            f"The tour has no step {step!r}.", param="target", hint=f"Its steps: {', '.join(STEPS)}."
        )
    where = saved.device_of(device)
    sizes = shape or (SHAPE_CPU if where.type == "cpu" else SHAPE_GPU)
    if len(sizes) not in (3, 4) or min(sizes) < 1:
        raise BadRequest(
            f"The tour's shape is batch, sequence, width and, if you like, hidden width; not {sizes}.",
            param="shape",
            hint="Write three or four numbers above 0: --shape 64,128,768.",
        )
    kind = saved.dtype_of(dtype or ("fp32" if where.type == "cpu" else "bf16"))
    width = sizes[2]
    hidden = sizes[3] if len(sizes) == 4 else WIDER * width
    root, x_BSD = _random(step, sizes[:3], hidden, where, seed)
    return TourWorkload(step, root.to(kind).eval(), x_BSD.to(kind), hidden)


def _random(
    step: str, sizes: tuple[int, ...], hidden: int, device: torch.device, seed: int
) -> tuple[nn.Module, Tensor]:
    width = sizes[2]
    torch_: Any = torch
    with torch_.random.fork_rng(devices=[]), device:
        torch_.manual_seed(seed)
        made = {
            "linear": lambda: nn.Linear(width, hidden),
            "mlp": lambda: Mlp(width, hidden),
            "geglu": lambda: GeGlu(width, hidden),
        }[step]()
        return made, torch.randn(sizes)


def words(loaded: TourWorkload) -> tuple[str, ...]:
    """What the step shows, a sentence each, with the bytes that it is about."""
    rows, hidden, size = loaded.rows(), loaded.hidden, loaded.x_BSD.itemsize
    one = rows * hidden * size
    if loaded.name == "linear":
        return (
            "One linear is one kernel: the bias is added in the product's epilogue, before the result is written, so it costs no pass.",
            "aten::t only says that the weight is read the other way round: it runs no kernel, and takes the host a microsecond or two.",
            "Compiled, the same kernel runs: there is nothing to fuse. The dispatch of aten::t goes, a check of the inputs comes.",
        )
    if loaded.name == "mlp":
        return (
            f"GELU reads and writes what the first product has made: {_mb(2 * one)} that travel for one operation an element.",
            "Compiled, GELU is still a kernel: its neighbours are products, which come from a library as they are.",
            f"A library that ends its product with GELU has no such pass: the {_mb(2 * one)} stay where they are.",
        )
    eager, fused = (geglu.travelling_bytes(rows, hidden, size, route=route) for route in ("eager", "compile"))
    onednn = geglu.travelling_bytes(rows, hidden, size, route="onednn")
    return (
        f"Eager: five kernels. What stands between the products is written four times and read four times, {_mb(eager)}.",
        f"Compiled: four. GELU and multiply are one loop, GELU's result of {_mb(one)} never leaves the registers: {_mb(fused)} travel.",
        "A fused kernel called directly does the same without a compiler: nothing to wait for, and nothing to recompile.",
        f"On a CPU oneDNN ends the products themselves with them: three kernels, {_mb(onednn)}. Faster only if its products are, too.",
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
