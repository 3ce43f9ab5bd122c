from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tokenizers_in_memory as memory
import toys
from prealign.errors import CorpusError, LexiconError, TokenizerError
from prealign.events import Progress
from prealign.files import read_json
from prealign.lexicon import Lexicon
from prealign.methods.switching.switch import CodeSwitcher
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import RunFolder
from prealign.run.measures.modelling import evaluate_lm
from prealign.run.preparation.prepare import data_marks, prepare
from prealign.text import segment
from prealign.text.blocks import MixtureCounts, text_blocks
from prealign.text.clone import clone_language
from prealign.text.corpus import count_words
from prealign.text.tokenizers import train_tokenizer

SPLITS = ("train", "validation", "test")
DICTIONARY = "house\tHaus\nhouse\tGebäude\nwater\tWasser\nbread\tBrot\nriver\tFluß\nriver\tStrom\nunicorn\tEinhorn\n"


def corpus(folder: Path) -> dict[str, Any]:
    """Write 20 English documents, 20 German ones and a dictionary; return the sections of a recipe that reads them."""
    english = [f"{number}. {line}" for number in range(5) for line in memory.EN.splitlines() if line]
    german = [f"{number}. {line}" for number in range(10) for line in memory.DE.splitlines() if line]
    (folder / "en.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in english))
    (folder / "de.txt").write_text("\n".join(german), encoding="utf-8")
    (folder / "en-de.tsv").write_text(DICTIONARY, encoding="utf-8")
    return {
        "name": "tiny",
        "source": {"language": "en", "text": [str(folder / "en.jsonl")]},
        "targets": [
            {"language": "en-clone", "share": 0.25},
            {"language": "de", "text": [str(folder / "de.txt")], "documents": "line"},
        ],
        "split": {"validation": 2, "test": 3},
        "tokenizer": {"vocab_size": 500},
        "lexicon": {"files": [{"path": str(folder / "en-de.tsv"), "target": "de"}], "minimum_count": 3},
    }


def prepared(sections: dict[str, Any], run: Path) -> tuple[Prepared, dict[str, bool]]:
    return prepare(Recipe.model_validate(sections), RunFolder(run), lambda progress: None)


def complete(run: Path) -> set[str]:
    """The stages of the data that have their final names."""
    return {path.parent.name for path in run.glob("data/*/stage.json") if path.parent.suffix != ".partial"}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file and folder: equal if nothing was written."""
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Recipe, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    sections = corpus(folder)
    return prepared(sections, folder / "run")[0], Recipe.model_validate(sections), folder


# What is made


def documents(data: Prepared, language: str, split: str, *, source_ids: bool = False) -> dict[str, list[int]]:
    rows = data.tokens(language, split, source_ids=source_ids)
    return dict(zip(rows["document"], rows["input_ids"], strict=True))


def test_every_document_is_in_one_split_of_its_language(made: tuple[Prepared, Recipe, Path]) -> None:
    data, _, folder = made
    assert data.languages == ["en", "en-clone", "de"]
    lines = (folder / "en.jsonl").read_text().splitlines()
    english = {f"en.jsonl:{i}": json.loads(line)["text"] for i, line in enumerate(lines, start=1)}
    german = {f"de.txt:{i}": t for i, t in enumerate((folder / "de.txt").read_text("utf-8").splitlines(), start=1)}
    source = {name: ids for split in SPLITS for name, ids in documents(data, "en", split).items()}
    cloned = documents(data, "en-clone", "train", source_ids=True)
    target = {name: ids for split in SPLITS for name, ids in documents(data, "de", split).items()}
    assert not source.keys() & cloned.keys()  # what became clone text left the source
    assert {name: data.tokenizer.decode(ids) for name, ids in (source | cloned).items()} == english
    assert {name: data.tokenizer.decode(ids) for name, ids in target.items()} == german
    sizes = {language: [len(data.tokens(language, split)) for split in SPLITS] for language in data.languages}
    assert sizes == {"en": [11, 2, 3], "en-clone": [4, 2, 3], "de": [15, 2, 3]}


def test_a_part_of_the_documents_is_kept_and_the_others_are_counted(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    whole, _ = prepared(sections, tmp_path / "whole")
    part, _ = prepared({**sections, "split": {**sections["split"], "train": 8}}, tmp_path / "part")
    sizes = {language: [len(part.tokens(language, split)) for split in SPLITS] for language in part.languages}
    assert sizes == {"en": [6, 2, 3], "en-clone": [2, 2, 3], "de": [8, 2, 3]}
    assert part.record["left_out"] == {"en": 7, "de": 7}
    assert whole.record["left_out"] == {"en": 0, "de": 0}
    for language in part.languages:
        kept, there = (set(data.tokens(language, "train")["document"]) for data in (part, whole))
        assert kept < there
        for split in ("validation", "test"):
            assert part.tokens(language, split)["document"][:] == whole.tokens(language, split)["document"][:]


def test_a_clone_has_the_held_out_documents_of_its_source_in_twin_ids(made: tuple[Prepared, Recipe, Path]) -> None:
    data, _, _ = made
    clone = clone_language(data.tokenizer)
    for split in SPLITS:
        merged, twins = (documents(data, "en-clone", split, source_ids=m) for m in (True, False))
        assert {name: clone.map(ids).tolist() for name, ids in merged.items()} == twins
        assert (merged == documents(data, "en", split)) == (split != "train")
    assert data.vocab_size == clone.vocab_size == 2 * len(data.tokenizer) - 1


def test_sizes_are_recorded(made: tuple[Prepared, Recipe, Path]) -> None:
    data, _, _ = made
    assert list(data.record["corpus"]) == data.languages
    for language in data.languages:
        for split in SPLITS:
            merged = documents(data, language, split, source_ids=True)
            texts = [data.tokenizer.decode(ids) for ids in merged.values()]
            assert data.record["corpus"][language][split] == {
                "documents": len(texts),
                "tokens": sum(len(ids) for ids in merged.values()),
                "bytes": sum(len(text.encode()) for text in texts),
            }
    assert data.record["vocabulary"] == len(data.tokenizer) == 500


def test_the_lexicon_joins_the_clone_and_the_files_and_keeps_what_the_text_has(
    made: tuple[Prepared, Recipe, Path],
) -> None:
    data, _, _ = made
    counts = data.words
    assert (data.lexicon.source, data.lexicon.targets) == ("en", ("en-clone", "de"))
    house = data.lexicon.lookup("house")
    assert house is not None
    assert dict(house.translations) == {"en-clone": ("house",), "de": ("Haus", "Gebäude")}
    assert house.count == counts["house"] >= 3
    assert data.lexicon.lookup("unicorn") is None
    assert all(group.count and group.count >= 3 for group in data.lexicon)
    assert all(group.word[0].isalpha() for group in data.lexicon)
    frequent = {word for word, count in counts.items() if count >= 3 and word[0].isalpha()}
    assert {group.word for group in data.lexicon if "en-clone" in group.translations} == frequent
    assert data.record["lexicon"]["groups"] == len(data.lexicon)
    assert data.record["lexicon"]["coverage"] == data.lexicon.coverage(counts)
    assert 0 < data.record["lexicon"]["coverage"]["de"] < data.record["lexicon"]["coverage"]["en-clone"] < 1
    [reading] = data.record["lexicon"]["reading"]
    assert reading["target"] == "de"
    assert "7 entries kept" in reading["summary"]


def test_words_are_counted_on_source_training_text(made: tuple[Prepared, Recipe, Path]) -> None:
    data, _, _ = made
    counts = data.words
    training = [data.tokenizer.decode(ids) for ids in documents(data, "en", "train").values()]
    # Anna's and don't apart: there byte-level tokenizers begin a word at the apostrophe.
    found = Counter(word for text in training for word in re.findall(r"\w+|'\w+", text))
    assert counts == found
    assert len(found) > 60


def test_the_tokenizer_comes_back_as_it_was(made: tuple[Prepared, Recipe, Path]) -> None:
    data, _, _ = made
    assert data.eos == data.tokenizer.eos_token_id == 0
    text = "House, größer 房子\n\n  x"
    assert data.tokenizer.decode(data.tokenizer.encode(text)) == text


def test_tokens_are_counted_per_row(made: tuple[Prepared, Recipe, Path]) -> None:
    data, _, _ = made
    for language in data.languages:
        ids = [i for row in documents(data, language, "train").values() for i in row]
        assert data.token_counts(language).tolist() == np.bincount(ids, minlength=data.vocab_size).tolist()
    assert not (data.token_counts("en") * data.token_counts("en-clone")).any()


def test_mixtures_of_arms(made: tuple[Prepared, Recipe, Path]) -> None:
    data, recipe, _ = made
    mixture = data.mixture(recipe, None)
    assert (list(mixture.tokens), mixture.source, mixture.eos) == (["en", "en-clone", "de"], "en", data.eos)
    targets = recipe.model_copy(update={"mixture": recipe.mixture.model_copy(update={"languages": "targets"})})
    assert list(data.mixture(targets, None).tokens) == ["en-clone", "de"]
    merged = recipe.model_copy(update={"mixture": recipe.mixture.model_copy(update={"clone_ids": "merged"})})
    ids = [i for row in data.mixture(merged, None).tokens["en-clone"]["input_ids"] for i in row]
    assert max(ids) < len(data.tokenizer)


def test_held_out_words_are_not_in_the_training_lexicon(made: tuple[Prepared, Recipe, Path]) -> None:
    data, recipe, _ = made
    section = recipe.lexicon.model_copy(update={"held_out": 0.3, "coverage": 0.5})
    own = recipe.model_copy(update={"lexicon": section})
    words = [{group.word for group in part} for part in data.training_lexicon(own, 0)]
    everything = {group.word for group in data.lexicon}
    assert not words[0] & words[1]
    assert words[0] | words[1] < everything
    caseless = [len({word.lower() for word in part}) for part in (*words, everything)]
    assert caseless[1] == round(0.3 * caseless[2])
    assert caseless[0] == round(0.5 * (caseless[2] - caseless[1]))
    assert words != [{group.word for group in part} for part in data.training_lexicon(own, 1)]


def test_wrong_translations_are_for_training_alone(made: tuple[Prepared, Recipe, Path]) -> None:
    data, recipe, _ = made
    own = recipe.model_copy(update={"lexicon": recipe.lexicon.model_copy(update={"wrong": 0.5, "held_out": 0.2})})
    (wrong, held_out), (true, same) = data.training_lexicon(own, 0), data.true_lexicon(own, 0)
    assert held_out == same and wrong == true.shuffled(0.5, 0) != true
    assert all(group.translations == data.lexicon.lookup(group.word).translations for group in (*true, *held_out))


def test_a_run_has_nothing_but_what_is_named(made: tuple[Prepared, Recipe, Path]) -> None:
    folder, ends = made[2] / "run", {"recipe.yaml", "stage.json", "whole.json"}
    assert {path.name for path in folder.iterdir()} == {"data", "data.lock", "using"}
    assert {path.name: {inner.name for inner in path.iterdir()} for path in (folder / "data").iterdir()} == {
        "tokens": {"tokenizer", "en", "en-clone", "de", "words.json", "segmented-words.json", *ends},
        "lexicon": {"lexicon.jsonl", *ends},
    }


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[Progress] = []
    prepare(Recipe.model_validate(corpus(tmp_path)), RunFolder(tmp_path / "run"), told.append)
    assert [(progress.stage, progress.step, progress.steps) for progress in told] == [
        (stage, step, steps)
        for stage, steps in (("text", 2), ("tokens", 5), ("lexicon", 1))
        for step in range(steps + 1)
    ]


def test_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    memory.load("wordpiece").save_pretrained(tmp_path / "tokenizer")
    sections["tokenizer"] = {"path": str(tmp_path / "tokenizer")}
    data, _ = prepared(sections, tmp_path / "run")
    text = "The old house"
    assert data.tokenizer.encode(text) == memory.load("wordpiece").encode(text)
    assert data.eos == memory.load("wordpiece").eos_token_id
    assert data.vocab_size == 2 * len(data.tokenizer) - 3


# Fresh and stale


def test_data_are_made_once(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    first, new = prepared(sections, tmp_path / "run")
    again, anew = prepared(sections, tmp_path / "run")
    assert (new, anew) == ({"tokens": True, "lexicon": True}, {"tokens": False, "lexicon": False})
    assert again.record == first.record
    _, new = prepared({**sections, "seeds": [1, 2], "switch": {"ratio": 0.2}}, tmp_path / "run")
    assert not any(new.values())


@pytest.mark.parametrize(
    "change",
    [
        {"split": {"validation": 3, "test": 3}},
        {"split": {"validation": 2, "test": 3, "train": 9}},
        {"tokenizer": {"vocab_size": 480}},
        {"targets": [{"language": "en-clone", "share": 0.3}]},
        {"lexicon": {"minimum_count": 4}},
        {"lexicon": {"minimum_count": 3, "normalise": "arabic"}},
    ],
    ids=str,
)
def test_settings_that_decide_the_data_make_them_stale(tmp_path: Path, change: dict[str, Any]) -> None:
    sections = corpus(tmp_path)
    before = data_marks(Recipe.model_validate(sections))
    assert data_marks(Recipe.model_validate({**sections, **change})) != before


@pytest.mark.parametrize(
    "change",
    [{"held_out": 0.2}, {"wrong": 0.5}, {"coverage": 0.5}, {"inflect": True}, {"held_out": 0.5, "coverage": 0.1}],
    ids=str,
)
def test_settings_of_an_arm_do_not(tmp_path: Path, change: dict[str, float]) -> None:
    sections = corpus(tmp_path)
    before = data_marks(Recipe.model_validate(sections))
    changed = {**sections, "lexicon": {**sections["lexicon"], **change}, "pretrain": {"steps": 7}}
    assert data_marks(Recipe.model_validate(changed)) == before


@pytest.mark.parametrize("name", ["en.jsonl", "de.txt", "en-de.tsv", "tokenizer/tokenizer.json"])
def test_a_changed_file_makes_them_stale(tmp_path: Path, name: str) -> None:
    sections = corpus(tmp_path)
    memory.load("byte_bpe").save_pretrained(tmp_path / "tokenizer")
    recipe = Recipe.model_validate({**sections, "tokenizer": {"path": str(tmp_path / "tokenizer")}})
    before = data_marks(recipe)
    with (tmp_path / name).open("a") as file:
        file.write("\n")
    assert data_marks(recipe) != before


def test_signatures_name_the_same_data_by_what_is_in_them(tmp_path: Path) -> None:
    """Machines that unpacked the same text at other times must find each other's numbers comparable."""
    sections = corpus(tmp_path)
    here, german = prepared(sections, tmp_path / "here")[0], tmp_path / "de.txt"
    (tmp_path / "unpacked").mkdir()
    there = prepared(corpus(tmp_path / "unpacked"), tmp_path / "there")[0]
    assert here.mark != there.mark, "the paths are part of it"
    assert here.identity == there.identity
    assert here.identity["tok"].startswith(f"{here.record['vocabulary']}.")
    (tested, *_) = here.tokens("de", "test")["document"]
    lines = german.read_text(encoding="utf-8").splitlines()
    number = int(tested.rpartition(":")[2]) - 1
    lines[number] = " ".join(reversed(lines[number].split(" ")))
    german.write_text("\n".join(lines), encoding="utf-8")
    sections["tokenizer"] = {"path": str(tmp_path / "here" / "data" / "tokens" / "tokenizer")}
    other = prepared(sections, tmp_path / "other")[0]
    assert (other.tokenizer_folder / "tokenizer.json").read_bytes() == (
        here.tokenizer_folder / "tokenizer.json"
    ).read_bytes()
    assert here.identity != other.identity, "other test text in the same tokenizer"


def test_stale_data_are_replaced(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    first, _ = prepared(sections, tmp_path / "run")
    size = len(first.lexicon)
    clone_alone = {"targets": sections["targets"][:1], "lexicon": {"minimum_count": 10}}
    second, new = prepared({**sections, **clone_alone}, tmp_path / "run")
    assert all(new.values())
    assert second.lexicon.targets == ("en-clone",)
    assert 0 < len(second.lexicon) < size


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ({"lexicon": {"minimum_count": 4}}, {"lexicon"}),
        ({"en-de.tsv": DICTIONARY + "bread\tLaib\n"}, {"lexicon"}),
        ({"de.txt": "Brot und Wasser\n" * 30}, {"tokens", "lexicon"}),
        ({"split": {"validation": 3, "test": 3}}, {"tokens", "lexicon"}),
        ({"tokenizer": {"vocab_size": 480}}, {"tokens", "lexicon"}),
    ],
    ids=["lexicon", "dictionary", "text", "split", "tokenizer"],
)
def test_a_change_makes_the_stages_that_read_it_anew(tmp_path: Path, change: dict[str, Any], made: set[str]) -> None:
    sections = corpus(tmp_path)
    before, _ = prepared(sections, tmp_path / "run")
    files = {stage: stamps(before.folder / stage) for stage in ("tokens", "lexicon")}
    for key, value in change.items():
        if (tmp_path / key).exists():
            (tmp_path / key).write_text(value, encoding="utf-8")
        else:
            sections[key] = {**sections.get(key, {}), **value}
    after, new = prepared(sections, tmp_path / "run")
    assert {stage for stage, now in new.items() if now} == made
    assert {stage for stage in files if stamps(after.folder / stage) != files[stage]} == made
    assert not before.is_current() and after.is_current()
    from_nothing, _ = prepared(sections, tmp_path / "other")
    assert after.identity == from_nothing.identity and after.words == from_nothing.words
    assert after.lexicon_file.read_bytes() == from_nothing.lexicon_file.read_bytes()
    without_times = ({**data.record, "seconds": 0, "origin": None} for data in (after, from_nothing))
    assert next(without_times) == next(without_times)


