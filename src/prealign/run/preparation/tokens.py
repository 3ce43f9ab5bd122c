"""The stage `tokens`: the text of all languages as token ids, their tokenizer, and the words of the source.

1. Read the text of each language into scratch. A resumed attempt does not read it again. A finished stage does not keep
   it: a copy of the raw text takes as much disk as the tokens, and reading is cheap compared with tokenising.
2. Hold out documents for validation and test, and give the clone its share.
3. Load the tokenizer, and extend it if the recipe says so, or train a byte-level BPE on all training text.
4. Tokenise. Special tokens in the text are read as characters, and counted. A clone's documents are also written in
   twin ids. For scripts without spaces, store the first token of each word.
5. Count the words of the source's training text, and of each language with a segmenter: tokens do not show those.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from prealign.events import OnProgress, Progress, step_counter
from prealign.files import write_json
from prealign.languages import is_clone
from prealign.recipe.sections import Recipe, SourceText, TargetText
from prealign.run.data import NEW_TOKENS, SEGMENTED_WORDS, TOKENIZER, WORDS
from prealign.run.folder import SCRATCH, finished, run_stage
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
from prealign.text.segment import Segmenter
from prealign.text.tokenizers import balanced_texts, document_start, get_tokenizer, written
from prealign.text.words import Tokenizer, rows
from prealign.workers import Spread

_Text = dict[str, dict[str, Dataset]]
"""language -> split -> documents"""


def make_tokens(
    recipe: Recipe, segmenters: dict[str, Segmenter], folder: Path, on_progress: OnProgress, spread: Spread
) -> dict[str, Any]:
    """Write the stage into `folder` and return its record. Raises CorpusError or TokenizerError."""
    began = time.monotonic()
    text, left_out, notes = _read_text(recipe, folder / SCRATCH / "text", on_progress)
    advance = step_counter("tokens", 2 + len(text), on_progress)
    tokenizer, tokenizer_record = _make_tokenizer(recipe, text, folder)
    bos = document_start(tokenizer, recipe.tokenizer.bos)
    advance()
    if not recipe.tokenizer.path and rows(tokenizer) < recipe.tokenizer.vocab_size:
        note = (
            f"tokenizer.vocab_size is {recipe.tokenizer.vocab_size:,}, but the text has only {rows(tokenizer):,} tokens to "
            "learn: the vocabulary is of that size"
        )
        on_progress(Progress("tokens", 1, 2 + len(text), note=note))
        notes.append(note)
    for note in _special_tokens(text, tokenizer, spread):
        on_progress(Progress("tokens", 1, 2 + len(text), note=note))
        notes.append(note)
    corpus = {}
    for language, splits in text.items():
        corpus[language] = tokenise_splits(splits, tokenizer, folder / language, segmenters.get(language), spread)
        advance()
    source = load_arrow(folder / recipe.source.language / "train")
    write_json(folder / WORDS, count_words(source, tokenizer, spread=spread))
    segmented = {
        language: count_segmented(text[language]["train"], segmenter, spread)
        for language, segmenter in segmenters.items()
    }
    write_json(folder / SEGMENTED_WORDS, segmented)
    advance()
    return {
        "seconds": time.monotonic() - began,
        "corpus": corpus,
        "segmenters": {language: segmenter.name for language, segmenter in segmenters.items()},
        "left_out": left_out,
        **({"read": notes} if notes else {}),
        "vocabulary": rows(tokenizer),
        **({} if bos is None else {"bos": bos}),
        "tokenizer": tokenizer_record,
    }


def _read_text(recipe: Recipe, scratch: Path, on_progress: OnProgress) -> tuple[_Text, dict[str, int], list[str]]:
    """Return the text, the number of documents that `split.train` leaves out per language, and notes on the reading.

    A clone has the source's held-out documents. Documents left out of its share count for the source.
    """
    clone = next((target for target in recipe.targets if target.is_clone), None)
    sizes: dict[str, Any] = recipe.split.model_dump()
    languages = [recipe.source, *(target for target in recipe.targets if not target.is_clone)]
    notes: list[str] = []
    advance = step_counter("text", len(languages), on_progress)

    def read(section: SourceText | TargetText, share: float = 0.0) -> tuple[Dataset, dict[str, list[int]]]:
        rows, reading_notes = _load(section, scratch / section.language)
        for note in reading_notes:
            on_progress(Progress("text", 0, len(languages), note=note))
        notes.extend(reading_notes)
        described: dict[str, Any] = {"language": section.language, "documents": section.documents}
        parts = split_documents(rows["document"], **sizes, **described, clone_share=share)
        advance()
        return rows, parts

    source = recipe.source.language
    rows, parts = read(recipe.source, clone.share if clone else 0.0)
    left_out = {source: len(parts["left_out"])}
    text = {source: {name: rows.select(parts[name]) for name in SPLITS}}
    for target in recipe.targets:
        if target.is_clone:
            text[target.language] = {n: rows.select(parts["clone" if n == "train" else n]) for n in SPLITS}
        else:
            target_rows, target_parts = read(target)
            text[target.language] = {name: target_rows.select(target_parts[name]) for name in SPLITS}
            left_out[target.language] = len(target_parts["left_out"])
    return text, left_out, notes


def _special_tokens(text: _Text, tokenizer: Tokenizer, spread: Spread) -> Iterator[str]:
    """Yield a note for each language whose text contains special tokens, with their number."""
    for language, splits in text.items():
        counts = sum((count_special(rows, tokenizer, spread) for rows in splits.values()), Counter[str]())
        if counts:
            examples = ", ".join(f"{token} {count:,} times" for token, count in counts.most_common(3))
            yield (
                f"{language}: {counts.total():,} special tokens are written in the text ({examples}); they are read as "
                "characters, and do not separate documents"
            )


def _load(section: SourceText | TargetText, folder: Path) -> tuple[Dataset, list[str]]:
    """Read the text of a language into `folder`, unless it is there. Returns its documents, and notes on the reading."""

    def work(partial: Path) -> dict[str, Any]:
        notes: list[str] = []
        load_text(section.text, section.documents, partial, notes.append)
        return {"notes": notes}

    # An empty fingerprint is enough: the scratch folder around it belongs to the fingerprint of the stage.
    record = finished(folder, "", read=None) or run_stage(folder, "", work)
    return load_arrow(folder), record["notes"]


def _make_tokenizer(recipe: Recipe, text: _Text, folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Make and save the tokenizer. Returns it with its record: number of new tokens, sizes of held-out text in tokens."""
    section = recipe.tokenizer
    real = {language: splits for language, splits in text.items() if not is_clone(language)}
    training = {language: splits["train"]["text"] for language, splits in real.items()}
    learned_on = balanced_texts(training, section.temperature)
    tokenizer = get_tokenizer(section, learned_on, trust_remote_code=recipe.model.trust_remote_code)
    base, pieces = None, list[list[int]]()
    if section.extend:
        source = training.pop(recipe.source.language)
        base = tokenizer
        tokenizer, pieces = extend_tokenizer(
            base, section.extend, source, lambda: balanced_texts(training, section.temperature)
        )
        write_json(folder / NEW_TOKENS, pieces)
    tokenizer.save_pretrained(folder / TOKENIZER)
    held_out = {language: [*splits["validation"]["text"], *splits["test"]["text"]] for language, splits in real.items()}
    return tokenizer, {
        "new_tokens": len(pieces),
        "held_out": {language: written(texts, language, tokenizer, base) for language, texts in held_out.items()},
    }
