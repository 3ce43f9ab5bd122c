"""Transfer: the examples of every language, and accuracies and gaps against cases worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import toy_experiment
from prealign.errors import DataError
from prealign.evaluation.statistics import wilson
from prealign.evaluation.transfer.data import TaskData, join
from prealign.evaluation.transfer.transfer import Answers, accuracy, paired_gap, transfer_scores
from prealign.recipe.arms import resolve_arm
from prealign.recipe.measures import PassagesSection, TransferTask
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.measures.transfer import check_task, task_data
from prealign.text.clone import clone_language

PARITY = "(?P<odd>[13579]$)|(?P<even>[02468]$)"
ROWS = [("Kalo mi", "tulo kalo", "yes"), ("sol", "benar sol tuka mi", "no"), ("Tulo", "mi", "no")] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transfer")


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return toy_experiment.recipe(folder, split__test=12)


@pytest.fixture(scope="module")
def prepared(recipe: Recipe, folder: Path) -> Prepared:
    return toy_experiment.prepared(recipe, folder / "run")[0]


@pytest.fixture
def files(tmp_path: Path) -> TransferTask:
    train, test = tmp_path / "train.tsv", tmp_path / "rows.tsv"
    train.write_text("".join("\t".join((f"{one} {one}", *rest)) + "\n" for one, *rest in ROWS))
    test.write_text("".join("\t".join(row) + "\n" for row in ROWS))
    columns = {"columns": ["one", "two", "label"], "text": "one", "pair": "two"}
    return TransferTask(name="pairs", train=str(train), tests={"en": str(test)}, **columns)


def passages(**settings: Any) -> TransferTask:
    defaults = {"classes": PARITY, "tokens": 9, "train_examples": 40, "test_examples": 20}
    return TransferTask(name="parity", passages=PassagesSection(**defaults | settings))


def ids(data: TaskData, language: str) -> list[list[int]]:
    return [example.ids.tolist() for example in data.tests[language]]


def test_a_pair_is_two_texts_and_the_separator_each_in_its_language(
    recipe: Recipe, prepared: Prepared, files: TransferTask
) -> None:
    data, clone = task_data(files, prepared, recipe, 0), clone_language(prepared.tokenizer)
    assert list(data.tests) == ["en", "en-clone", "en>en-clone", "en-clone>en"]
    assert data.paired == {"en-clone"}
    assert data.classes == ["no", "yes"]
    encode = prepared.tokenizer.encode
    for i, (one, two, label) in enumerate(ROWS):
        a, b = encode(one), encode(two)
        twin_a, twin_b = clone.map(a).tolist(), clone.map(b).tolist()
        assert ids(data, "en")[i] == [*a, prepared.eos, *b]
        assert ids(data, "en-clone")[i] == [*twin_a, prepared.eos, *twin_b]
        assert ids(data, "en>en-clone")[i] == [*a, prepared.eos, *twin_b]
        assert ids(data, "en-clone>en")[i] == [*twin_a, prepared.eos, *b]
        assert {tests[i].label for tests in data.tests.values()} == {data.classes.index(label)}
    assert set(data.truncated.values()) == {0}


def test_pairs_with_one_premise_are_no_independent_items(
    recipe: Recipe, prepared: Prepared, files: TransferTask, tmp_path: Path
) -> None:
    """The first two of three pairs share their premise, in every language; single texts and other pairs are independent."""
    test = tmp_path / "shared.tsv"
    test.write_text("kalo mi\tren\tyes\nkalo mi\ttusol\tno\nlomi\tren\tno\n")
    data = task_data(files.model_copy(update={"tests": {"en": str(test)}}), prepared, recipe, 0)
    for language, examples in data.tests.items():
        assert [example.document for example in examples] == ["premise 0", "premise 0", "premise 1"], language
    assert {example.document for example in data.train} == {None}
    test.write_text("kalo mi\tren\tyes\nlomi\tren\tno\n")
    apart = task_data(files.model_copy(update={"tests": {"en": str(test)}}), prepared, recipe, 0)
    assert {example.document for examples in apart.tests.values() for example in examples} == {None}
    single = files.model_copy(update={"pair": None, "tests": {"en": str(test)}})
    assert {example.document for example in task_data(single, prepared, recipe, 0).tests["en"]} == {None}


def test_single_texts_have_no_mixed_test(recipe: Recipe, prepared: Prepared, files: TransferTask) -> None:
    data = task_data(files.model_copy(update={"pair": None}), prepared, recipe, 0)
    assert list(data.tests) == ["en", "en-clone"]
    assert ids(data, "en-clone") == [clone_language(prepared.tokenizer).encode(one).tolist() for one, _, _ in ROWS]


def test_the_merged_arm_is_tested_on_source_ids(recipe: Recipe, prepared: Prepared, files: TransferTask) -> None:
    merged = resolve_arm(recipe, "merged_ids")
    for task in (files, passages()):
        data = task_data(task, prepared, merged, 0)
        for language in data.tests:
            assert ids(data, language) == ids(data, "en")


def test_the_limit_is_drawn_by_seed_and_cuts_are_counted(
    recipe: Recipe, prepared: Prepared, files: TransferTask
) -> None:
    task = files.model_copy(update={"limit": 5, "max_tokens": 5})
    one, same, other = (task_data(task, prepared, recipe, seed) for seed in (0, 0, 1))
    drawn = [[(e.ids.tolist(), e.label) for e in data.train] for data in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5
    assert max(map(len, ids(one, "en"))) == 5
    lengths = [len(e.ids) for e in task_data(files, prepared, recipe, 0).tests["en"]]
    assert one.truncated["en"] == one.truncated["en>en-clone"] == sum(length > 5 for length in lengths) > 0


def test_training_rows_that_a_test_asks_are_left_out_and_counted(
    recipe: Recipe, prepared: Prepared, files: TransferTask
) -> None:
    assert files.train is not None
    with Path(files.train).open("a") as file:
        file.write("Tulo\tmi\tyes\nmi\tTulo\tno\n")  # the first is a row of the test, under another label
    data = task_data(files, prepared, recipe, 0)
    assert (data.tested, len(data.train)) == (1, len(ROWS) + 1)
    asked = {example.ids.tobytes() for example in data.tests["en"]}
    assert not asked & {example.ids.tobytes() for example in data.train}
    only = files.model_copy(update={"train": files.tests["en"]})
    with pytest.raises(DataError, match=r"rows\.tsv:1: this and every other training row is in a test"):
        task_data(only, prepared, recipe, 0)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (3, 3), (9, 1), (1, 9), (9, 9), (4, 9), (9, 4), (3, 4), (4, 3), (5, 2)])
def test_a_long_pair_loses_its_longer_text_first(a: int, b: int) -> None:
    first, second = np.arange(10, 10 + a), np.arange(50, 50 + b)
    left, right = a, b
    while left + 1 + right > 8:  # one token at a time
        left, right = (left - 1, right) if left > right else (left, right - 1)
    joined, cut = join((first, second), 0, 8)
    assert joined.tolist() == [*first[:left], 0, *second[:right]]
    assert cut == (left + right < a + b)
    assert join((first,), 0, 4) == (pytest.approx(first[:4]), a > 4)


@pytest.mark.parametrize("text", ["a <|endoftext|>", "<|endoftext|>"])
def test_a_text_with_the_separator_is_refused(
    recipe: Recipe, prepared: Prepared, files: TransferTask, text: str
) -> None:
    assert files.train is not None
    with Path(files.train).open("a") as file:
        file.write(f"{text}\tb\tno\n")
    with pytest.raises(DataError, match=r"train\.tsv:10: a text has no tokens, or has '<\|endoftext\|>' in it"):
        task_data(files, prepared, recipe, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_test_passages_come_from_held_out_documents_alone(recipe: Recipe, prepared: Prepared, seed: int) -> None:
    data = task_data(passages(), prepared, recipe, seed)
    documents = {split: set(prepared.tokens("en", split)["document"]) for split in ("train", "validation", "test")}
    used = {example.document for tests in data.tests.values() for example in tests}
    assert used <= documents["test"]
    assert {example.document for example in data.train} <= documents["train"]
    assert not used & (
        documents["train"] | documents["validation"] | set(prepared.tokens("en-clone", "train")["document"])
    )
    assert len(used) > 6, "spread over documents"


def test_passages_are_text_of_their_documents_and_balanced(recipe: Recipe, prepared: Prepared) -> None:
    data = task_data(passages(), prepared, recipe, 0)
    text = {row["document"]: row["input_ids"] for row in prepared.tokens("en", "test")}
    clone = clone_language(prepared.tokenizer)
    for example, twin in zip(data.tests["en"], data.tests["en-clone"], strict=True):
        whole, part = text[example.document], example.ids.tolist()
        assert len(part) == 9 and any(whole[i : i + 9] == part for i in range(len(whole)))
        assert twin.ids.tolist() == clone.map(part).tolist()
        assert twin.document == example.document
        assert data.classes[example.label] == ("odd" if int(example.document[-1]) % 2 else "even")
    for examples, number in ((data.train, 40), (data.tests["en"], 20)):
        assert np.bincount([example.label for example in examples]).tolist() == [number // 2] * 2


def test_train_passages_change_with_the_seed_and_test_passages_do_not(recipe: Recipe, prepared: Prepared) -> None:
    one, same, other = (task_data(passages(), prepared, recipe, seed) for seed in (0, 0, 1))
    train = [[e.ids.tolist() for e in data.train] for data in (one, same, other)]
    assert train[0] == train[1] != train[2]
    assert ids(one, "en") == ids(other, "en")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tokens": 5000}, r"no passages of 5000 tokens .*odd: 0, even: 0.*Lower passages.tokens"),
        ({"test_examples": 1}, r"the test documents in en have no passages .* ask for more examples"),
        ({"classes": "(?P<a>1790)|(?P<b>1990)"}, "matches none of the training documents in en, such as 'en.txt:"),
        ({"classes": "(?P<a>en)|(?P<b>1990)"}, "none of the .* training documents in en is of class b"),
    ],
)
def test_passages_that_cannot_be_had(
    recipe: Recipe, prepared: Prepared, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        check_task(passages(**settings), prepared, recipe, 0)


def answers(label: list[int], predicted: list[int], document: list[str] | None = None) -> Answers:
    return Answers(np.array(label), np.array(predicted), document)


LABEL = [0, 0, 0, 1, 1, 2, 0, 1]
SOURCE = answers(LABEL, [0, 0, 0, 1, 1, 2, 1, 0])
TARGET = answers(LABEL, [0, 1, 1, 1, 0, 2, 0, 2])


def test_accuracy_over_items_has_wilsons_interval_and_the_majority_as_chance() -> None:
    assert accuracy(SOURCE) == wilson(6, 8)
    assert accuracy(SOURCE).value == 0.75
    assert SOURCE.chance == 0.5


def test_a_gap_over_the_same_items_is_a_bootstrap_over_them() -> None:
    found = paired_gap(SOURCE, TARGET)
    assert found.value == 0.25
    rng, difference = np.random.default_rng(1), SOURCE.correct - TARGET.correct
    assert difference.tolist() == [0, 1, 1, 0, 1, 0, -1, 0]
    draws = difference[rng.integers(0, 8, (40_000, 8))].mean(axis=1)
    assert (found.low, found.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.126)
    same = paired_gap(SOURCE, SOURCE)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_passages_are_resampled_by_document() -> None:
    documents = list("aaaabbbb")
    source, target = (answers(a.label.tolist(), a.predicted.tolist(), documents) for a in (SOURCE, TARGET))
    # Two documents: 4/4 and 2/4 right; a resample is aa, ab or bb, so the interval reaches from one to the other.
    assert accuracy(source) == (0.75, 0.5, 1.0)
    assert paired_gap(source, target) == (0.25, 0.0, 0.5)
    assert source.n == 2
    alone = answers([0, 1], [0, 0], ["a", "a"])
    assert accuracy(alone) == (0.5, None, None)


def test_scores_of_paired_unpaired_and_mixed_languages() -> None:
    other = answers([0, 1, 1], [0, 0, 1])
    found = transfer_scores(
        {"en": SOURCE, "en-clone": TARGET, "de": other, "en>en-clone": TARGET},
        frozenset({"en-clone"}),
        condition="toy",
        parts={"train": 5},
    )
    by = {(s.language, s.metric): s for s in found}
    assert set(by) == {(language, "accuracy") for language in ("en", "en-clone", "de", "en>en-clone")} | {
        (language, "transfer_gap") for language in ("en-clone", "de")
    }
    gap = by["de", "transfer_gap"]
    assert gap.value == pytest.approx(0.75 - 2 / 3)
    # Newcombe (1998), method 10, from the roots of |p - x| = z sqrt(p (1 - p) / n)
    z = stats.norm.ppf(0.975)
    (low1, high1), (low2, high2) = (
        np.sort(np.roots([n + z**2, -(2 * n * p + z**2), n * p**2])) for p, n in ((0.75, 8), (2 / 3, 3))
    )
    assert gap.low == pytest.approx(gap.value - np.hypot(0.75 - low1, high2 - 2 / 3))
    assert gap.high == pytest.approx(gap.value + np.hypot(high1 - 0.75, 2 / 3 - low2))
    assert {s.condition for s in found} == {"toy"}
    assert by["en", "accuracy"].signature == "train:5|test:8|over:items"
    assert gap.chance is None and by["de", "accuracy"].chance == pytest.approx(2 / 3)
    assert by["de", "accuracy"].n == 3
