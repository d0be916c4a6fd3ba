"""The index of names like a name: asked while it is built."""

from penstock.config import model_names
from penstock.config.model_names import NameIndex


def test_an_index_that_is_being_built_answers_no_less(monkeypatch):
    """It is built in a thread of its own at start; who asks meanwhile builds one too, and gets the whole answer."""
    index = NameIndex(["gpt-4o-mini", "gpt-4o", "claude"])
    trigrams, asked = model_names._trigrams, []

    def interrupted(name):
        if name == "gpt-4o-mini" and not asked:
            asked.append(name)
            assert index.nearest("gpt-4o-minni", 1, slash=False) == ["gpt-4o-mini"]
        return trigrams(name)

    monkeypatch.setattr(model_names, "_trigrams", interrupted)
    assert index.nearest("claud", 1, slash=False) == ["claude"]
    assert asked == ["gpt-4o-mini"]