def test_the_words_of_longest_match_are_part_of_the_tokens(tmp_path: Path) -> None:
    sections = chinese(tmp_path, segmenter="longest_match")
    (tmp_path / "en-de.tsv").write_text(DICTIONARY, encoding="utf-8")
    sections["targets"] += [{"language": "de", "text": [str(tmp_path / "de.txt")], "documents": "line"}]
    sections["lexicon"]["files"] += [{"path": str(tmp_path / "en-de.tsv"), "target": "de"}]
    data, _ = prepared(sections, tmp_path / "run")
    found = read_json(data.folder / "tokens" / "segmented-words.json")["zh"]
    (tmp_path / "en-de.tsv").write_text(DICTIONARY + "bread\tLaib\n", encoding="utf-8")
    assert prepared(sections, tmp_path / "run")[1] == {"tokens": False, "lexicon": True}, "German has spaces"
    (tmp_path / "en-zh.tsv").write_text(CHINESE + "price\t价格\n", encoding="utf-8")
    data, new = prepared(sections, tmp_path / "run")
    assert all(new.values())
    assert read_json(data.folder / "tokens" / "segmented-words.json")["zh"] != found


@pytest.mark.parametrize("when", [("text", 1), ("tokens", 0), ("tokens", 2), ("lexicon", 0)])
def test_an_attempt_that_was_killed_goes_on_from_what_is_complete(tmp_path: Path, when: tuple[str, int]) -> None:
    sections = corpus(tmp_path)
    recipe, run = Recipe.model_validate(sections), RunFolder(tmp_path / "run")

    def kill(progress: Progress) -> None:
        if (progress.stage, progress.step) == when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(recipe, run, kill)
    texts = {} if when[0] == "lexicon" else stamps(run.data / "tokens.partial" / "scratch" / "text")
    tokens = stamps(run.data / "tokens") if when[0] == "lexicon" else {}
    assert {name for name in texts if name.endswith("rows.arrow")} == {
        ("text", 1): {"en/rows.arrow"},
        ("lexicon", 0): set(),
    }.get(when, {"en/rows.arrow", "de/rows.arrow"})

    def look(progress: Progress) -> None:
        if (progress.stage, progress.step) == ("tokens", 1):
            assert texts.items() <= stamps(run.data / "tokens.partial" / "scratch" / "text").items()

    data, _ = prepare(recipe, run, look)
    assert tokens.items() <= stamps(run.data / "tokens").items()
    whole, _ = prepared(sections, tmp_path / "whole")
    assert (data.identity, data.words, data.lexicon) == (whole.identity, whole.words, whole.lexicon)
    assert {path.name for path in run.data.iterdir()} == {"tokens", "lexicon"}


