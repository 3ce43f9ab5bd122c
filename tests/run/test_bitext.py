"""The recipe's parallel text: what is kept of it, what is left out, when it is made, and what a plan assumes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import toy_experiment
from prealign.errors import LexiconError, RecipeError
from prealign.methods.phase import required_bitext
from prealign.recipe.arms import with_settings
from prealign.recipe.bitext import BitextFile
from prealign.recipe.checks import contradictions
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import RunFolder
from prealign.run.inputs import ArmInputs
from prealign.run.planned import TOKENS_PER_SENTENCE, assumed_bitext
from prealign.run.preparation.prepare import prepare
from prealign.text.clone import clone_language
from prealign.text.sentence import sentence_keys, split_sentences

PAIRS = [("Kalo miren.", "Neri molak."), ("Tusol be.", "Eb lost."), ("Mi ka.", "Ak im."), ("Ren tu!", "Ut ner!")]


def recipe(folder: Path, **bitext: Any) -> Recipe:
    """A recipe with a clone and German, which has the pairs above in two files."""
    made = toy_experiment.recipe(folder)
    text = (folder / "en.txt").read_text()
    (folder / "de.txt").write_text(text[::-1].strip() + "\n")
    words = sorted(set(text.replace(".", " ").split()))
    (folder / "en-de.tsv").write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    for side, name in enumerate(("pairs.en", "pairs.de")):
        (folder / name).write_text("".join(pair[side] + "\n" for pair in PAIRS), encoding="utf-8")
    files = [{"target": "de", "source_file": f"{folder}/pairs.en", "target_file": f"{folder}/pairs.de"}]
    settings = {
        "targets": [
            {"language": "en-clone", "share": 0.3},
            {"language": "de", "text": [str(folder / "de.txt")], "documents": "line"},
        ],
        "lexicon.files": [{"path": str(folder / "en-de.tsv"), "target": "de"}],
        "bitext": {"files": files, **bitext},
    }
    return with_settings(made, settings)


def data(made: Recipe, folder: Path) -> tuple[Prepared, dict[str, bool]]:
    return prepare(made, RunFolder(folder), lambda _: None)


def decoded(prepared: Prepared, language: str) -> list[tuple[str, str]]:
    tokenizer = prepared.tokenizer
    source, target = prepared.bitext[language]
    return [(tokenizer.decode(one), tokenizer.decode(other)) for one, other in zip(source, target, strict=True)]


def test_pairs_are_those_of_the_files_and_the_clone_has_the_sources_sentences_in_twin_ids(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text")
    prepared, _ = data(made, tmp_path / "run")
    assert list(prepared.bitext) == ["en-clone", "de"]
    assert decoded(prepared, "de") == PAIRS
    source, target = prepared.bitext["en-clone"]
    clone = clone_language(prepared.tokenizer)
    assert all(clone.map(one).tolist() == other.tolist() for one, other in zip(source, target, strict=True))
    text = {split: set[str]() for split in ("train", "validation", "test")}
    expected = []
    for split, keys in text.items():
        for ids in prepared.tokens("en", split)["input_ids"]:
            for sentence in split_sentences(prepared.tokenizer.decode(ids)):
                keys.add(sentence.casefold())
                expected += [sentence] if split == "train" else []
    longest = made.pretrain.context - 2
    held_out = text["validation"] | text["test"]
    kept = [s for s in expected if s.casefold() not in held_out and len(prepared.tokenizer.encode(s)) <= longest]
    assert [prepared.tokenizer.decode(ids) for ids in source] == kept and len(kept) > 20
    record = prepared.record["bitext"]
    assert record["de"]["pairs"] == 4 and record["en-clone"]["pairs"] == len(kept)
    assert record["en-clone"]["tokens"] == [len(source.values)] * 2
    inputs = ArmInputs("joint", 0, made, prepared)
    assert required_bitext(inputs, "x")["de"] is prepared.bitext["de"], "read once"


def test_sentences_of_tests_and_of_held_out_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text")
    first, _ = data(made, tmp_path / "run")
    held_out = split_sentences(first.tokenizer.decode(first.tokens("de", "test")["input_ids"][0]))[0]
    (tmp_path / "flores.en").write_text("mi   KA.\n")
    (tmp_path / "flores.de").write_text("Nichts davon.\n")
    (tmp_path / "more.jsonl").write_text(json.dumps({"en": "A new one.", "de": f"So. {held_out}"}) + "\n")
    files = {"en": str(tmp_path / "flores.en"), "de": str(tmp_path / "flores.de")}
    more = {"target": "de", "path": str(tmp_path / "more.jsonl")}
    changed = with_settings(
        made,
        {
            "evaluate.sentences": [{"name": "flores", "files": files}],
            "bitext.files": [*made.bitext.model_dump(exclude_unset=True)["files"], more],  # type: ignore[union-attr]
        },
    )
    prepared, stages = data(changed, tmp_path / "run")
    assert stages == {"tokens": False, "bitext": True, "lexicon": True}
    assert decoded(prepared, "de") == [pair for pair in PAIRS if pair[0] != "Mi ka."]
    summary = "\n".join(prepared.record["bitext"]["de"]["summary"])
    assert (
        "left out: 2 pairs with a sentence of a test or of a held-out document, such as 'Mi ka.' → 'Ak im.'" in summary
    )
    assert "more.jsonl: 1 line, 1 pair" in summary and "de: 3 pairs of sentences" in summary
    assert prepared.mark != first.mark


def test_long_sentences_are_left_out_and_a_limit_takes_the_first_pairs(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text", limit=3)
    prepared, _ = data(made, tmp_path / "run")
    assert decoded(prepared, "de") == PAIRS[:3] and len(prepared.bitext["en-clone"][0]) <= 3
    assert any("dropped: 1 pairs after the first 3" in line for line in prepared.record["bitext"]["de"]["summary"])


def test_a_pair_with_a_sentence_of_too_many_tokens_is_left_out(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text")
    german = with_settings(made, {"targets": [made.targets[1].model_dump(exclude_unset=True)]})
    whole, _ = data(german, tmp_path / "run")
    lengths = [max(len(whole.tokenizer.encode(side)) for side in pair) for pair in PAIRS]
    longest = sorted(lengths)[-2]
    shorter, _ = data(with_settings(german, {"bitext.max_tokens": longest}), tmp_path / "run")
    kept = [pair for pair, n in zip(PAIRS, lengths, strict=True) if n <= longest]
    assert decoded(shorter, "de") == kept and 0 < len(kept) < len(PAIRS)
    assert any(f"more than {longest} tokens" in line for line in shorter.record["bitext"]["de"]["summary"])


def test_data_are_fresh_until_a_file_changes_and_a_mistake_shows_before_the_text_is_read(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text")
    data(made, tmp_path / "run")
    assert not any(data(made, tmp_path / "run")[1].values())
    (tmp_path / "text" / "pairs.de").write_text("".join(pair[1].upper() + "\n" for pair in PAIRS))
    assert data(made, tmp_path / "run")[1] == {"tokens": False, "bitext": True, "lexicon": True}
    (tmp_path / "text" / "pairs.de").write_text("too few\n")
    with pytest.raises(LexiconError, match=r"pairs\.en has 4 lines, .*pairs\.de has 1"):
        data(made, tmp_path / "other")
    assert not (tmp_path / "other" / "data" / "tokens").exists()


def test_a_language_without_a_pair_left_is_an_error(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text", max_tokens=1)
    with pytest.raises(
        LexiconError, match=r"no pair of sentences of 'en-clone' is left to train on: left out: .* more than 1 tokens"
    ):
        data(made, tmp_path / "run")


def test_wrong_settings_are_told_together_with_their_places(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text")
    one = {"target": "dee", "path": "x.tmx"}
    wrong = with_settings(made, {"bitext": {"files": [one, one | {"target": "en-clone"}], "max_tokens": 23}})
    told = {".".join(map(str, key)): text for key, text in contradictions(wrong)}
    assert "did you mean 'de'" in told["bitext.files.0.target"]
    assert "is made from the source's" in told["bitext.files.1.target"]
    assert "23 is above pretrain.context - 2, 22" in told["bitext.max_tokens"]
    only_german = {"targets": [{"language": "de", "text": ["x"]}], "bitext": {}}
    (problem,) = [text for key, text in contradictions(with_settings(made, only_german)) if key[0] == "bitext"]
    assert "has no parallel text" in problem


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({}, "has no text"),
        ({"source_file": "a"}, "has no text"),
        ({"path": "a", "target_file": "b"}, "set either `path`, or"),
        ({"source_file": "a", "target_file": "a"}, "'a' is both sides"),
    ],
)
def test_an_entry_is_one_file_or_two(file: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BitextFile.model_validate({"target": "de", **file})


def test_a_plan_assumes_sizes_and_a_method_without_parallel_text_is_told_what_to_add(tmp_path: Path) -> None:
    made = recipe(tmp_path / "text", limit=1000)
    sizes = assumed_bitext(made)
    assert list(sizes) == ["en-clone", "de"]
    expected = min(TOKENS_PER_SENTENCE, made.pretrain.context - 2)
    assert all(side.lengths.tolist() == [expected] * 1000 for pair in sizes.values() for side in pair)
    assert assumed_bitext(with_settings(made, {"bitext": None})) == {}
    without, _ = data(with_settings(made, {"bitext": None}), tmp_path / "run")
    with pytest.raises(RecipeError, match="my_method trains on parallel text, and the recipe has none: add `bitext"):
        required_bitext(ArmInputs("joint", 0, made, without), "my_method")


def test_sentences_end_at_signs_and_blank_lines() -> None:
    text = 'A b.\nC "d!" e\nf (g?) 3.5 h…\n\nNo sign\n \n他说：“好。”再见！\n\nماذا؟ هيا! हाँ। ना'
    expected = [
        "A b.",
        'C "d!"',
        "e f (g?)",
        "3.5 h…",
        "No sign",
        "他说：“好。”",
        "再见！",
        "ماذا؟",
        "هيا!",
        "हाँ।",
        "ना",
    ]
    assert split_sentences(text) == expected
    assert sentence_keys("Ä  B. c") == {"ä b.", "c"} and not split_sentences(" \n ")
