"""What was read of each language beside what was expected, and target text that is switched."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset

from prealign.methods.switching.switch import Known
from prealign.run.mixture import mixture_record
from prealign.text.blocks import Mixture, write_blocks
from toy_mixture import english, unswitched


def test_a_language_that_the_budget_does_not_reach_has_share_0_beside_its_expectation(tmp_path: Path) -> None:
    switched = english(ratio=1)
    rows: dict[str, Dataset] = {"en": unswitched(en=[50]).tokens["en"], "de": switched.tokens["en"]}
    mixture = Mixture(
        rows, "en", switched.eos, rewriters={"de": switched.rewriters["en"]}, shares={"en": 0.9, "de": 0.1}
    )  # type: ignore[dict-item]
    _, counts = write_blocks(mixture, tmp_path, blocks=2, context=16, seed=0)
    assert list(counts.languages) == ["en"], "one long document is the whole budget"
    known = {"de": Known(words=10, known=4, targets={"en": 4.0})}
    record = mixture_record(mixture, counts, known, {"en": 51, "de": 60})
    assert record["languages"] == {
        "en": {"documents": 1, "tokens": 51, "passes": 1.0, "share": 1.0, "expected": 0.9},
        "de": {"documents": 0, "tokens": 0, "passes": 0.0, "share": 0.0, "expected": 0.1},
    }
    assert record["switched"] == {
        "de": {"en": {"expected": 0.4, "realised": 0.0, "switched_words": 0, "words": 0}},
    }