def test_files_that_are_touched_or_copied_make_nothing_anew(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    data, _ = prepared(sections, tmp_path / "run")
    files = stamps(data.folder)
    for name in ("en.jsonl", "de.txt", "en-de.tsv"):
        os.utime(tmp_path / name, (1, 1))
        shutil.copy(tmp_path / name, tmp_path / "copy")
        (tmp_path / "copy").replace(tmp_path / name)
    again, new = prepared(sections, tmp_path / "run")
    assert not any(new.values()) and again.record == data.record and stamps(data.folder) == files


@pytest.mark.parametrize("name", ["en.jsonl", "de.txt", "en-de.tsv"])
def test_an_edit_that_keeps_size_and_time_makes_the_data_stale(tmp_path: Path, name: str) -> None:
    sections = corpus(tmp_path)
    data, _ = prepared(sections, tmp_path / "run")
    file, before = tmp_path / name, (tmp_path / name).stat()
    content = file.read_bytes()
    file.write_bytes(content.replace(b"a", b"o", 1))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert prepared(sections, tmp_path / "run")[1]["lexicon"] and not data.is_current()


# Errors


def test_a_failure_leaves_the_former_data(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    first, _ = prepared(sections, tmp_path / "run")
    with pytest.raises(TokenizerError):
        prepared({**sections, "tokenizer": {"vocab_size": 100}}, tmp_path / "run")
    again, new = prepared(sections, tmp_path / "run")
    assert not any(new.values())
    assert again.record == first.record


def test_a_failure_after_the_tokens_leaves_no_lexicon_of_other_tokens(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    first, _ = prepared(sections, tmp_path / "run")
    with pytest.raises(LexiconError):
        prepared({**sections, "tokenizer": {"vocab_size": 480}, "lexicon": {"minimum_count": 9999}}, tmp_path / "run")
    assert complete(tmp_path / "run") == {"tokens", "lexicon"} and not first.is_current()
    again, new = prepared(sections, tmp_path / "run")
    # The lexicon was not replaced, and the tokens that it was made of are as before.
    assert new == {"tokens": True, "lexicon": False} and again.identity == first.identity


def test_a_vocabulary_smaller_than_the_bytes_is_refused() -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.vocab_size 256 is too small: .*starts with 256 bytes"):
        train_tokenizer(iter(["a house"]), 256)


def test_a_tokenizer_without_eos_is_refused(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    tokenizer = memory.word_piece()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    sections["tokenizer"] = {"path": str(tmp_path / "tokenizer")}
    with pytest.raises(TokenizerError, match=r"has no EOS token.*add_special_tokens\({\"eos_token\""):
        prepared(sections, tmp_path / "run")
    assert not complete(tmp_path / "run")


def test_a_tokenizer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    sections = {**corpus(tmp_path), "tokenizer": {"path": str(tmp_path / "empty")}}
    with pytest.raises(TokenizerError, match=r"tokenizer\.path '.*empty' cannot be loaded"):
        prepared(sections, tmp_path / "run")


def test_a_lexicon_without_a_word_of_the_corpus_is_refused(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    (tmp_path / "en-de.tsv").write_text("Haus\thouse\nWasser\twater\nunicorn\tEinhorn\n")
    sections["targets"] = sections["targets"][1:]
    with pytest.raises(LexiconError, match=r"\(3 words\) with a translation into 'de' occurs 3 times in the en text"):
        prepared(sections, tmp_path / "run")
    assert complete(tmp_path / "run") == {"tokens"}


def test_senses_are_ordered_by_frequency_and_filtered_by_the_reverse_dictionary(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    text = (tmp_path / "de.txt").read_text(encoding="utf-8")
    frequent = Counter(re.findall(r"[A-Za-zäöüÄÖÜß]+", text)).most_common(1)[0][0]
    (tmp_path / "en-de.tsv").write_text(f"house\tHütte\nhouse\tHaus (n)\nhouse\t{frequent}\nhouse\tGebäude\n")
    (tmp_path / "de-en.tsv").write_text(f"Gebäude\thouse\n{frequent}\thouse\nHütte\thut\n")
    file = {"path": str(tmp_path / "en-de.tsv"), "target": "de", "reverse": str(tmp_path / "de-en.tsv")}
    sections["targets"] = sections["targets"][1:]
    sections["lexicon"] = {"files": [file], "minimum_count": 3, "sense_order": "frequency"}
    data, _ = prepared(sections, tmp_path / "run")
    assert [dict(group.translations) for group in data.lexicon] == [{"de": (frequent, "Gebäude")}]
    summary = data.record["lexicon"]["reading"][0]["summary"]
    for part in (
        "cleaned: 1 parenthesised notes",
        "100.0% of the source words were found",
        "de-en.tsv (tsv): 3 lines, 3 entries kept",
        "50.0% of the source words were found",
        "left out: 2 translations that",
        "translate back, such as house → Hütte; house → Haus",
    ):
        assert part in summary


def test_a_reverse_dictionary_that_goes_the_other_way_or_fits_nothing_is_refused_by_name(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    sections["targets"] = sections["targets"][1:]
    file = sections["lexicon"]["files"][0]
    file["reverse"] = file["path"]
    with pytest.raises(LexiconError, match=r"en-de.tsv: translates no word of .*en-de.tsv back.*from `de` to `en`"):
        prepared(sections, tmp_path / "run")
    words = list(dict.fromkeys(re.findall("[a-z]+", memory.EN)))
    assert len(words) > 20
    (tmp_path / "long.tsv").write_text("".join(f"{word}\t{word}x\n" for word in words))
    file |= {"path": str(tmp_path / "long.tsv"), "reverse": str(tmp_path / "long.tsv")}
    with pytest.raises(LexiconError, match=r"did you swap the columns.*from `de` to `en`"):
        prepared(sections, tmp_path / "run")


def test_what_the_dictionaries_have_and_the_lexicon_has_not_is_counted(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    sections["targets"] = sections["targets"][1:]
    accents = "cafe\u0301 is no cafe\u0301"
    accents += " de\u0301ja\u0300"  # in no dictionary
    (tmp_path / "en.jsonl").write_text((tmp_path / "en.jsonl").read_text() + json.dumps({"text": accents}) + "\n")
    more = "house\tHeim\nfree of charge\tumsonst\nwell-known\tbekannt\nzebra\tZebra\ncafé\tCafé\n"
    (tmp_path / "en-de.tsv").write_text(DICTIONARY + more, encoding="utf-8")
    sections["lexicon"] |= {"maximum_senses": 1}
    sections["split"] |= {"validation": 1, "test": 1, "seed": 1}
    data, _ = prepared(sections, tmp_path / "run")
    left_out = data.record["lexicon"]["left_out"]
    assert left_out == [
        "  left out: 3 words that the en text has fewer than 3 times, such as unicorn; zebra; café",
        "  left out: 2 phrases and words with signs: switching looks up single words, such as free of charge; well-known",
        "  left out: 2 words of the en text that the dictionaries have in another Unicode form, such as cafe\u0301",
        "  left out: 3 translations after the first 1, such as house → Gebäude; house → Heim; river → Strom",
    ]
    assert data.record["lexicon"]["groups"] == 4


def test_a_dictionary_of_two_columns_can_be_turned(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    sections["targets"] = sections["targets"][1:]
    straight, _ = prepared(sections, tmp_path / "run")
    lines = [line.split("\t") for line in DICTIONARY.splitlines()]
    (tmp_path / "de-en.tsv").write_text("".join(f"{german}\t{word}\n" for word, german in lines), encoding="utf-8")
    sections["lexicon"]["files"][0] |= {"path": str(tmp_path / "de-en.tsv"), "turned": True}
    turned, _ = prepared(sections, tmp_path / "other")
    assert [(g.word, g.translations) for g in turned.lexicon] == [(g.word, g.translations) for g in straight.lexicon]


def test_a_missing_dictionary_is_refused(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    (tmp_path / "en-de.tsv").unlink()
    with pytest.raises(LexiconError, match=r"en-de\.tsv"):
        prepared(sections, tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists(), "before the text is read"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("en.jsonl", b"", "every file is empty"),
        ("de.txt", b"\n \n", "every file is empty"),
        ("de.txt", "Straße".encode("latin1"), r"de\.txt: byte 4 is not UTF-8"),
        ("en.jsonl", b'{"text": "a"}\n{"text": 1}\n', r"en\.jsonl:2: expected an object"),
        ("de.txt", b"eins\nzwei\ndrei\n", r"3 documents \(de\.txt:1, de\.txt:2 …\) are too few"),
    ],
)
def test_bad_text_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    sections = corpus(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        prepared(sections, tmp_path / "run")
    assert not complete(tmp_path / "run")


def test_too_few_documents_are_told_by_language_and_by_what_they_are(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    (tmp_path / "de.txt").write_text("eins\nzwei\ndrei\n")
    with pytest.raises(CorpusError, match=r"^de: 3 documents .* hold out 2 .* and 3 for test.* or add text\.$"):
        prepared(sections, tmp_path / "run")
    sections["targets"] = [{"language": "de", "text": [str(tmp_path / "de.txt")]}]
    with pytest.raises(CorpusError, match=r"^de: 1 documents .* smaller \(`documents: line`"):
        prepared(sections, tmp_path / "run")
    with pytest.raises(CorpusError, match=r"^en: 20 documents .* smaller \(`documents: line`"):
        prepared(sections | {"split": {"validation": 2, "test": 17}}, tmp_path / "run")


def test_what_of_a_folder_is_not_read_is_shown_and_recorded(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.md").write_text("x")
    paragraphs = "".join(f"<p>{line}" for line in (tmp_path / "de.txt").read_text("utf-8").splitlines())
    (tmp_path / "text" / "de.html").write_text(f"<nav>Menu</nav>{paragraphs}", encoding="utf-8")
    sections["targets"][1]["text"] = [str(tmp_path / "text")]
    told: list[Progress] = []
    data, _ = prepare(Recipe.model_validate(sections), RunFolder(tmp_path / "run"), told.append)
    (note,) = (progress.note for progress in told if progress.note)
    assert note.startswith(f"{tmp_path / 'text'}: 1 of 2 files are not read (1 .md)")
    assert data.record["read"] == [note]
    assert sum(data.record["corpus"]["de"][split]["documents"] for split in SPLITS) == 20


def test_missing_text_is_refused(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    (tmp_path / "de.txt").unlink()
    with pytest.raises(CorpusError, match=r"no text at .*de\.txt"):
        prepared(sections, tmp_path / "run")


# Text without spaces

CHINESE = "house\t窗户\nhouse\t房子\nwater\t水\nriver\t河边\nbread\t面包\n"


def chinese(folder: Path, **target: Any) -> dict[str, Any]:
    """The corpus with Chinese for German."""
    sections = corpus(folder)
    lines = [f"{number}. {line}" for number in range(10) for line in memory.ZH.splitlines() if line]
    (folder / "zh.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "en-zh.tsv").write_text(CHINESE, encoding="utf-8")
    sections["targets"] = [{"language": "zh", "text": [str(folder / "zh.txt")], "documents": "line", **target}]
    sections["lexicon"] |= {"files": [{"path": str(folder / "en-zh.tsv"), "target": "zh"}]}
    return sections


def test_words_of_text_without_spaces_are_stored_and_counted(tmp_path: Path) -> None:
    sections = chinese(tmp_path, segmenter="longest_match")
    sections["lexicon"] |= {"sense_order": "frequency", "maximum_senses": 1}
    data, _ = prepared(sections, tmp_path / "run")
    assert data.record["segmenters"] == {"zh": "longest_match"}
    assert "words" not in data.tokens("en", "train").column_names
    rows = data.tokens("zh", "train")
    for ids, words in zip(rows["input_ids"], rows["words"], strict=True):
        assert words[:1] == [0]
        assert words == sorted(set(words))
        assert all(0 <= word < len(ids) for word in words)
    # The text has no 窗户. Counted in tokens it would have no 房子 either, but runs such as 老房子在河边.
    assert {group.word: group.translations["zh"] for group in data.lexicon}["house"] == ("房子",)


def test_perplexity_inside_the_lexicon_is_that_of_segmented_words(tmp_path: Path) -> None:
    sections = chinese(tmp_path, segmenter="longest_match")
    memory.load("deepseek").save_pretrained(tmp_path / "tokenizer")
    sections |= {"tokenizer": {"path": str(tmp_path / "tokenizer")}, "pretrain": {"context": 32}}
    data, _ = prepared(sections, tmp_path / "run")
    recipe = Recipe.model_validate(sections)
    scores, items = evaluate_lm(toys.llama(data.vocab_size), data, recipe, data.lexicon, lambda progress: None)
    assert {"perplexity_inside", "perplexity_outside"} <= {score.metric for score in scores if score.language == "zh"}
    rows = data.tokens("zh", "test")
    senses = {sense for group in data.lexicon for sense in group.translations["zh"]}
    inside = [
        sum(len(word) for word in np.split(np.array(ids), words[1:]) if data.tokenizer.decode(word) in senses)
        for ids, words in zip(rows["input_ids"], rows["words"], strict=True)
    ]
    assert items["zh"]["inside"]["tokens"] == inside
    assert sum(inside) > 0


def test_the_segmenter_is_part_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(**target: Any) -> str:
        return data_marks(Recipe.model_validate(chinese(tmp_path, **target)))["tokens"]

    monkeypatch.setattr(segment, "find_spec", lambda package: None)
    without = mark()
    assert mark(segmenter="whitespace") != without
    monkeypatch.setattr(segment, "find_spec", lambda package: package == "rjieba" or None)
    monkeypatch.setattr(segment, "version", lambda package: "1")
    first = mark()
    monkeypatch.setattr(segment, "version", lambda package: "2")
    assert len({without, first, mark()}) == 3


def test_switching_also_knows_the_inflected_forms_of_words_for_training(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    (tmp_path / "en-de.tsv").write_text("tree\tBaum\ndog\tHund\nhouse\tHaus\n", encoding="utf-8")
    more = [{"text": "A tree, a dog. Trees and dogs; the trees, the dogs barked."}] * 9
    with (tmp_path / "en.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in more))
    sections["targets"] = sections["targets"][1:]
    data, _ = prepared(sections, tmp_path / "run")
    training = Lexicon([group for group in data.lexicon if group.word != "tree"], source="en", targets=["de"])
    plain, none = data.switching_lexicon(Recipe.model_validate(sections), training)
    assert (plain, none) == (training, {})
    sections["lexicon"]["inflect"] = True
    made, sizes = data.switching_lexicon(Recipe.model_validate(sections), training)
    counts = data.words
    assert {group.word for group in made} - {group.word for group in training} == {
        "dogs"
    }  # not trees: tree is held out
    assert sizes == {"inflected": {"entries": 1, "words": counts["dogs"]}}
    text = data.tokenizer.encode("a dog, Dogs, dogs and trees")
    switched = CodeSwitcher(data.tokenizer, made, ratio=1).switch(text)
    assert data.tokenizer.decode(switched.input_ids) == "a Hund, Hund, Hund and trees"


def test_arabic_words_are_found_without_their_vowel_signs(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    lines = [f"{number} {memory.AR}".replace("\n", " ") for number in range(20)]
    (tmp_path / "ar.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "ar-de.tsv").write_text("البَيْت\tHaus\nالمَاء\tWasser\nنَجْم\tStern\n", encoding="utf-8")
    sections["source"] = {"language": "ar", "text": [str(tmp_path / "ar.txt")], "documents": "line"}
    sections["targets"] = sections["targets"][1:]
    sections["lexicon"]["files"][0]["path"] = str(tmp_path / "ar-de.tsv")
    with pytest.raises(LexiconError, match="no word of the lexicon"):
        prepared(sections, tmp_path / "run")
    sections["lexicon"]["normalise"] = "arabic"
    data, _ = prepared(sections, tmp_path / "run")
    assert {group.word for group in data.lexicon} == {"البَيْت", "المَاء"}
    made, sizes = data.switching_lexicon(Recipe.model_validate(sections), data.lexicon)
    assert {group.word for group in made if "respelled" in group.origin} == {"البيت", "الماء"}
    assert sizes["respelled"]["entries"] == 2

    # Vowel signs in the text as well: byte-level pre-tokenizers part them from their letters.
    vocalised = [line.replace("البيت", "البَيْت").replace("الماء", "المَاء") for line in lines]
    assert vocalised != lines
    (tmp_path / "ar.txt").write_text("\n".join(vocalised), encoding="utf-8")
    data, _ = prepared(sections, tmp_path / "run")
    assert {group.word for group in data.lexicon} == {"البَيْت", "المَاء"}
    assert "البَيْت" in data.words


def test_special_tokens_written_in_a_text_are_characters_and_counted(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    sections["lexicon"]["minimum_count"] = 1
    lines = (tmp_path / "de.txt").read_text("utf-8").splitlines()
    written = [f"{line} Das <|endoftext|> Haus" for line in lines]
    (tmp_path / "de.txt").write_text("\n".join(written), encoding="utf-8")
    told: list[Progress] = []
    data, _ = prepare(Recipe.model_validate(sections), RunFolder(tmp_path / "run"), told.append)
    (note,) = (progress.note for progress in told if progress.note)
    assert note.startswith(
        "de: 20 special tokens are written in the text (<|endoftext|> 20 times); they are read as char"
    )
    assert data.record["read"] == [note]
    for split in SPLITS:
        for ids in data.tokens("de", split)["input_ids"]:
            assert data.eos not in ids
            assert "<|endoftext|> Haus" in data.tokenizer.decode(ids)
    counted = count_words(data.tokens("de", "train"), data.tokenizer)
    assert "<|endoftext|>" not in counted and counted["endoftext"] == 15


def test_documents_of_a_tokenizer_with_bos_begin_with_it(tmp_path: Path) -> None:
    sections = corpus(tmp_path)
    tokenizer = memory.metaspace_bpe()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    sections["tokenizer"] = {"path": str(tmp_path / "tokenizer"), "bos": True}
    recipe = Recipe.model_validate(sections)
    data, _ = prepare(recipe, RunFolder(tmp_path / "run"), lambda _: None)
    assert (data.bos, data.before) == (tokenizer.bos_token_id, tokenizer.bos_token_id) and data.bos != data.eos
    counts = MixtureCounts()
    documents = [ids.tolist() for ids, _ in data.mixture(recipe, None).epoch(0, 0, counts)]
    assert all(own[0] == data.bos and own[-1] == data.eos and data.bos not in own[1:] for own in documents)
    assert sum(map(len, documents)) == sum(map(data.training_size, data.languages))
    blocks = text_blocks(data.tokens("de", "validation"), blocks=2, context=16, eos=data.eos, bos=data.bos)
    assert blocks["input_ids"][0][0] == data.bos
    sections["tokenizer"].pop("bos")
    without, _ = prepare(Recipe.model_validate(sections), RunFolder(tmp_path / "other"), lambda _: None)
    assert (without.bos, without.before) == (None, without.eos)
