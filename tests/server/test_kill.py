"""kill -9 in the middle of a storm of writes: nothing acknowledged is lost, nothing is double, and every counter agrees.

The twenty kills at 5,000 writes a second, with the bar of ``ledger.flush_ms``, are ``python -m benches.kill``: how long a
process waits for its turn on a busy machine is not ours. Here a reply counts as acknowledged half a second later.
"""

import pytest

from tests.server.reckoning import play

KILLS = 3


@pytest.mark.timeout(180)
def test_kill_9_in_the_middle_of_a_storm(tmp_path):
    """Posts and calls, whole and streamed, on real sockets; what was not acknowledged is sent again and counts once."""
    played = play(tmp_path, KILLS, posts_per_s=20, calls_per_s=200, least_s=0.8, within_ms=500)
    assert played.faults == []
    assert [storm.trouble for storm in played.storms] == [[]] * (KILLS + 1)
    reckoning = played.reckoning
    assert len(reckoning.owed) > 1000 * KILLS
    assert sum(ago_ms > 500 for _, ago_ms in reckoning.answers) > 50 * KILLS
    assert reckoning.ask("PRAGMA integrity_check") == [("ok",)]
