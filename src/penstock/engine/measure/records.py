"""The nouns of a profile. Times are milliseconds unless a name says otherwise; shares are of the whole, 0 to 1.

``Profile`` is what ``penstock profile --json`` prints: ``device``, ``stages``, ``kernels``, ``findings`` and what stands beside
them. None means "not known", never 0.
"""

from msgspec import Struct, field


class DeviceSummary(Struct, frozen=True, kw_only=True):
    """What a device did between its first and its last event. With several devices: of the busiest one, and said so."""

    name: str
    """As the trace or the driver calls it: ``NVIDIA H100 80GB HBM3``, ``cpu``."""
    kernels: int = 0
    device_events: int = 0
    """Kernels, memory copies and memsets."""
    correlated: int = 0
    """Device events whose launch was found."""
    span_ms: float = 0.0
    busy_share: float = 0.0
    """Union of device events ÷ span."""
    host_wait_ms: float | None = 0.0
    """Gaps whose next kernel was launched after the previous one had ended. None, like the other waits, where too few launches are
    in the trace to tell them apart.
    """
    kernel_wait_ms: float | None = 0.0
    """Gaps under 5 µs between kernels that were launched in time."""
    other_wait_ms: float | None = 0.0
    launch_delay_us: float | None = None
    """Median from launch to start; None where graph replays make it meaningless, or launches are missing."""
    short_kernels_share: float | None = None
    """Kernels under 5 µs, of all."""
    graph_replayed_share: float = 0.0
    """Of kernel time: launched by a graph replay. Attribution of it is unreliable."""
    reliable: bool = True
    """False: op attribution and launch delay mean nothing here; ``unreliable_because`` says why."""
    unreliable_because: str = ""


class StageRow(Struct, frozen=True, kw_only=True):
    """One named part of a run. The rows' ``wall_ms`` and the residual's sum to the wall time."""

    name: str
    calls: int = 1
    start_ms: float = 0.0
    """Of its first call, from the start of the run."""
    wall_ms: float
    exposed_host_ms: float | None = None
    """Host time inside it during which the device was idle."""
    gpu_busy_ms: float | None = None
    """Union of the device events launched inside it."""
    share: float
    """Of the wall time."""
    launches: int | None = None
    flops: int | None = None
    bytes: int | None = None
    cost_nusd: int | None = None
    """At the configured price of the device; None where none is configured."""
    parent: str = ""
    """The stage it is nested in; nested rows do not count into the sum."""
    pieces: tuple[tuple[float, float], ...] = ()
    """Its calls, for a drawing: start and end in milliseconds from the start of the run, those that nearly touch as one."""


UNATTRIBUTED = "unattributed"
"""The name of the residual row."""
DEVICE_ALONE = "device alone"
"""The row in which the device works off what it was given, after the last thing that the trace has of the host."""
SILENT = "nothing recorded"
"""The row between the two, where the trace has nothing of either."""
REST = frozenset((UNATTRIBUTED, DEVICE_ALONE, SILENT))
"""Rows that are no stage of anybody's, and have no calls."""


class KernelRow(Struct, frozen=True, kw_only=True):
    """Device events of one name, launched by one op of one module. On a CPU: the ops themselves."""

    name: str
    count: int
    total_ms: float
    op: str = ""
    """The innermost ``aten::…`` (or other CPU) op that launched it; empty where unknown."""
    module: str = ""
    """The innermost module or annotation around the launch."""
    means: str = ""
    """The name decoded: ``GEMM 128x256x64 bf16 tn``, ``fused pointwise: gelu, mul``, ``flash attention``."""
    flops: int | None = None
    bytes: int | None = None
    attributed: bool = True
    """False for kernels of a graph replay."""


class Finding(Struct, frozen=True, kw_only=True):
    """One fault (or one fact that decides), with its proof."""

    id: str
    """Kebab case: ``launch-bound``."""
    title: str
    evidence: str
    """A sentence with the numbers it rests on."""
    saves_ms: float | None = None
    """At most this much of the run's wall time; None where no bound can be given, which ``bound`` says why."""
    bound: str = ""
    """What ``saves_ms`` rests on; without a figure, why there is none. Every finding of ours has it."""
    once: bool = False
    """``saves_ms`` is of a first call or of a new shape, and not of every run."""
    fix: str = ""
    """What to write: a sentence, then the code."""
    proof: str = ""
    """How to see that the fix took effect: a count, a graph, a kernel's name."""
    facts: dict[str, float] = field(default_factory=dict)
    """The numbers of ``evidence``, for programs."""
    where: str = ""
    """Source line, module or stage, where one is known."""
    caller: str = ""
    """Where that line is a library's: the line of the user's own code that led to it."""


class Timing(Struct, frozen=True, kw_only=True):
    """Calls timed without a profiler. Quartiles of ``runs`` samples after ``warmup`` calls."""

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    warmup: int
    first_ms: float | None = None
    """The very first call, cold."""
    clock: str = "wall"
    """``wall``, ``thread`` (CPU time of the thread) or ``cuda-events``."""
    per_sample: int = 1
    """Calls within one of the ``runs``: short calls are timed several at once, and divided."""
    warnings: tuple[str, ...] = ()
    """What disturbed it: ``the machine was disturbed: wall ÷ CPU time 3.1``."""


