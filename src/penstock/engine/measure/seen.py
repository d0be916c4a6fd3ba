"""What the probes saw of a live workload: the evidence that the rules of ``findings`` decide on. Plain data; needs no torch.

None means "not looked at" or "not known", never 0. ``skipped`` says which probe did not run, and why.
"""

from msgspec import Struct, field

from penstock.engine.measure.records import Timing


class Tried(Struct, frozen=True, kw_only=True):
    """A fault against its cure, timed in turn; on request only."""

    before: Timing
    after: Timing
    times: int = 1
    """How often what was timed is done in one run."""

    @property
    def saves_ms(self) -> float | None:
        """Of one run; None where the quartiles overlap, or the cure is slower."""
        if self.before.low_ms <= self.after.high_ms:
            return None
        return (self.before.median_ms - self.after.median_ms) * self.times


class Spent(Struct, frozen=True, kw_only=True):
    """Where a part's time goes in one run: by the capture, and no longer than the run takes without the profiler."""

    wall_ms: float
    library_ms: float = 0.0
    """Of it in matmuls, convolutions and attention, which a compiler leaves to the libraries."""
    others_ms: float = 0.0
    """In all other kernels, as captured."""
    convs_ms: float = 0.0
    """In convolutions and in conversions of their layout."""

    @property
    def between_ms(self) -> float:
        """What a compiler can fuse, or need not launch: pointwise ops, norms, dispatch, Python. No less than what was seen of it: a
        capture that was disturbed in a library's kernel must not make it small.
        """
        return min(self.wall_ms, max(self.wall_ms - self.library_ms, self.others_ms))


class CompiledPlace(Struct, frozen=True, kw_only=True):
    """Something that ``torch.compile`` has wrapped: a module, or one method of it."""

    path: str
    """How the user's code reaches it: ``pipe.vae``, ``model.inner``, ``pipe.vae.decode``."""
    kind: str
    """``module`` (``torch.compile(m)``), ``in-place`` (``m.compile()``) or ``method`` (``m.decode = torch.compile(m.decode)``)."""
    class_name: str = ""
    """Of the module that was compiled, or whose method was."""
    forward_calls: int | None = None
    """Calls of what was compiled, in one run; None where it was not watched."""
    others: dict[str, int] = field(default_factory=dict)
    """Calls of its other methods that took or gave tensors, which are not compiled. Looked at only where ``forward_calls`` is 0."""
    stepped_over: bool = False
    """Compiled in place, and made of PyTorch's own classes throughout, whose code Dynamo steps over: 0 graphs however often called
    (seen with 2.13: ``nn.Sequential(nn.Linear(4, 4)).compile()``)."""
    function: str = ""
    """File and first line of the code that is compiled, ``unet.py:118``: where a recompilation is told by it."""
    tried: Tried | None = None
    """The run as it is, where nothing of this is compiled, and with what is called compiled."""


class Convs(Struct, frozen=True, kw_only=True):
    """A module's convolutions."""

    count: int = 0
    contiguous: int = 0
    """Of these, whose weight is laid out channels-first and could be channels-last (1x1 and depthwise weights are both at once), in
    no compiled region: there Inductor lays weights out itself."""
    parameter_share: float = 0.0
    """Their weights, of all the module's parameters."""
    dims: int = 2
    """2 or 3: ``channels_last`` or ``channels_last_3d``."""


class Quantised(Struct, frozen=True, kw_only=True):
    """A module's quantised weights."""

    weights: int = 0
    uncompiled: int = 0
    """Of these, in no compiled region."""
    type_name: str = ""
    """The tensor's class: ``Int8Tensor``."""


class Tiling(Struct, frozen=True, kw_only=True):
    """An autoencoder's tiling and slicing, and whether they were needed."""

    tiling: bool = False
    slicing: bool = False
    decodes: int | None = None
    """Calls of ``decode`` in one run."""
    tiles: int | None = None
    """Calls of the decoder inside them: more than ``decodes`` where it cut anything."""
    whole_bytes: int | None = None
    """Peak of live tensors that decoding in one piece would need, weights not counted; from a dry run on meta tensors."""
    cut_ms: float | None = None
    """One decode as it is set; measured on request only."""
    whole_ms: float | None = None
    """The same decode in one piece."""


