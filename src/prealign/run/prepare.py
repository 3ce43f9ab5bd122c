"""What all arms of a run share: tokenizer, tokenised text of every language, and the lexicon.

1. Read the text of source and targets and hold out documents.
2. Load the tokenizer, and extend it if the recipe says so, or train a byte-level BPE on all training text.
3. Tokenise; write a clone's documents in twin ids, and beside those of scripts without spaces where their words begin.
4. Count the source's words; join the clone's dictionary and the files' into one lexicon of the words frequent enough.
5. Refuse a lexicon that knows no word of the corpus.
6. Keep the words of test dictionaries out of the lexicon, and note how often the targets' text has each word.
7. Write made-up facts (`knowledge`) as training text of their own, their questions, and their names into the lexicon.

Tokenizer, word counts, dictionary and the split of its words are made without the facts, so that they are the same with
and without them; a fact's names are thus several subwords long.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from prealign import __version__
from prealign.evaluation.knowledge.teaching import fact_templates, teach
from prealign.events import OnProgress, Progress
from prealign.files import write_json
from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.lexicon.formats.dictd import dictionary_files
from prealign.recipe.sections import Recipe, SourceText, TargetText
from prealign.run.data import _NEW_TOKENS, Prepared
from prealign.run.dictionaries import (
    count_targets,
    joined,
    load_segmenters,
    make_lexicon,
    read_dictionaries,
    read_tests,
    readings_of_tests,
    tested_words,
)
from prealign.run.folder import RunFolder, alone_in, file_stats, fingerprint, finished, run_stage
from prealign.text.arrow import load_arrow
from prealign.text.corpus import (
    SPLITS,
    count_segmented,
    count_special,
    count_words,
    load_text,
    split_documents,
    tokenise_splits,
)
from prealign.text.extension import extend_tokenizer
from prealign.text.parallel import read_sentences
from prealign.text.segment import segmenter_version, target_segmenters
from prealign.text.sources import Tell, source_files
from prealign.text.tokenizers import balanced_texts, get_tokenizer, written
from prealign.text.words import Tokenizer, rows
from prealign.workers import Pool, Spread


def prepare(recipe: Recipe, run: RunFolder, on_progress: OnProgress) -> tuple[Prepared, bool]:
    """Make the `data` folder, or find it fresh. Returns it, and whether it was made now."""
    for section in recipe.evaluate.sentences:
        read_sentences(section, recipe.source.language)  # a mistake in them must not show after hours of training
    mark = data_fingerprint(recipe)
    with alone_in(run.data, patient=True):
        record = finished(run.data, mark)
        fresh = record is not None
        if record is None:
            with Pool(recipe.processes) as pool:
                record = run_stage(run.data, mark, lambda folder: _prepare(recipe, folder, on_progress, pool.map))
    return Prepared(run.data, record), not fresh


def data_fingerprint(recipe: Recipe) -> str:
    """Fingerprint of the settings and files that decide the `data` folder."""
    lexicon = recipe.lexicon.changes(without=("coverage", "held_out", "wrong", "inflect"))
    files = [path for text in (recipe.source.text, *(t.text for t in recipe.targets)) for path in source_files(text)]
    dictionaries = [Path(path) for file in recipe.lexicon.files for path in (file.path, file.reverse) if path]
    files += [file for path in dictionaries for file in dictionary_files(path)]
    files += [Path(recipe.tokenizer.path)] if recipe.tokenizer.path else []
    sections = [s.changes() for s in (recipe.source, *recipe.targets, recipe.split, recipe.tokenizer)]
    # Not the setting: `auto` depends on what is installed, and another version may cut in other places.
    segmenters = {language: segmenter_version(name) for language, name in target_segmenters(recipe.targets).items()}
    rest: list[Any] = [segmenters] if segmenters else []
    rest += [recipe.knowledge.changes()] if recipe.knowledge else []
    tests = [file.changes() for file in recipe.evaluate.dictionaries]
    paths = [file for test in recipe.evaluate.dictionaries for file in dictionary_files(Path(test.path))]
    rest += [tests, file_stats(paths)] if tests else []
    files += [Path(recipe.knowledge.templates)] if recipe.knowledge and recipe.knowledge.templates else []
    return fingerprint(__version__, sections, lexicon, file_stats(files), *rest)


def _prepare(recipe: Recipe, folder: Path, on_progress: OnProgress, spread: Spread) -> dict[str, Any]:
    began = time.monotonic()

    def tell(step: int) -> None:
        on_progress(Progress("prepare", step, 4, 0, time.monotonic() - began))

    templates = fact_templates(recipe)  # first: it is read in no time, and a mistake in it is told in no time
    dictionaries, read = read_dictionaries(recipe), read_tests(recipe)
    tests = joined(read, recipe.source.language)
    segmenters = load_segmenters(recipe, dictionaries)
    read_of: list[str] = []
    text, left_out = _read_text(recipe, folder / "text", read_of.append)
    for said in read_of:
        on_progress(Progress("prepare", 0, 4, note=said))
    tell(1)
    tokenizer, told = _tokenizer(recipe, text, folder)
    tell(2)
    corpus = {
        language: tokenise_splits(splits, tokenizer, folder / "tokens" / language, segmenters.get(language), spread)
        for language, splits in text.items()
    }
    for said in _special_tokens(text, tokenizer, spread):
        on_progress(Progress("prepare", 2, 4, note=said))
        read_of.append(said)
    counted = {language: count_segmented(text[language]["train"], own, spread) for language, own in segmenters.items()}
    shutil.rmtree(folder / "text")
    tell(3)
    written_in = load_arrow(folder / "tokens" / recipe.source.language / "train")
    counts = count_words(written_in, tokenizer, spread=spread)
    reading_of_tests = readings_of_tests(recipe, read, counts)
    counted = count_targets(recipe, tokenizer, counted, folder / "tokens", spread)
    made = make_lexicon(recipe, dictionaries, tokenizer, counts, counted, tests)
    lexicon = whole = made.lexicon
    knowledge = dict[str, Any]()
    if templates:
        names, knowledge = teach(recipe, templates, tokenizer, {*counts, *(g.word for g in tests)}, segmenters, folder)
        whole = lexicon.merge(names)
    whole.save(folder / "lexicon.jsonl")
    write_json(folder / "words.json", counts)
    tested = _test(recipe, tests, counts, counted, folder) if tests.targets else []
    tell(4)
    return {
        **knowledge,
        "seconds": time.monotonic() - began,
        "corpus": corpus,
        "segmenters": {language: segmenter.name for language, segmenter in segmenters.items()},
        "left_out": left_out,
        **({"read": read_of} if read_of else {}),
        "lexicon": {
            "groups": len(lexicon),
            "coverage": lexicon.coverage(counts),
            "reading": made.reading,
            "left_out": made.left_out,
        },
        **(
            {"tests": {"kept_out": made.kept_out, "reading": reading_of_tests, "dictionaries": tested}}
            if tested
            else {}
        ),
        "vocabulary": rows(tokenizer),
        "tokenizer": told,
    }


def _tokenizer(recipe: Recipe, text: dict[str, dict[str, Dataset]], folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Make and save the tokenizer; return it, how many tokens are new, and what it makes of held-out text."""
    section = recipe.tokenizer
    own = {language: splits for language, splits in text.items() if not is_clone(language)}
    training = {language: splits["train"]["text"] for language, splits in own.items()}
    learned_on = balanced_texts(training, section.temperature)
    tokenizer = get_tokenizer(section, learned_on, trust_remote_code=recipe.model.trust_remote_code)
    base, pieces = None, list[list[int]]()
    if section.extend:
        source = training.pop(recipe.source.language)
        base = tokenizer
        tokenizer, pieces = extend_tokenizer(
            base, section.extend, source, lambda: balanced_texts(training, section.temperature)
        )
        write_json(folder / _NEW_TOKENS, pieces)
    tokenizer.save_pretrained(folder / "tokenizer")
    held_out = {language: [*splits["validation"]["text"], *splits["test"]["text"]] for language, splits in own.items()}
    return tokenizer, {
        "new_tokens": len(pieces),
        "held_out": {language: written(texts, language, tokenizer, base) for language, texts in held_out.items()},
    }