class Variant(Struct, frozen=True, kw_only=True):
    """One side of ``--compare``: ``eager``, ``compile`` or ``kernels``."""

    name: str
    timing: Timing | None = None
    prepare_s: float = 0.0
    """Compiling, loading: what is paid once a shape."""
    compiled: tuple[str, ...] = ()
    """What was compiled of it: ``unet: 6 x BasicTransformerBlock``, ``vae.decode``."""
    graphs: int | None = None
    kernels: tuple[KernelRow, ...] = ()
    expected: tuple[str, ...] = ()
    """What should be seen, written before looking."""
    differences: tuple[str, ...] = ()
    """Expected against observed, kernels and output, a sentence each; empty where they agree, or nobody has looked."""
    refused: str = ""
    """Why it was not compared; empty where it was."""
    gain: float | None = None
    """Eager's median ÷ its own: a gain only where ``verdict`` says so."""
    gain_low: float | None = None
    gain_high: float | None = None
    """By the quartiles: eager's lower ÷ its own upper, and eager's upper ÷ its own lower."""
    verdict: str = ""
    """``faster`` or ``slower`` where the quartiles lie apart, else ``same``: no difference within the noise. Empty of the first side,
    and of one that was not compared."""
    break_even_calls: float | None = None
    """prepare ÷ (eager - own), times the shapes; None where it never pays, as where it is no faster beyond the noise."""
    max_error: float | None = None
    """Largest absolute difference from eager's output; None also where it cannot be told, which ``differences`` then says."""
    recompiles: tuple[str, ...] = ()
    """Compiled again while it was timed, by calls that are all the same: what, how often, and the guard that failed."""


class Slice(Struct, frozen=True, kw_only=True, array_like=True):
    """One bar of the report's timeline: lane, name, start and duration in microseconds from the run's start."""

    lane: str
    name: str
    start_us: float
    dur_us: float
    kind: str = ""
    """``stage``, ``module``, ``op``, ``kernel``, ``copy``, ``launch``, ``sync``, ``hop``."""
    depth: int = 0


class Hop(Struct, frozen=True, kw_only=True):
    """One bar of a request's whole way: HTTP, queue, a stage of the model, encoding, storage."""

    name: str
    start_ms: float
    """From the start of the first."""
    wall_ms: float
    source: str
    """``gateway`` (a part of a call), ``ledger`` (an entry) or ``profile`` (a stage of the capture)."""
    parent: str = ""
    """The ``key`` of the hop that it is a part of; such a hop's cost is a part of that one's."""
    key: str = ""
    """Unlike any other's: an entry's id, a stage's name."""
    cost_nusd: int | None = None
    """None where the ledger does not know the price, and where a part has none of its own."""
    target: str = ""
    """``openai/gpt-4o-mini``, ``own/h100``."""
    klass: str = ""
    """The ledger's class of the entry: ``delivered``, ``own_cost``."""
    gpu_busy_ms: float | None = None


class RooflinePoint(Struct, frozen=True, kw_only=True):
    """A kernel, op or stage against the device's limits."""

    name: str
    flops: float
    bytes: float
    time_ms: float | None = None
    bound: str = ""
    """``compute``, ``memory`` or ``overhead``; empty where nobody can say."""
    dtype: str = ""
    """Of its arithmetic, as ``Peaks`` names it; empty where it is not known, or of several."""


class Peaks(Struct, frozen=True, kw_only=True):
    """What a device can do at best. ``source``: ``measured``, or the data sheet with its date."""

    device: str
    flops_per_s: dict[str, float]
    """By dtype: ``fp32``, ``tf32``, ``bf16``, ``fp16``, ``fp8``, ``int8``. Dense, without sparsity."""
    bytes_per_s: float
    memory_bytes: int | None = None
    source: str = ""
    warnings: tuple[str, ...] = ()
    """Where they are not what was asked for, as a sheet's in place of a measurement."""


class Profile(Struct, frozen=True, kw_only=True):
    """A whole run, told."""

    target: str
    source: str
    """``live``, ``trace`` or ``preflight``."""
    device: DeviceSummary
    wall_ms: float | None = None
    stages: tuple[StageRow, ...] = ()
    kernels: tuple[KernelRow, ...] = ()
    findings: tuple[Finding, ...] = ()
    timing: Timing | None = None
    variants: tuple[Variant, ...] = ()
    roofline: tuple[RooflinePoint, ...] = ()
    peaks: Peaks | None = None
    timeline: tuple[Slice, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a guided run shows, in words, in order."""
    machine: dict[str, str] = field(default_factory=dict)
    """Versions, device, threads: what the figures rest on."""
    facts: dict[str, float] = field(default_factory=dict)
    """Further figures by name with their unit in it: ``parameters``, ``peak_memory_bytes``."""
    cost_nusd: int | None = None
    """Of one run, where a price is configured."""
    trace_ids: tuple[str, ...] = ()
    """Of the annotations ``penstock.trace:<id>`` in the capture: the requests that it is of."""
    hops: tuple[Hop, ...] = ()
    """The request's way through the gateway and the services, where it was joined with the ledger."""
