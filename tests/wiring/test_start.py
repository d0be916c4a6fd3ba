"""What a start loads, and what it leaves for later."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LATER = {
    "jsonschema": "gateway.schema_check, behind the start",
    "referencing": "jsonschema's",
    "rich": "for tables of the command line",
    "numpy": "the semantic cache's",
    "onnxruntime": "the semantic cache's",
    "PIL": "where a picture is given another form",
    "redis": "where a shared state is named",
    "psycopg": "where a PostgreSQL ledger is named",
    "sqlalchemy": "where such a ledger is migrated",
    "botocore": "where AWS keys are configured",
    "google": "where a service account is configured",
    "cryptography": "google-auth's",
    "tokenizers": "where a tokenizer is configured",
    "torch": "never in the gateway",
}
"""Not loaded by a plain ``serve``; why, or where it is."""


def said_by(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    return done.stdout.split()


def test_a_plain_start_loads_nothing_that_its_configuration_does_not_ask_for():
    loaded = said_by(
        "import sys, penstock.cli.serve, penstock.wiring.serve, penstock.wiring.supervise\n"
        "print(*{m.partition('.')[0] for m in sys.modules})"
    )
    assert "msgspec" in loaded
    assert set(loaded) & set(LATER) == set()


def test_the_collector_rests_while_a_start_loads_and_works_after_it():
    """And what the start made is not walked again."""
    assert said_by(
        "import gc; gc.disable()\n"
        "from penstock.wiring.serve import settle_memory\n"
        "settle_memory()\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    ) == ["True", "True"]


def test_what_judges_a_schema_is_there_once_it_was_loaded_behind_the_start():
    assert said_by(
        "import sys\n"
        "from penstock.gateway.structured import load_judge\n"
        "before = 'jsonschema' in sys.modules\n"
        "load_judge()\n"
        "print(before, 'jsonschema' in sys.modules)"
    ) == ["False", "True"]
