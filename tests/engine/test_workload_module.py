"""Modules named file.py:build: what build may return, and what each mistake is told."""

import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image

from penstock.base.errors import BadRequest
from penstock.engine.workloads import module, outputs

HEAD = "import torch\nfrom torch import nn\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file of the user's; what it adds to the interpreter is taken back."""
    known, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)

    def written(text, name="mine.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(HEAD + textwrap.dedent(text), encoding="utf-8")
        return f"{tmp_path / name}:build"

    yield written
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if name in ("mine", "helper", "pack", "pack.inner") or name.startswith("penstock_target_"):
            del sys.modules[name]


def refused(spec, said, hint=""):
    with pytest.raises(BadRequest) as caught:
        module.load(spec).call()
    assert said in caught.value.message, caught.value.message
    assert hint in (caught.value.hint or ""), caught.value.hint
    assert caught.value.param == "target"
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "returned",
    [
        "net, torch.ones(2, 4)",
        "net, (torch.ones(2, 4),)",
        "net, [torch.ones(2, 4)]",
        "net, {'input': torch.ones(2, 4)}",
        "net, (torch.ones(2, 4),), {}",
        "net, (), {'input': torch.ones(2, 4)}",
    ],
)
def test_every_form_of_inputs_is_the_same_call(write, returned):
    """A tensor, a tuple, a list, a dict, args and kwargs."""
    spec = write(
        f"def build():\n    torch.manual_seed(0)\n    net = nn.Linear(4, 3)\n    return {returned}\n"
    )
    loaded = module.load(spec)
    torch.manual_seed(0)
    with torch.no_grad():
        expected = torch.nn.Linear(4, 3)(torch.ones(2, 4))
    assert torch.equal(loaded.call(), expected)
    assert (loaded.kind, loaded.device, loaded.batch, loaded.steps) == ("module", "cpu", 2, 1)
    assert loaded.modules() == {"model": loaded.root}
    assert loaded.stages() == ()


def test_a_module_alone_needs_no_inputs_only_if_its_forward_takes_none(write):
    """And where it takes some, the refusal names them."""
    spec = write(
        """
        class Clock(nn.Module):
            def forward(self):
                return torch.ones(1)
        def build():
            return Clock()
        def needy():
            return nn.Linear(4, 3)
        """
    )
    assert module.load(spec).call().tolist() == [1.0]
    error = refused(spec.replace(":build", ":needy"), "Linear.forward(input)", "return module, inputs")
    assert "'input'" in error.message


def test_a_class_and_an_instance_are_builders_too(write):
    """``file.py:Net`` builds one; ``file.py:net`` is one."""
    spec = write(
        "class Net(nn.Module):\n    def forward(self):\n        return torch.zeros(1)\nnet = Net()\n"
    )
    assert module.load(spec.replace(":build", ":Net")).call().tolist() == [0.0]
    assert module.load(spec.replace(":build", ":net")).call().tolist() == [0.0]


def test_it_runs_in_evaluation_mode_without_gradients(write):
    """Dropout drops nothing, and no graph is kept."""
    made = module.load(
        write("def build():\n    return nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 4)), torch.ones(1, 4)\n")
    )
    assert not made.root.training
    assert torch.equal(made.call(), made.call())
    assert not made.call().requires_grad


def test_batches_are_repeats_of_the_users_own_rows(write):
    """Rows of another batch are the first ones again; a call without a common first dimension has none."""
    made = module.load(write("def build():\n    return nn.Linear(4, 3), torch.arange(8.0).reshape(2, 4)\n"))
    five = made.with_batch(5)()
    own = made.call()
    assert five.shape == (5, 3)
    assert torch.allclose(five, own[torch.tensor([0, 1, 0, 1, 0])])
    single = module.load(write("def build():\n    return nn.Linear(4, 3), torch.ones(4)\n", "helper.py"))
    assert single.with_batch(2) is None


def test_a_dotted_name_is_imported_from_here(write):
    """``pack.inner:build``, from the current folder, as with python -m."""
    write("def build():\n    return nn.Identity(), torch.ones(1, 1)\n", "pack/inner.py")
    assert module.load("pack.inner:build").call().tolist() == [[1.0]]


def test_a_file_may_import_its_neighbour(write):
    """As it could when run itself."""
    write("WIDTH = 7\n", "helper.py")
    spec = write("import helper\ndef build():\n    return nn.Linear(1, helper.WIDTH), torch.ones(1, 1)\n")
    assert module.load(spec).call().shape == (1, 7)


