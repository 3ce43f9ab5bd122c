"""Made-up facts as training text: their documents, the questions about them, and their names as a lexicon.

1. Read the templates of all languages.
2. Make a world of facts with names that no text and no dictionary has.
3. Tokenise the sentences of each language that is taught, and save the questions.
4. Names translate to themselves, as far as the lexicon is to know them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset

from prealign.languages import is_clone
from prealign.lexicon import Group, Lexicon
from prealign.recipe.sections import Recipe
from prealign.text.arrow import load_arrow
from prealign.text.corpus import SPLITS, count_words, tokenise_splits
from prealign.text.encode import encode_words
from prealign.text.facts.facts import LEXICON, documents, make_world, questions, save_questions
from prealign.text.facts.templates import Templates, read_templates
from prealign.text.segment import Segmenter
from prealign.text.words import Tokenizer

FACTS = "facts"
"""The split that holds a language's training text of made-up facts, and the origin of their names in the lexicon."""


def split_names(lexicon: Lexicon) -> tuple[Lexicon, Lexicon]:
    """Return the words of dictionaries, and the names of made-up facts."""
    parts: tuple[list[Group], list[Group]] = ([], [])
    for group in lexicon:
        parts[group.origin == (FACTS,)].append(group)
    words, names = (Lexicon(part, source=lexicon.source, targets=lexicon.targets) for part in parts)
    return words, names


def fact_templates(recipe: Recipe) -> Templates | None:
    """Read the templates of a recipe with facts. RecipeError for what is wrong in them."""
    if recipe.knowledge is None:
        return None
    languages = [recipe.source.language, *(target.language for target in recipe.targets)]
    return read_templates(recipe.knowledge.templates, languages, two_hop=recipe.knowledge.two_hop > 0)


def teach(
    recipe: Recipe,
    templates: Templates,
    tokenizer: Tokenizer,
    words: set[str],
    segmenters: dict[str, Segmenter],
    folder: Path,
) -> tuple[Lexicon, dict[str, Any]]:
    """Write the documents of facts and the questions; return the lexicon of their names, and the data record's entry.

    words: those that no name may be, besides the words of held-out and target text.
    """
    section, source = recipe.knowledge, recipe.source.language
    assert section is not None
    targets = [target.language for target in recipe.targets]
    taken = set(words)
    for language in (source, *targets):
        for split in SPLITS if language != source else SPLITS[1:]:
            stored = f"{split}-merged" if is_clone(language) else split
            taken.update(count_words(load_arrow(folder / "tokens" / language / stored), tokenizer))
    world = make_world(templates, section, taken, lambda names: encode_words(tokenizer, names, source).lengths)
    asked = templates.question_languages([source, *targets])
    save_questions(questions(world, templates, section, asked), folder / "facts.jsonl")
    written = {source: world.facts, **{target: world.second for target in asked[1:] if world.second}}
    sizes: dict[str, dict[str, int]] = {}
    for language, facts in written.items():
        text = documents(facts, templates, section, language)
        rows = Dataset.from_dict({"document": [f"facts:{i}" for i in range(len(text))], "text": text})
        place = folder / "tokens" / language
        sizes |= {language: tokenise_splits({FACTS: rows}, tokenizer, place, segmenters.get(language))[FACTS]}
        sizes[language]["sentences"] = sum(fact.exposures for fact in facts)
    groups = [
        Group(name, dict.fromkeys(targets, (name,)), count, (FACTS,)) for name, count in world.mentions(LEXICON).items()
    ]
    names = Lexicon(groups, source=source, targets=targets)
    record = {"text": sizes, "languages": asked, "names": len(names), "facts": world.counts()}
    return names, {"knowledge": record}
