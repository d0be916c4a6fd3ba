"""A Redis that answers, but slowly: after a few of them no call waits for it, and each of these says so."""

from typing import Any

from tests.behaviours.gateway import THREE_DIALECTS, chat, running_gateway

MODEL = "openai/gpt-4o-mini"
CONFIG = (
    THREE_DIALECTS
    + """
cache: {exact: {enabled: true}, path: memory, redis: "{redis}"}
"""
)


def test_a_slow_store_is_left_alone_and_explain_says_so(tmp_path: Any, redis_server: Any):
    """Every answer counts as slow here: the sixth miss at the latest does not ask, unless the machine is so busy that none came."""
    with running_gateway(tmp_path, CONFIG, redis=redis_server.url) as gateway:
        caching: Any = gateway.house.caching
        (guard,) = caching.means.blobs._far
        guard._slow_s = 0.0
        codes: set[str] = set()
        for number in range(30):
            answer = gateway.post(chat(MODEL, f"slowly {number}"))
            assert (answer.status, answer.headers["x-penstock-cache"]) == (200, "miss")
            notes = gateway.story(answer.request_id)["happenings"]
            codes |= {note.get("code", "") for note in notes}
            if guard.passed_over:
                break
        assert guard.passed_over == 1
        assert "store-slow" in codes
        text = gateway.get("/metrics").body.decode()
        assert 'penstock_cache_store_unread_total{reason="store-slow"}' in text
