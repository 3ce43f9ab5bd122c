"""What the main phase reads of each language: known before training, and what a run then reads."""

from __future__ import annotations

from pathlib import Path

import pytest

import toy_experiment
from prealign.cli.plan import plan_tables
from prealign.cli.terminal import Watch, plain_console
from prealign.errors import RecipeError
from prealign.events import Event
from prealign.report.results import Results
from prealign.report.tables.language_modelling import mixing
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.run.plan import DEVICES, Devices, plan_recipe
from prealign.run.reading import Reading, main_reading, many_passes, reading_lines, text_tokens
from toy_experiment import record


def reading(tokens: float, share: float, passes: float | None) -> Reading:
    return Reading(pytest.approx(tokens), pytest.approx(share), passes if passes is None else pytest.approx(passes))


def test_a_case_worked_by_hand(tmp_path: Path) -> None:
    """1,000 tokens: three passes over 100 are 300, the rest is 0.7 of a pass over 1,000."""
    sizes = {"en": 1000, "en-clone": 100}
    made = toy_experiment.recipe(tmp_path, mixture__passes={"en-clone": 3})
    assert main_reading(made, sizes, 1000) == {
        "en": reading(700, 0.7, 0.7),
        "en-clone": reading(300, 0.3, 3),
    }
    weighted = toy_experiment.recipe(tmp_path, mixture__weights={"en": 3, "en-clone": 1})
    assert main_reading(weighted, sizes, 1000)["en-clone"] == reading(250, 0.25, 2.5)
    plain = toy_experiment.recipe(tmp_path)
    assert main_reading(plain, sizes, 2200) == {"en": reading(2000, 10 / 11, 2), "en-clone": reading(200, 1 / 11, 2)}


def test_without_sizes_only_weights_tell_shares(tmp_path: Path) -> None:
    weighted = toy_experiment.recipe(tmp_path, mixture__weights={"en": 3, "en-clone": 1})
    assert main_reading(weighted, {}, 1000)["en"] == reading(750, 0.75, None)
    for settings in ({"mixture__passes": {"en-clone": 3}}, {"mixture__temperature": 2.0}, {}):
        assert main_reading(toy_experiment.recipe(tmp_path, **settings), {}, 1000) == {}


def test_arms_that_read_alike_share_a_line_and_many_passes_warn() -> None:
    few, many = {"en": Reading(900, 0.9, 0.5), "de": Reading(100, 0.1, 20)}, {"de": Reading(210, 1.0, 21)}
    assert list(reading_lines({"joint": few, "anchored": few})) == [
        "joint, anchored: en 900 tokens, 90.0%, 0.50 passes; de 100 tokens, 10.0%, 20.00 passes"
    ]
    (line, warning) = reading_lines({"target_only": many})
    assert line == "target_only: de 210 tokens, 100.0%, 21.00 passes"
    assert warning.startswith("warning: de is read 21 times over in target_only: above 20 passes")
    assert not list(many_passes({"joint": few}))


def test_a_run_tells_what_it_will_read_and_reads_it(tmp_path: Path) -> None:
    made = toy_experiment.recipe(
        tmp_path / "text",
        arms=["joint", "prealign"],
        mixture__passes={"en-clone": 1.5},
        pretrain__steps=40,
        evaluate__mixing={"prompts": 3, "prompt": 4, "tokens": 5},
    )
    notes: list[str] = []

    def on_event(event: Event) -> None:
        if event.progress is not None and event.progress.stage == "stage 2 reads":
            assert event.arm == "all arms"
            notes.append(event.progress.note)

    run = RunFolder(tmp_path / "run")
    results = Results(run_experiment(made, run, on_event, command="test"))
    (table,) = mixing(results)
    assert [row[:2] for row in table.rows] == [
        (language, results.label(arm)) for language in ("English-Clone", "English") for arm in ("joint", "prealign")
    ]
    assert not any("–" in row[2:6] for row in table.rows), "mass, factor, within and words of every language and arm"
    within = [row for row in results.section("comparisons") if row["metric"] == "perplexity_within"]
    assert [row["unit"] for row in within] == ["documents", "documents"]
    assert len(notes) == 2, "joint reads in more steps than prealign"
    devices = Devices("h100", 1, DEVICES["h100"], 0.5)
    plans, _, _ = plan_recipe(made, devices, run.root)
    told = list(reading_lines({plan.arm: plan.reading for plan in plans}))
    assert told == notes
    assert "What stage 2 reads" in [table.title for table in plan_tables(plans, devices, [])]
    for name in ("joint", "prealign"):
        arm = toy_experiment.arm(made, name, run.root)
        found = record(arm, "blocks")["languages"]
        size, longest = arm.prepared.training_sizes, 60
        assert arm.reading["en-clone"].passes == pytest.approx(1.5)
        total = text_tokens(arm.main_phase, 1)
        assert sum(own["tokens"] for own in found.values()) == pytest.approx(total, abs=longest + 24)
        for language, own in arm.reading.items():
            assert found[language]["expected"] == pytest.approx(own.share)
            assert found[language]["tokens"] == pytest.approx(own.tokens, abs=longest)
            assert own.tokens == pytest.approx((own.passes or 0) * size[language])


def test_passes_that_do_not_fit_fail_before_any_training(tmp_path: Path) -> None:
    made = toy_experiment.recipe(tmp_path / "text", arms=["joint"], mixture__passes={"en-clone": 500})
    run = RunFolder(tmp_path / "run")
    with pytest.raises(
        RecipeError, match=r"mixture.passes: en-clone 500 × [\d,]+ tokens are [\d,]+ tokens, and the arm"
    ):
        run_experiment(made, run, lambda event: None, command="test")
    assert not (run.root / "arms").exists()


def test_notes_of_all_arms_name_no_seed(capsys: pytest.CaptureFixture[str]) -> None:
    from prealign.events import Progress

    Watch(plain_console()).show(Event("all arms", 0, Progress("stage 2 reads", 0, 1, note="joint: en 5 tokens")))
    assert capsys.readouterr().out == "  all arms · stage 2 reads: joint: en 5 tokens\n"
