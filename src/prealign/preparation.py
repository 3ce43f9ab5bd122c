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
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset, concatenate_datasets
from transformers import AutoTokenizer

from prealign import __version__
from prealign.dictionaries import (
    count_targets,
    joined,
    load_segmenters,
    make_lexicon,
    read_dictionaries,
    read_tests,
    readings_of_tests,
    tested_words,
)
from prealign.lexicon import Lexicon
from prealign.lexicon.asked import AskedWords
from prealign.lexicon.formats.dictd import dictionary_files
from prealign.lexicon.forms import INFLECTED, RESPELLED, inflected, respelled
from prealign.lexicon.normalise import key_of
from prealign.packing import Mixture, token_shares
from prealign.processes import Pool, Spread
from prealign.recipe import Recipe, SourceText, TargetText
from prealign.runfolder import RunFolder, alone_in, file_stats, fingerprint, finished, read_json, run_stage, write_json
from prealign.teaching import FACTS, fact_templates, split_names, teach
from prealign.text.arrow import load_arrow
from prealign.text.clone import clone_language
from prealign.text.corpus import (
    SPLITS,
    count_segmented,
    count_words,
    load_text,
    split_documents,
    tokenise_splits,
)
from prealign.text.extension import extend_tokenizer
from prealign.text.facts import Question, load_questions
from prealign.text.languages import is_clone
from prealign.text.parallel import read_sentences
from prealign.text.segment import segmenter_version, target_segmenters
from prealign.text.sources import Tell, source_files
from prealign.text.tokenizers import balanced_texts, get_tokenizer, written
from prealign.text.words import Tokenizer
from prealign.training import OnProgress, Progress

_NEW_TOKENS = "new-tokens.json"