def _special_tokens(text: dict[str, dict[str, Dataset]], tokenizer: Tokenizer, spread: Spread) -> Iterator[str]:
    """Say for each language how many special tokens are written in its text."""
    for language, splits in text.items():
        found = sum((count_special(own, tokenizer, spread) for own in splits.values()), Counter[str]())
        if found:
            such = ", ".join(f"{token} {count:,} times" for token, count in found.most_common(3))
            yield (
                f"{language}: {found.total():,} special tokens are written in the text ({such}); they are read as "
                "characters, and do not separate documents"
            )


def _test(
    recipe: Recipe, tests: Lexicon, counts: dict[str, int], counted: dict[str, dict[str, int]], folder: Path
) -> list[dict[str, Any]]:
    """Keep what evaluation needs of the test dictionaries; return the data record's entries."""
    tests.save(folder / "tests.jsonl")
    write_json(folder / "target-words.json", {language: counted[language] for language in tests.targets})
    found = tested_words(recipe, tests, counts, counted)
    return [
        {"target": language, "words": own.words, "asked": len(own.asked), "asked_back": len(own.asked_back)}
        | {"pairs": len(own.pairs), "dropped": own.dropped, "summary": own.text}
        for language, own in found.items()
    ]


def _read_text(recipe: Recipe, cache: Path, tell: Tell) -> tuple[dict[str, dict[str, Dataset]], dict[str, int]]:
    """Return the text of every language and split, and how many documents `split.train` left out.

    A clone shares the source's held-out documents; what it could have had is counted at the source.
    """
    clone = next((t for t in recipe.targets if t.is_clone), None)
    sizes: dict[str, Any] = recipe.split.model_dump()

    def read(own: SourceText | TargetText, share: float = 0.0) -> tuple[Dataset, dict[str, list[int]]]:
        rows = load_text(own.text, own.documents, cache / own.language, tell)
        whose: dict[str, Any] = {"language": own.language, "documents": own.documents}
        return rows, split_documents(rows["document"], **sizes, **whose, clone_share=share)

    source = recipe.source.language
    rows, parts = read(recipe.source, clone.share if clone else 0.0)
    left_out = {source: len(parts["left_out"])}
    text = {source: {name: rows.select(parts[name]) for name in SPLITS}}
    for target in recipe.targets:
        if target.is_clone:
            text[target.language] = {n: rows.select(parts["clone" if n == "train" else n]) for n in SPLITS}
        else:
            own, own_parts = read(target)
            text[target.language] = {name: own.select(own_parts[name]) for name in SPLITS}
            left_out[target.language] = len(own_parts["left_out"])
    return text, left_out
