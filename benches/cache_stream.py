"""What a promise costs in hits: certified thresholds beside fixed ones and vCache's rule, in streams of known truth.

``PYTHONPATH=src:. python -m benches.cache_stream`` records it. Nothing is timed: the figures are the same on every machine that
computes the same vectors. The streams, their phrases and the rules are those of ``tests.cache.proof``.
"""

import sys
from statistics import median
from typing import Any

from tests.cache.proof import courses
from tests.cache.proof.courses import Compared, Kept, at_equal_error

from benches.machine import identity, write
from penstock.base.decisions import Rejected

COURSES, COMPARED = 100, 10


def run() -> int:
    """Print and write the table."""
    pool = courses.pool()
    if isinstance(pool, Rejected):
        print(pool.reason, file=sys.stderr)
        return 1
    kept = [courses.promised(pool, promise, COURSES) for promise in courses.PROMISES]
    uploads = courses.from_uploads(pool, 0.02, COURSES)
    fixed = [courses.fixed(pool, threshold, COMPARED) for threshold in courses.FIXED]
    theirs = [courses.of_vcache(pool, delta, COMPARED) for delta in courses.VCACHE_DELTAS]
    print(courses.table([*kept, uploads], [*fixed, *theirs]))
    record: dict[str, Any] = identity()
    record["stream"] = {
        "calibrating": courses.CALIBRATING,
        "scored": courses.SCORED,
        "taken": 0.8,
        "confidence": 0.95,
    }
    record["promises"] = [_of_kept(one, at_equal_error(theirs, one.total.wrong_rate)) for one in kept]
    record["from_uploaded_pairs"] = _of_kept(uploads, None)
    record["fixed_with_guards"] = [_of_rule(one) for one in fixed]
    record["vcache_with_guards"] = [_of_rule(one) for one in theirs]
    print(write("cache-stream", record))
    return 0


def _of_kept(one: Kept, theirs: Compared | None) -> dict[str, Any]:
    ends = [value for value in one.thresholds if value is not None]
    return {
        "max_error_rate": one.promise,
        "courses": one.courses,
        "kept": one.kept,
        "certified": len(ends),
        "threshold_median": median(ends) if ends else None,
        **_rates(one.total),
        "vcache_at_equal_error": _of_rule(theirs) if theirs is not None else None,
    }


def _of_rule(one: Compared) -> dict[str, Any]:
    return {"rule": one.rule, "courses": one.courses, **_rates(one.total)}


def _rates(total: courses.Scored) -> dict[str, Any]:
    return {
        "requests": total.requests,
        "hits": total.hits,
        "wrong": total.wrong,
        "hit_rate": round(total.hit_rate, 5),
        "wrong_rate": round(total.wrong_rate, 6),
    }


if __name__ == "__main__":
    raise SystemExit(run())