class Output(Struct, frozen=True, kw_only=True):
    """What came out of an autoencoder's ``decode``, and what went into it."""

    elements: int
    non_finite: int
    low: float | None = None
    """Smallest finite value; None where none is finite."""
    high: float | None = None
    input_non_finite: int = 0
    dtype: str = ""
    """Of the weights while it ran: ``float16``."""
    largest: float | None = None
    """Of |activation| inside the decoder; looked at only where it runs in float16."""
    black_image: bool = False
    """The run's images are one value throughout, the smallest."""


class Part(Struct, frozen=True, kw_only=True):
    """One ``nn.Module`` of the workload (``unet``, ``vae``; ``model`` for a plain module)."""

    name: str
    path: str
    """How the user's code reaches it: ``pipe.unet``, ``model``."""
    class_name: str = ""
    autoencoder: bool = False
    """Has ``encode`` and ``decode``."""
    device: str = "cpu"
    dtype: str = ""
    """Of most of its floating weights: ``float32``."""
    force_upcast: bool | None = None
    """Of its configuration; None where it has none."""
    parameters: int = 0
    weight_bytes: int = 0
    convs: Convs = Convs()
    channels_last: Tried | None = None
    """One of its calls as its convolutions are laid out, and with them channels-last."""
    quantised: Quantised = Quantised()
    compiled: tuple[CompiledPlace, ...] = ()
    built_in: bool = False
    """Of a class of PyTorch's own (``Sequential``): compiling it in place compiles at best what is inside it."""
    repeated_blocks: bool = False
    """Names its repeated blocks, so that ``compile_repeated_blocks`` can be had."""
    forward_calls: int | None = None
    """In one run."""
    method_calls: dict[str, int] = field(default_factory=dict)
    """Of its other methods that are stages, in one run: ``{"decode": 1}``."""
    wall_ms: float | None = None
    """In the probing run, all its calls; the device was waited for before and after each."""
    output: Output | None = None
    tiling: Tiling | None = None


class GuidedPair(Struct, frozen=True, kw_only=True):
    """A denoiser that is called twice with the same latents and another condition."""

    part: str
    path: str
    pairs: int
    """Such pairs in one run."""
    calls: int
    """Calls in one run."""
    batch: int
    """Of each call: the first dimension of its first tensor."""
    same: tuple[str, ...] = ()
    """Arguments with a batch dimension that had the same values in both calls."""
    differing: tuple[str, ...] = ()
    """Arguments that were not: the conditions."""
    dicts: tuple[str, ...] = ()
    """Arguments that are dicts of tensors, and were not the same."""
    ragged: tuple[str, ...] = ()
    """Conditions whose shapes differ, as prompts of other lengths do."""
    shared: tuple[str, ...] = ()
    """Everything else that was given: numbers, flags, tensors without a batch."""
    gives_tensor: bool = False
    """Returns a tensor; else something whose first item is one."""
    wall_ms: float | None = None
    """Of all its calls in one run."""
    twice_ms: float | None = None
    """Two calls after each other; measured on request only."""
    once_ms: float | None = None
    """One call with both conditions."""


class GraphBreak(Struct, frozen=True, kw_only=True):
    """A place where a compiled function falls back to Python."""

    reason: str
    """The first sentence of PyTorch's own."""
    where: str
    """The user's source line, ``model.py:12``."""
    line: str = ""
    """Its text."""
    count: int = 1
    kind: str = ""
    """``branch`` (on a tensor's value), ``item`` (a tensor's value read into Python) or empty."""
    path: str = ""
    """The compiled object, where there is only one."""


class Recompile(Struct, frozen=True, kw_only=True):
    """A function that was compiled again, and the guard that failed."""

    function: str
    where: str
    """File and first line of the function."""
    guard: str
    """As PyTorch says it: ``tensor 'x' size mismatch at index 0. expected 2, actual 3``."""
    count: int = 1
    compile_s: float = 0.0
    """Spent on compiling it again."""
    run_s: float = 0.0
    """Of that, in the run that was watched, which was not the first: what each such run pays. 0: only new inputs do."""
    path: str = ""
    """The compiled object, where it is known."""
    kind: str = ""
    """``module``, ``in-place``, ``method``, as of a ``CompiledPlace``; empty where it is not known."""


