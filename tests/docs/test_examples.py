"""The docs do what they say: every block of the README, the tutorials and the how-to pages is executed or loaded."""

import shutil

import pytest

from penstock.simulate import running_simulator
from tests.docs.blocks import ROOT, blocks, pages, reading

needs_shell = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("curl") is None, reason="bash and curl run the docs' blocks"
)
MOST_NOT_EXECUTED = 6


def tutorial(outputs):
    """After the fault the answer comes from the other provider, and the ledger says so."""
    calls = [out for out in outputs if "x-penstock-provider" in out]
    assert "x-penstock-provider: openai" in calls[0]
    assert "x-penstock-attempts: 1" in calls[0]
    assert "x-penstock-provider: anthropic" in calls[1]
    assert "$" in outputs[-1]
    assert "anthropic" in outputs[-1]


def costs(outputs):
    """A stream's cost is known right after it, and metadata groups."""
    assert any('"total_cost":0.0' in out for out in outputs)
    assert any("spring" in out for out in outputs)


def keys(outputs):
    """A key sees its own models only, and is refused any other."""
    assert any("gemini-2.5-pro" in out and "models" in out for out in outputs)


PROMISES = {"first-call.md": tutorial, "see-what-it-costs.md": costs, "give-out-virtual-keys.md": keys}
"""What a page must have shown at its end, beside that nothing failed."""


@needs_shell
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_page_works_as_written(page, tmp_path):
    """A reader who types every block, in order, into an empty folder gets no error."""
    with running_simulator() as simulator, reading(tmp_path, simulator) as reader:
        for block in blocks(page):
            reader.do(block)
        check = PROMISES.get(page.name)
        if check is not None:
            check(reader.outputs)


def test_what_is_not_executed_says_why_and_is_rare():
    """A block that the tests leave out carries its reason; there are few of them."""
    left_out = [block for page in pages() for block in blocks(page) if block.why_not]
    assert len(left_out) <= MOST_NOT_EXECUTED, [str(block) for block in left_out]
    assert all(len(block.why_not) > 20 for block in left_out)