@pytest.mark.parametrize(
    ("spec", "said", "hint"),
    [
        ("mine.py", "names no function", "my_module.py:build"),
        ("mine.py:", "names no function", "my_module.py:build"),
        (":build", "names no function", "my_module.py:build"),
        ("nowhere.py:build", "There is no file nowhere.py", "Relative paths start in"),
        ("no/where:build", "neither a file nor the name", "no/where.py:build"),
        ("no.where:build", "There is no module no.where", "no/where.py:build"),
    ],
)
def test_wrong_names_are_told(write, spec, said, hint):
    """Each with what to write."""
    refused(spec, said, hint)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("def other():\n    pass\n", "has no build", "It has: other."),
        ("", "has no build", "def build()"),
        ("def build(:\n    pass\n", "failed at mine.py:3: SyntaxError", "Python cannot read that line"),
        ("build = 3\n", "is of type int, not a function", "return module, inputs"),
        ("def build():\n    pass\n", "returned None", "return module, inputs"),
        (
            "def build():\n    return 3\n",
            "returned something of type int, not a module",
            "return module, inputs",
        ),
        (
            "def build():\n    return 3, nn.Identity()\n",
            "starts with something of type int",
            "return module, inputs",
        ),
        ("def build():\n    return nn.Identity(), 1, 2\n", "named arguments", "return module, (x, y)"),
        ("def build():\n    return nn.Identity(), 1, {}, 2\n", "returned 4 values", "return module"),
        ("def build(width):\n    return nn.Identity()\n", "wants arguments (width)", "defaults"),
        (
            "def build():\n    return nn.Identity(), (1, 2)\n",
            "too many positional arguments",
            "return module",
        ),
        (
            "def build():\n    raise ValueError('why not')\n",
            "mine.py:4 in build: ValueError: why not",
            "itself",
        ),
        ("import nothing_like_it\n", "mine.py:3 in <module>: ModuleNotFoundError", "itself"),
        ("def build(:\n", "Importing mine.py failed", "itself"),
        ("import sys\nsys.exit(3)\n", "ended the program (sys.exit(3))", "__main__"),
    ],
)
def test_wrong_builds_are_told(write, text, said, hint):
    """Each with the place and what to write; none is a traceback."""
    refused(write(text), said, hint)


def test_a_forward_that_raises_names_the_users_line(write):
    """Not torch's own, where it was raised."""
    spec = write(
        """
        class Net(nn.Module):
            def forward(self, x):
                return x @ torch.ones(9, 9)
        def build():
            return Net(), torch.ones(2, 4)
        """
    )
    refused(spec, "mine.py:6 in forward: RuntimeError", "by itself")
    half = write("def build():\n    return nn.Linear(4, 4).half(), torch.ones(2, 4)\n", "helper.py")
    refused(half, "RuntimeError", "dtype")


def test_a_failed_import_leaves_nothing_behind(write):
    """The corrected file is read anew."""
    spec = write("1 / 0\n")
    refused(spec, "ZeroDivisionError")
    assert "mine" not in sys.modules
    assert module.load(write("def build():\n    return nn.Identity(), torch.ones(1, 1)\n")).call().sum() == 1


def test_outputs_are_compared_whatever_they_are():
    """Nested, dataclasses, arrays, images; differing shapes are infinitely far apart, and text is no number."""
    one = {
        "a": [torch.zeros(2), (np.ones(3, dtype=np.float32),)],
        "b": "text",
        "c": Image.new("RGB", (2, 2), 255),
    }
    two = {
        "a": [torch.ones(2) / 2, (np.ones(3, dtype=np.float32),)],
        "b": "other",
        "c": Image.new("RGB", (2, 2)),
    }
    assert [tuple(part.shape) for part in outputs.tensors(one)] == [(2,), (3,), (2, 2, 3)]
    assert outputs.max_error(one, one) == 0.0
    assert outputs.max_error(one, two) == 1.0
    assert outputs.max_error(one, [torch.zeros(2)]) == float("inf")
    assert outputs.max_error("a", None) is None
    assert outputs.finite(one)
    assert not outputs.finite([torch.tensor([float("nan")])])


def test_nothing_wrong_is_called_exact():
    """NaN for a number, other keys, an imaginary part: each is a difference; what is the same in both is none."""
    nan, inf = float("nan"), float("inf")
    ones = torch.ones(3)
    assert outputs.max_error(ones, torch.full((3,), nan)) == inf
    assert outputs.max_error(torch.tensor([1.0, nan]), torch.tensor([nan, 1.0])) == inf
    assert outputs.max_error(torch.tensor([1.0, nan, inf]), torch.tensor([1.5, nan, inf])) == 0.5
    assert outputs.max_error(torch.tensor([inf]), torch.tensor([-inf])) == inf
    assert outputs.max_error({"x": ones}, {"y": ones}) == inf
    assert outputs.max_error({"x": ones, "y": 2 * ones}, {"y": 2 * ones, "x": ones}) == 0.0
    assert outputs.max_error([ones, None], [None, ones]) == inf
    assert outputs.max_error(torch.tensor([1 + 1j]), torch.tensor([1 + 5j])) == 4.0
    assert outputs.max_error(torch.tensor([1 + 1j]).numpy(), torch.tensor([1 + 5j]).numpy()) == 4.0
    assert outputs.max_error(torch.tensor([1 + 1j]), torch.tensor([1.0])) == inf
    assert not outputs.finite(torch.tensor([complex(1, nan)]))


def test_what_is_kept_of_an_output_stays():
    """Though the module writes its next one over it; the same numbers are drawn again, and the caller's state is its own."""
    held = torch.zeros(3)
    kept = outputs.drawn(lambda: {"x": held.add_(1)})
    held.add_(1)
    assert outputs.max_error(kept, {"x": torch.ones(3)}) == 0.0
    assert not kept.random
    before = torch.get_rng_state()
    one, two = (outputs.drawn(lambda: torch.randn(4)) for _ in range(2))
    assert one.random
    assert outputs.max_error(one, two) == 0.0
    assert torch.equal(torch.get_rng_state(), before)
    assert outputs.scale([torch.tensor([-3.0, float("nan"), float("inf")]), torch.tensor([2])]) == 3.0
