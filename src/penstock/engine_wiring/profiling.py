"""One profile, from what was asked to its record: the one place that knows both wings and every kind of target.

torch and what stands on it are imported by what runs a thing. A trace file, and a request of the ledger, need neither.
"""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from penstock.base.errors import BadRequest
from penstock.engine.lab import from_trace
from penstock.engine.lab.hops import joined, ledger_profile
from penstock.engine.lab.pricing import priced
from penstock.engine.measure import datasheets, gaps, marks, timeline, trace
from penstock.engine.measure.records import Profile
from penstock.engine.measure.timeline import Timeline
from penstock.engine_wiring.asked import Asked
from penstock.engine_wiring.ledger_hops import hops_of

Tell = Callable[..., None]
"""``tell(step, done=None)``: what is being done, and how much of it is done (0 to 1) where that is known."""


def profile_of(asked: Asked, tell: Tell) -> Profile:
    """Do what was asked. Raises BadRequest for what cannot be, NotFound for a trace that the ledger has not."""
    hops = None
    if asked.trace_id:
        tell("reading the ledger")
        hops = hops_of(asked.ledger, asked.trace_id)  # first: a wrong id is said before anything runs
        if not asked.target:
            return ledger_profile(asked.trace_id, hops)
    profile = _of_file(asked, tell) if asked.kind == "trace" else _live(asked, tell)
    if asked.per_hour is not None:
        profile = priced(profile, asked.per_hour)
    return profile if hops is None else joined(profile, asked.trace_id, hops)


def _live(asked: Asked, tell: Tell) -> Profile:
    tell("importing PyTorch")  # seconds, where nothing of it is in the machine's memory yet
    try:
        if asked.gpu:
            from penstock.engine_wiring.foreseen import profile_foreseen as done  # noqa: PLC0415 - see tests/house/test_floors.py
        else:
            from penstock.engine_wiring.live import profile_live as done  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        missing = (error.name or "torch").partition(".")[0]
        if missing == "penstock":
            raise
        raise BadRequest(
            f"Running {asked.target} needs {missing}, which cannot be imported here: {error}.",
            param="TARGET",
            hint="Install the extra: pip install 'penstock[engine]'. A trace file needs none of it.",
        ) from error

    return done(asked, tell)


def _of_file(asked: Asked, tell: Tell) -> Profile:
    tell("reading the trace")
    path = Path(asked.target)
    read = trace.load(path)
    tell("putting its events together")
    line = timeline.build(read)
    if asked.trace_id:
        between = request_span(line, asked.trace_id)
        line = line if between is None else timeline.build(read, between=between)
    tell("looking for faults")
    peaks = datasheets.of_device(gaps.summary(line).name)
    profile = from_trace.of_timeline(line, target=asked.target, peaks=peaks)
    return replace(profile, trace_ids=requests_in(line))


def requests_in(line: Timeline) -> tuple[str, ...]:
    """The requests that the capture says it is of, by its annotations, in order."""
    found = (marks.trace_of(span.name) for thread in line.threads for span in thread.annotations)
    return tuple(dict.fromkeys(one for one in found if one))


def request_span(line: Timeline, trace_id: str) -> tuple[float, float] | None:
    """Microseconds from one request's note to the next one's, where the capture is of several; else None."""
    if len(requests_in(line)) < 2:
        return None
    spans = [
        span
        for thread in line.threads
        for span in thread.annotations
        if marks.trace_of(span.name) is not None
    ]
    own = [span for span in spans if marks.trace_of(span.name) == trace_id]
    if not own:
        return None
    begins = min(span.start_us for span in own)
    others = [
        span.start_us for span in spans if marks.trace_of(span.name) != trace_id and span.start_us > begins
    ]
    ends = max(span.end_us for span in own)
    # A note has no length: what follows it is of its request, until the next one's note.
    return begins, max(ends, min(others)) if others else max(ends, line.end_us)