class Compilation(Struct, frozen=True, kw_only=True):
    """What Dynamo has done in this process."""

    graphs: int = 0
    breaks: tuple[GraphBreak, ...] = ()
    recompiles: tuple[Recompile, ...] = ()
    tried: bool = False
    """True: nothing was compiled; the part was traced on request to see what would break."""
    eager: Timing | None = None
    """The workload with its compiled parts made to run eagerly; measured on request only."""
    compiled: Timing | None = None


class Holder(Struct, frozen=True, kw_only=True):
    """A list, dict or deque of a live object that holds more tensors after a run than before it."""

    path: str
    """``pipe.unet.history``."""
    added: int
    """Tensors more than before."""
    added_bytes: int


class Memory(Struct, frozen=True, kw_only=True):
    """Bytes of a device's memory."""

    total_bytes: int | None = None
    """The card's (or the machine's)."""
    peak_bytes: int | None = None
    """During one run."""
    steps_bytes: tuple[int, ...] = ()
    """Live tensors at the start of each step looked at, in order."""
    calls_bytes: tuple[int, ...] = ()
    """Live tensors before the first call and after each of some calls."""
    steps_apart: int = 1
    """Steps from one entry of ``steps_bytes`` to the next."""
    holders: tuple[Holder, ...] = ()


class Scaling(Struct, frozen=True, kw_only=True):
    """One call's time by batch size."""

    timings: dict[int, Timing]
    batch: int = 1
    """The run's own: the smallest that was timed."""
    call: str = ""
    """How the larger batch is written for this object."""


class Work(Struct, frozen=True, kw_only=True):
    """Arithmetic that is said to have been done in a time."""

    name: str
    flops: int
    wall_ms: float
    dtype: str = ""
    """``bfloat16``, ``bf16``: which peak counts; empty: the highest of all."""


class SyncPoint(Struct, frozen=True, kw_only=True):
    """An operator that makes the host wait for the device, at a line of the user's or a library's source."""

    op: str
    """As ``measure.syncs`` calls it: ``item``, ``nonzero``, ``copy to host``."""
    where: str
    count: int
    final: int = 0
    """Of these, after the run's last launch: reads of its result, which hold nothing up."""
    line: str = ""
    """The source there, where it can be read."""
    caller: str = ""
    """Where ``where`` is a library's: the innermost line of the user's own code around it."""


class Package(Struct, frozen=True, kw_only=True):
    """A package beside torch that was built against it, read from its metadata and its binaries. Nothing of it was imported."""

    name: str
    version: str
    wants_torch: str = ""
    """The torch version that it was built for (``2.13.0``); empty where it names none."""
    cuda: bool | None = None
    """Its binaries are linked against CUDA."""
    torch_version: str = ""
    torch_cuda: bool | None = None


class Skipped(Struct, frozen=True, kw_only=True):
    """A probe that did not run."""

    probe: str
    reason: str


class Seen(Struct, frozen=True, kw_only=True):
    """All of it, for one workload."""

    name: str = ""
    kind: str = "module"
    device: str = "cpu"
    steps: int = 1
    batch: int = 1
    wall_ms: float | None = None
    """Of one run: the timed median where there is one, else the probing run's."""
    parts: tuple[Part, ...] = ()
    guided: tuple[GuidedPair, ...] = ()
    compilation: Compilation | None = None
    memory: Memory | None = None
    scaling: Scaling | None = None
    stages: dict[str, Timing] = field(default_factory=dict)
    """By stage: ``first_ms`` is its first call, cold only where nothing had called it before."""
    warm_ups: dict[str, str] = field(default_factory=dict)
    """By stage: the code that calls it once."""
    work: tuple[Work, ...] = ()
    spent: dict[str, Spent] = field(default_factory=dict)
    """By the path of a part or of something compiled in it (``pipe.vae``), ``""`` for the whole run; empty where nothing was captured."""
    syncs: tuple[SyncPoint, ...] = ()
    packages: tuple[Package, ...] = ()
    skipped: tuple[Skipped, ...] = ()
