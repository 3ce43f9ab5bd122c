"""Made-up facts as training text: their documents, the questions about them, and their names as a lexicon.

1. Make a world of facts, with names that are in no text and no test dictionary.
2. Tokenise the sentences of each language that is taught, and save the questions.
3. Build a lexicon in which each name translates to itself, with the names that the lexicon is to contain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset

from prealign.lexicon import Group, Lexicon
from prealign.recipe.measures import KnowledgeSection
from prealign.recipe.templates import Templates
from prealign.text.corpus import tokenise_splits
from prealign.text.encode import encode_words
from prealign.text.facts.facts import LEXICON, documents, make_world, questions, save_questions
from prealign.text.segment import Segmenter
from prealign.text.words import Tokenizer

QUESTIONS = "questions.jsonl"
FACTS = "facts"
"""The split that holds a language's training text of made-up facts, and the origin of their names in the lexicon."""


def split_names(lexicon: Lexicon) -> tuple[Lexicon, Lexicon]:
    """Return the words of dictionaries, and the names of made-up facts."""
    parts: tuple[list[Group], list[Group]] = ([], [])
    for group in lexicon:
        parts[group.origin == (FACTS,)].append(group)
    words, names = (Lexicon(part, source=lexicon.source, targets=lexicon.targets) for part in parts)
    return words, names


def teach(
    section: KnowledgeSection,
    templates: Templates,
    languages: list[str],
    tokenizer: Tokenizer,
    taken: set[str],
    segmenters: dict[str, Segmenter],
    folder: Path,
) -> tuple[Lexicon, dict[str, Any]]:
    """Write the tokenised documents of facts to `folder`/LANGUAGE/facts and the questions to `folder`/`QUESTIONS`.

    languages: the source, then the targets. taken: words that no name may be. Returns the lexicon of the names, and the
    record: sizes of the text, languages asked in, numbers of names and of facts.
    """
    source, *targets = languages
    world = make_world(templates, section, taken, lambda names: encode_words(tokenizer, names, source).lengths)
    asked = templates.question_languages(languages)
    save_questions(questions(world, templates, section, asked), folder / QUESTIONS)
    taught = {source: world.facts, **{target: world.second for target in asked[1:] if world.second}}
    sizes: dict[str, dict[str, int]] = {}
    for language, facts in taught.items():
        text = documents(facts, templates, section, language)
        rows = Dataset.from_dict({"document": [f"facts:{i}" for i in range(len(text))], "text": text})
        sizes |= {
            language: tokenise_splits({FACTS: rows}, tokenizer, folder / language, segmenters.get(language))[FACTS]
        }
        sizes[language]["sentences"] = sum(fact.exposures for fact in facts)
    groups = [
        Group(name, dict.fromkeys(targets, (name,)), count, (FACTS,)) for name, count in world.mentions(LEXICON).items()
    ]
    names = Lexicon(groups, source=source, targets=targets)
    return names, {"text": sizes, "languages": asked, "names": len(names), "facts": world.counts()}
