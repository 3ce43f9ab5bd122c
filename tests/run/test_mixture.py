"""What was read of each language beside what was expected, and target text that is switched."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from prealign.methods.schedule import Schedule
from prealign.methods.switching.switch import CodeSwitcher, Known
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
        "de": {"en": {"expected": 0.4, "realised": 0.0, "switched_words": 0, "words": 0, "independent": True}},
    }
    assert {record[key] for key in ("ratio", "mode", "coverage", "independent")} == {None}, "English is not switched"


def test_the_ratio_of_the_record_is_that_of_the_rewriter_over_the_whole_phase(tmp_path: Path) -> None:
    for schedule, ratio, independent in ((None, 0.5, True), (Schedule(((0.0, 1.0), (1.0, 0.0))), 0.25, False)):
        switched = english(mode="vanilla")
        rewriter = switched.rewriters["en"]
        assert isinstance(rewriter, CodeSwitcher)
        rewriter.schedule = schedule
        _, counts = write_blocks(switched, tmp_path / str(ratio), blocks=2, context=16, seed=0)
        known = {"en": Known(words=10, known=4, targets={"en-clone": 4.0})}
        record = mixture_record(switched, counts, known, {"en": 51, "en-clone": 60})
        found = {key: record[key] for key in ("ratio", "mode", "coverage", "independent")}
        assert found == {"ratio": ratio, "mode": "vanilla", "coverage": 0.4, "independent": independent}
        assert record["switched"]["en"]["en-clone"]["expected"] == pytest.approx(ratio * 0.4)
