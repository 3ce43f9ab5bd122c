"""Preparation of the data that all arms of a run share, in stages that meet through files (`prealign.run.folder`).

1. Read dictionaries, templates and sentences first: a mistake in them fails before the text is read.
2. Stage `tokens`: write the text of all languages as token ids, the tokenizer, and word counts
   (`prealign.run.preparation.tokens`).
3. Stage `bitext`, if the recipe has that section: write its parallel text as token ids (`prealign.run.preparation.bitext`).
4. Stage `lexicon`: join the clone's dictionary and those of files, keep words that are frequent in the source's text,
   remove words of test dictionaries and their answers. Refuse a lexicon without words of the text.
5. Stage `facts`, if the recipe has `knowledge`: write made-up facts as training text, questions about them, and a
   lexicon with their names.

A stage runs again if its settings, its input files or an earlier stage changed. A changed dictionary therefore does not
tokenise the text again, except for the segmenter longest_match, which uses its words. Tokenizer, word counts and
dictionary do not depend on the facts: they are the same with and without them, and names of facts have several
subwords.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from prealign import __version__
from prealign.contents import Contents, hash_contents
from prealign.errors import RunFolderError
from prealign.evaluation.retrieval.sentence_files import read_sentences
from prealign.evaluation.retrieval.strata import stratum_sizes
from prealign.events import OnProgress, notes, step_counter
from prealign.files import read_json, write_json
from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.lexicon.formats import dictionary_files
from prealign.recipe.sections import LexiconFile, Recipe, SourceText, TargetText
from prealign.recipe.templates import Templates, read_templates
from prealign.run.data import LEXICON, SEGMENTED_WORDS, TARGET_WORDS, TESTS, TOKENIZER, WORDS, Prepared
from prealign.run.due import Stage, due_stages
from prealign.run.folder import RunFolder, fingerprint, recorded, run_stage
from prealign.run.locks import alone_in, other_users
from prealign.run.preparation.bitext import Texts, bitext_files, make_bitext, read_bitext
from prealign.run.preparation.dictionaries import (
    count_targets,
    counted_targets,
    joined,
    load_segmenters,
    make_lexicon,
    read_dictionaries,
    readings_of_tests,
    tested_words,
)
from prealign.run.preparation.tokens import make_tokens
from prealign.run.provenance import changed_settings, with_origin
from prealign.text.arrow import load_arrow
from prealign.text.corpus import SPLITS, count_words
from prealign.text.facts.corpus import teach
from prealign.text.segment import Segmenter, segmenter_version, target_segmenters
from prealign.text.sources import source_files
from prealign.text.words import Tokenizer
from prealign.workers import Pool, Spread


def prepare(
    recipe: Recipe, run: RunFolder, on_progress: OnProgress, command: str = ""
) -> tuple[Prepared, dict[str, bool]]:
    """Run the stages of `RUN/data` that are not fresh. Returns the data, and for each stage whether it ran now.

    command: the command line, for the provenance of the stages. Raises PrealignError for files that cannot be read or do
    not fit the recipe, RunFolderError if another command uses data of other settings.
    """
    for section in recipe.evaluate.sentences:
        read_sentences(section, recipe.source.language)  # fail here, not after hours of training
    with alone_in(run.data, patient=True):
        marks = data_marks(recipe, run.contents)
        due = _due(recipe, run, marks)
        for stage, reason in due.items():
            if reason:
                notes(stage, on_progress)(reason)
        if due:
            inputs = _read_inputs(recipe, bitext="bitext" in due)
            with Pool(recipe.processes, run.data) as pool:
                stages = _Stages(recipe, inputs, run.data, on_progress, pool.map)
                for stage in due:
                    tell = notes(stage, on_progress)
                    run_stage(run.data / stage, marks[stage], partial(stages.work, stage, command), tell=tell)
        prepared = Prepared.read(run.data, marks)
        run.use_data()
    assert prepared is not None, "no other process replaces stages under the lock"
    return prepared, {stage: stage in due for stage in marks}


def _due(recipe: Recipe, run: RunFolder, marks: dict[str, str]) -> dict[str, str]:
    """Return the stages that are due, with reasons. RunFolderError if others use data of other settings."""
    stages = {stage: Stage(run.data / stage, mark) for stage, mark in marks.items()}
    due = due_stages(stages, marks, lambda _, folder: changed_settings(folder, recipe, of_data=True))
    outdated = [stage for stage in due if recorded(run.data / stage).get("fingerprint") not in (None, marks[stage])]
    if outdated and (users := other_users(run.root)):
        raise RunFolderError(
            f"{run.data / outdated[0]}: {', '.join(users)} use{'s' if len(users) == 1 else ''} these data, and this command "
            f"would replace them ({due[outdated[0]]}). Wait for it to end, or choose another run folder with --out."
        )
    return due


def data_marks(recipe: Recipe, contents: Contents = hash_contents) -> dict[str, str]:
    """Return the fingerprint of each stage, from its settings, its input files and the previous stage.

    contents: function that hashes files, such as `RunFolder.contents`.
    """
    texts: list[SourceText | TargetText] = [recipe.source, *recipe.targets]
    files = [path for text in texts for path in source_files(text.text)]
    files += [Path(recipe.tokenizer.path)] if recipe.tokenizer.path else []
    settings = [section.changes() for section in (*texts, recipe.split, recipe.tokenizer)]
    # The version, not the setting: `auto` depends on installed packages, and versions may segment differently.
    segmenters = {language: segmenter_version(name) for language, name in target_segmenters(recipe.targets).items()}
    known = [file for file in recipe.lexicon.files if segmenters.get(file.target) == "longest_match"]
    words = (
        [[file.changes(without=("reverse",)) for file in known], contents(_dictionary_files(known))] if known else []
    )
    marks = {"tokens": fingerprint(__version__, settings, contents(files), segmenters, *words)}
    if recipe.bitext:
        sets = recipe.evaluate.sentences
        marks["bitext"] = fingerprint(
            marks["tokens"],
            recipe.bitext.changes(),
            recipe.bitext.longest(recipe.pretrain.context),
            contents(bitext_files(recipe.bitext)),
            [section.changes() for section in sets],
            contents([Path(path) for section in sets for path in section.files.values()]),
        )
    lexicon = recipe.lexicon.changes(without=("coverage", "held_out", "wrong", "inflect"))
    tests = recipe.evaluate.dictionaries
    test_files = [path for test in tests for path in dictionary_files(Path(test.path))]
    marks["lexicon"] = fingerprint(
        marks.get("bitext", marks["tokens"]),  # the fingerprint of the last stage covers all stages
        lexicon,
        contents([*_dictionary_files(recipe.lexicon.files), *_reverse_files(recipe.lexicon.files)]),
        [test.changes() for test in tests],
        *([recipe.evaluate.strict] if tests else []),
        contents(test_files),
    )
    if recipe.knowledge:
        templates = [Path(recipe.knowledge.templates)] if recipe.knowledge.templates else []
        marks["facts"] = fingerprint(marks["lexicon"], recipe.knowledge.changes(), contents(templates))
    return marks


def _dictionary_files(files: list[LexiconFile]) -> list[Path]:
    return [path for file in files for path in dictionary_files(Path(file.path))]


def _reverse_files(files: list[LexiconFile]) -> list[Path]:
    return [path for file in files if file.reverse for path in dictionary_files(Path(file.reverse))]


@dataclass(frozen=True)
class _Inputs:
    """The content of all input files except the text."""

    dictionaries: list[Lexicon]
    tests: list[Lexicon]
    templates: Templates | None
    segmenters: dict[str, Segmenter]
    bitext: Texts


def _read_inputs(recipe: Recipe, *, bitext: bool) -> _Inputs:
    """Read the input files; `bitext`: the parallel text too."""
    languages, knowledge = _languages(recipe), recipe.knowledge
    templates = read_templates(knowledge.templates, languages, two_hop=knowledge.two_hop > 0) if knowledge else None
    dictionaries = read_dictionaries(recipe.lexicon.files, languages[0])
    tests = read_dictionaries(recipe.evaluate.dictionaries, languages[0], keep_identical=True)
    texts = read_bitext(recipe.bitext if bitext else None, languages[0])
    return _Inputs(dictionaries, tests, templates, load_segmenters(recipe.targets, dictionaries), texts)


def _languages(recipe: Recipe) -> list[str]:
    return [recipe.source.language, *(target.language for target in recipe.targets)]


@dataclass(frozen=True)
class _Stages:
    """The work of each stage of the folder `data`. A stage reads the finished folders of earlier stages."""

    recipe: Recipe
    inputs: _Inputs
    data: Path
    on_progress: OnProgress
    spread: Spread

    def work(self, stage: str, command: str, folder: Path) -> dict[str, Any]:
        """Do the work of a stage in `folder`. Returns its record with its origin."""
        make = {"tokens": self.tokens, "bitext": self.bitext, "lexicon": self.lexicon, "facts": self.facts}
        return with_origin(make[stage](folder), folder, self.recipe, command)

    def tokens(self, folder: Path) -> dict[str, Any]:
        """Tokenise the text (`prealign.run.preparation.tokens`)."""
        return make_tokens(self.recipe, self.inputs.segmenters, folder, self.on_progress, self.spread)

    def bitext(self, folder: Path) -> dict[str, Any]:
        """Tokenise the parallel text (`prealign.run.preparation.bitext`)."""
        texts, tokens = self.inputs.bitext, self.data / "tokens"
        return make_bitext(self.recipe, texts, tokens, self._tokenizer(), folder, self.on_progress)

    def lexicon(self, folder: Path) -> dict[str, Any]:
        """Write the lexicon, the test dictionaries, and the word counts of their targets."""
        began, advance = time.monotonic(), step_counter("lexicon", 1, self.on_progress)
        recipe, tokens, tests = self.recipe, self.data / "tokens", self._tests()
        counts, tokenizer = read_json(tokens / WORDS), self._tokenizer()
        reading_of_tests = readings_of_tests(recipe.evaluate.dictionaries, self.inputs.tests, counts)
        segmented = read_json(tokens / SEGMENTED_WORDS)
        counted = count_targets(counted_targets(recipe), tokenizer, segmented, tokens, self.spread)
        dictionaries = self.inputs.dictionaries
        strict, targets = recipe.evaluate.strict, recipe.targets
        result = make_lexicon(recipe.lexicon, targets, dictionaries, tokenizer, counts, counted, tests, strict=strict)
        result.lexicon.save(folder / LEXICON)
        record: dict[str, Any] = {
            "lexicon": {
                "groups": len(result.lexicon),
                "coverage": result.lexicon.coverage(counts),
                "reading": result.reading,
                "left_out": result.left_out,
            }
        }
        if tests.targets:
            tested = _save_tests(recipe, tests, result.lexicon, counts, counted, folder)
            kept_out = {reason: asdict(tally) for reason, tally in result.kept_out.items()}
            record["tests"] = {"kept_out": kept_out, "reading": reading_of_tests, "dictionaries": tested}
        advance()
        return record | {"seconds": time.monotonic() - began}

    def facts(self, folder: Path) -> dict[str, Any]:
        """Write the made-up facts as training text, their questions, and the lexicon with their names."""
        began, advance = time.monotonic(), step_counter("facts", 1, self.on_progress)
        knowledge, templates, tokenizer = self.recipe.knowledge, self.inputs.templates, self._tokenizer()
        assert knowledge is not None and templates is not None
        taken = {*self._words_of_text(tokenizer), *(group.word for group in self._tests())}
        languages, segmenters = _languages(self.recipe), self.inputs.segmenters
        names, record = teach(knowledge, templates, languages, tokenizer, taken, segmenters, folder)
        Lexicon.load(self.data / "lexicon" / LEXICON).merge(names).save(folder / LEXICON)
        advance()
        return {"knowledge": record, "seconds": time.monotonic() - began}

    def _tokenizer(self) -> Tokenizer:
        return AutoTokenizer.from_pretrained(self.data / "tokens" / TOKENIZER)

    def _tests(self) -> Lexicon:
        return joined(self.inputs.tests, self.recipe.source.language)

    def _words_of_text(self, tokenizer: Tokenizer) -> set[str]:
        """Return all words of the text, including held-out text."""
        tokens, (source, *targets) = self.data / "tokens", _languages(self.recipe)
        words = set(read_json(tokens / WORDS))
        for language in (source, *targets):
            for split in SPLITS if language != source else SPLITS[1:]:
                rows = load_arrow(tokens / language / (f"{split}-source-ids" if is_clone(language) else split))
                words.update(count_words(rows, tokenizer, spread=self.spread))
        return words


def _save_tests(
    recipe: Recipe,
    tests: Lexicon,
    trained: Lexicon,
    counts: dict[str, int],
    counted: dict[str, dict[str, int]],
    folder: Path,
) -> list[dict[str, Any]]:
    """Save the test dictionaries and the word counts of their targets. Returns the record's entry for each target."""
    tests.save(folder / TESTS)
    write_json(folder / TARGET_WORDS, {language: counted[language] for language in tests.targets})
    selected = tested_words(recipe.lexicon, recipe.evaluate, tests, trained, counts, counted)
    return [
        {"target": language, "words": queries.words, "asked": len(queries.forward), "asked_back": len(queries.backward)}
        | {"pairs": len(queries.pairs), "dropped": queries.dropped, "summary": queries.summary}
        | {"strata": stratum_sizes(queries)}
        for language, queries in selected.items()
    ]