@dataclass(frozen=True)
class Prepared:
    """The `data` folder of a run, read as needed."""

    folder: Path
    record: dict[str, Any]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of all languages."""
        return AutoTokenizer.from_pretrained(self.folder / "tokenizer")

    @cached_property
    def new_tokens(self) -> list[list[int]]:
        """What each token that the run added stood for, in ids of the tokenizer before; none without `tokenizer.extend`."""
        path = self.folder / _NEW_TOKENS
        return read_json(path) if path.exists() else []

    @cached_property
    def lexicon(self) -> Lexicon:
        """The whole lexicon; an arm takes its part by seed."""
        return Lexicon.load(self.folder / "lexicon.jsonl")

    @cached_property
    def tests(self) -> Lexicon:
        """The test dictionaries, whose words are in no lexicon of training."""
        path = self.folder / "tests.jsonl"
        return Lexicon.load(path) if path.exists() else Lexicon([], source=self.languages[0], targets=[])

    def tested_words(self, recipe: Recipe) -> dict[str, AskedWords]:
        """Return what is asked for of each test dictionary, by target language."""
        if not self.tests.targets:
            return {}
        counts, counted = (read_json(self.folder / name) for name in ("words.json", "target-words.json"))
        return tested_words(recipe, self.tests, counts, counted)

    @property
    def mark(self) -> str:
        """Fingerprint of everything in the folder."""
        return self.record["fingerprint"]

    @cached_property
    def identity(self) -> dict[str, str]:
        """What ends every signature: the version, and the tokenizer: its size, and a hash of it and of what it tests.

        That is the lexicon, the questions and the test text. Files of the same content give the same on any machine, where
        `mark` does not: it goes by their times.
        """
        content = xxhash.xxh3_64()
        for name in ("tokenizer/tokenizer.json", "lexicon.jsonl", "tests.jsonl", "facts.jsonl"):
            path = self.folder / name
            content.update(path.read_bytes() if path.exists() else b"")
        for language in self.languages:
            for document in self.tokens(language, "test").with_format("numpy")["input_ids"]:
                content.update(np.append(document, len(document)).astype(np.int64).tobytes())
        return {"tok": f"{self.record['vocabulary']}.{content.hexdigest()[:8]}", "v": __version__}

    @property
    def languages(self) -> list[str]:
        """The source language, then the targets."""
        return list(self.record["corpus"])

    @property
    def eos(self) -> int:
        """The document separator."""
        return int(self.tokenizer.eos_token_id)

    @property
    def vocab_size(self) -> int:
        """Embedding rows needed: the clone's twins count."""
        clone = any(is_clone(language) for language in self.languages)
        return clone_language(self.tokenizer).vocab_size if clone else len(self.tokenizer)

    @cached_property
    def questions(self) -> list[Question]:
        """What is asked about the made-up facts."""
        return load_questions(self.folder / "facts.jsonl")

    def tokens(self, language: str, split: str, *, merged: bool = False) -> Dataset:
        """Return tokenised documents; `merged` gives a clone's in source ids."""
        folder = self.folder / "tokens" / language / (f"{split}-merged" if merged and is_clone(language) else split)
        return load_arrow(folder)

    def training_tokens(self, language: str, *, merged: bool = False) -> Dataset:
        """Return all that is trained on: the training documents, then those of made-up facts."""
        known = self.record.get("knowledge", {"text": {}})["text"]
        splits = ["train", *([FACTS] if language in known else [])]
        return concatenate_datasets([self.tokens(language, split, merged=merged) for split in splits])

    def training_size(self, language: str) -> int:
        """Return the tokens of `training_tokens`, with one EOS a document."""
        facts = self.record.get("knowledge", {"text": {}})["text"].get(language)
        parts = [self.record["corpus"][language]["train"], *([facts] if facts else [])]
        return sum(part["tokens"] + part["documents"] for part in parts)

    def token_counts(self, language: str) -> np.ndarray:
        """Return how often each embedding row (V,) occurs in a language's training text."""
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        for row in self.training_tokens(language).with_format("numpy"):
            counts += np.bincount(row["input_ids"], minlength=self.vocab_size)
        return counts

    def true_lexicon(self, recipe: Recipe, seed: int) -> tuple[Lexicon, Lexicon]:
        """Return the dictionary's words that both stages of a seed may use, and those held out, rightly translated."""
        rest, held_out = split_names(self.lexicon)[0].split(recipe.lexicon.held_out, seed)
        return rest.sample(recipe.lexicon.coverage, seed), held_out

    def training_lexicon(self, recipe: Recipe, seed: int) -> tuple[Lexicon, Lexicon]:
        """Return the same, the words for training with the recipe's wrong translations, and with the facts' names."""
        words, held_out = self.true_lexicon(recipe, seed)
        return words.shuffled(recipe.lexicon.wrong, seed).merge(split_names(self.lexicon)[1]), held_out

    def switching_lexicon(self, recipe: Recipe, training: Lexicon) -> tuple[Lexicon, dict[str, dict[str, int]]]:
        """Return the words for training with the forms that the recipe adds, and how many of each origin: entries, and
        the words of the source's text that they are.
        """
        section, counts = recipe.lexicon, read_json(self.folder / "words.json")
        added: dict[str, Lexicon] = {}
        whole = self.lexicon.merge(self.tests)  # a word that is tested is nobody's form, and has none
        if section.inflect:
            added[INFLECTED] = inflected(training, whole, counts, section.minimum_count)
        if key := key_of(section.normalise, self.lexicon.source):
            added[RESPELLED] = respelled(training, whole, counts, key)
        sizes = {
            name: {"entries": len(forms), "words": sum(form.count or 0 for form in forms)}
            for name, forms in added.items()
        }
        return reduce(Lexicon.merge, added.values(), training), sizes

    def mixture(self, recipe: Recipe) -> Mixture:
        """Return the training mixture of an arm, unswitched."""
        source, *targets = self.languages
        chosen = targets if recipe.mixture.languages == "targets" else [source, *targets]
        merged = recipe.mixture.clone_ids == "merged"
        tokens = {language: self.training_tokens(language, merged=merged) for language in chosen}
        sizes = {language: self.training_size(language) for language in chosen}
        shares = token_shares(sizes, recipe.mixture.temperature, recipe.mixture.weights)
        return Mixture(tokens=tokens, source=source, eos=self.eos, shares=shares)


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
        "vocabulary": len(tokenizer),
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
