"""``penstock doctor`` lists what it looked at, and folds what it found inside its own column."""

import json
import socket
from pathlib import Path

import pytest

import penstock
from penstock.cli import doctor
from penstock.simulate import running_simulator

FAULTY = (
    "providers:\n  openai:\n    keys: [{value: env.A_KEY_THAT_IS_NOT_SET_ANYWHERE_AT_ALL, weight: 1.0}]\n"
)


@pytest.mark.parametrize("columns", [60, 80, 200, None])
def test_what_is_not_well_stands_whole(tmp_path, screen, columns):
    """A line a check; a long finding is folded, not cut; the last line counts, the exit code says so."""
    path = tmp_path / "penstock.yaml"
    path.write_text(FAULTY, encoding="utf-8")
    words = ("doctor", "--offline", "--config", str(path))
    checks = json.loads(screen.show(columns, *words, "--json")[1])
    (fault,) = (check["found"] for check in checks if not check["ok"])
    code, out = screen.show(columns, *words)
    assert code == 1
    lines = out.splitlines()
    assert lines[-1] == f"1 of {len(checks)} are not well"
    assert sum(line.startswith(("  ok  ", "  no  ")) for line in lines) == len(checks)
    assert fault in " ".join(out.split())
    assert "\\" not in out
    if columns is None:
        assert len(lines) == len(checks) + 2
    else:
        assert max(map(len, lines)) <= columns


def test_all_is_well(screen):
    """Exit 0 without a configuration."""
    lines = screen.lines(80, "doctor")
    assert lines[-1] == "all is well"


def test_who_can_be_reached_is_said(screen, tmp_path, monkeypatch):
    """A provider that answers, and one whose address nobody listens on; the working folder stays as it was."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("DOCTOR_TEST_KEY", "k")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "penstock.yaml"
    with running_simulator() as sim:
        path.write_text(
            "providers:\n"
            f"  openai: {{keys: [{{value: env.DOCTOR_TEST_KEY}}], network: {{base_url: '{sim.url}/v1'}}}}\n"
            f"  anthropic: {{keys: [{{value: env.DOCTOR_TEST_KEY}}], network: {{base_url: '{nobody}'}}}}\n",
            encoding="utf-8",
        )
        code, out = screen.show(None, "doctor", "--config", str(path), "--json")
    found = {check["what"]: check for check in json.loads(out)}
    assert code == 1
    assert found["reach openai"]["ok"] is True
    assert found["reach anthropic"]["ok"] is False
    assert [each.name for each in tmp_path.iterdir()] == ["penstock.yaml"]


def test_every_native_module_is_named(screen, monkeypatch):
    """Those that are used, and those that are not, with the reason: none is forgotten here."""
    root = Path(penstock.__file__).parent
    built = {
        (".".join(path.parent.relative_to(root).parts), path.stem) for path in root.rglob("_*.pyx")
    }  # fmt: skip
    assert built == set(doctor.NATIVE)
    real = doctor.load_native

    def without(package, name, folder):
        return (None, "it was not built") if name == "_large" else real(package, name, folder)

    monkeypatch.setattr(doctor, "load_native", without)
    told = {
        check["what"]: check for check in json.loads(screen.show(None, "doctor", "--offline", "--json")[1])
    }
    found = told["native modules"]
    assert found["ok"] is True
    assert "in Python instead: _large (large bodies): it was not built" in found["found"]
    assert all(name.lstrip("_") in found["found"] for _, name in doctor.NATIVE)
