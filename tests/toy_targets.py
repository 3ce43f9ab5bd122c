"""A toy experiment with two targets that have text of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import toy_experiment
from prealign.recipe.sections import Recipe

TESTED = ("kalo", "lomi", "miren", "rentu", "tusol", "solbe", "benar", "narka")


SYLLABLES = ("ka", "lo", "mi", "ren", "tu", "sol", "be", "nar")


WORDS = [one + other for one in SYLLABLES for other in SYLLABLES]


def german(word: str) -> str:
    return word[::-1].capitalize()


def dutch(word: str) -> str:
    return f"x{word}"


def recipe(folder: Path, **settings: Any) -> Recipe:
    folder.mkdir(parents=True, exist_ok=True)
    made = toy_experiment.recipe(folder)
    lines = (folder / "en.txt").read_text().splitlines()
    for language, write in (("de", german), ("nl", dutch)):
        kept = lines[:30] if language == "de" else lines[30:42]
        text = [" ".join(write(word.strip(".").lower()) for word in line.split()) + "." for line in kept]
        (folder / f"{language}.txt").write_text("\n".join(text) + "\n")
        (folder / f"{language}.sentences").write_text("\n".join(text[:9]) + "\n")
    (folder / "en.sentences").write_text("\n".join(lines[:9]) + "\n")
    # In lower case, as MUSE is; the words that are tested are in every file, one in capitals.
    dictionary = "".join(f"{word}\t{german(word).lower()}\n" for word in WORDS)
    (folder / "en-de.tsv").write_text(dictionary)
    (folder / "en-de-2.tsv").write_text("".join(f"{w.upper()}\t{german(w)} two\n" for w in TESTED) + "kaka\tAkak\n")
    (folder / "en-nl.tsv").write_text("".join(f"{word}\t{dutch(word)}\n" for word in WORDS))
    (folder / "test-de.tsv").write_text(
        "".join(f"{(w.capitalize() if w < 'm' else w)}\t{german(w).lower()}\n" for w in TESTED)
        + "kalo\tunheard\nunheard\tRanran\n"  # an answer that another word has in en-de.tsv
    )
    files = [("en-de.tsv", "de"), ("en-de-2.tsv", "de"), ("en-nl.tsv", "nl")]
    return Recipe.model_validate(
        made.model_dump(exclude_unset=True)
        | {
            "targets": [
                {"language": language, "text": [str(folder / f"{language}.txt")], "documents": "line"}
                for language in ("de", "nl")
            ],
            "split": {"validation": 2, "test": 3},
            "lexicon": {
                "files": [{"path": str(folder / name), "target": target} for name, target in files],
                "minimum_count": 2,
                "held_out": 0.2,
                "case": "text",
                "inflect": True,
            },
            "evaluate": {
                "retrieval_words": 20,
                "candidates": 30,
                "dictionaries": [{"path": str(folder / "test-de.tsv"), "target": "de"}],
                "sentences": [
                    {"name": "nine", "files": {tag: str(folder / f"{tag}.sentences") for tag in ("en", "de", "nl")}}
                ],
            },
            "mixture": {"temperature": 3},
            "switch": {"ratio": 0.4, "targets": {"de": 3}, "target_ratio": 0.3},
        }
        | settings
    )
