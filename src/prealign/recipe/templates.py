"""Templates of made-up facts: sentences and questions of each relation in each language (format: `facts.yaml`).

1. Read the YAML file. The built-in templates are `facts.yaml` beside this module.
2. Check that every template contains each slot once, that a question ends in the object (the continuation), and that no
   question equals a taught sentence.
3. Check that the source language has all templates, and return the targets that have questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from prealign.languages import CLONE_SUFFIX
from prealign.recipe.file import load_section
from prealign.recipe.section import Section
from prealign.recipe.validate import Key, Problem

SUBJECT, OBJECT = "{subject}", "{object}"
BUILT_IN = Path(__file__).with_name("facts.yaml")

Wordings = dict[str, list[str]]
"""Language -> templates."""


class Relation(Section):
    """One relation between two types.

    subject, object: the types. teach: sentences by language. ask: question by language. through: two-hop
    questions, first relation -> language -> question.
    """

    subject: str
    object: str
    teach: Wordings
    ask: dict[str, str]
    through: dict[str, dict[str, str]] = Field(default={})


class Templates(Section):
    """All relations by name, and `neutral` sentences, which name a subject and state nothing about it."""

    neutral: Wordings
    relations: dict[str, Relation] = Field(min_length=1)

    def question_languages(self, languages: Sequence[str]) -> list[str]:
        """Return the languages in which every relation has a question. A clone has the questions of its source."""
        return [tag for tag in languages if all(wording(tag) in relation.ask for relation in self.relations.values())]


def wording(language: str) -> str:
    """Return the language of the templates for `language`: its source for a clone, else `language` itself."""
    return language.removesuffix(CLONE_SUFFIX)


def read_templates(path: str | None, languages: Sequence[str], *, two_hop: bool) -> Templates:
    """Read the templates in `path` (None: the built-in ones) for `languages`, the source first. two_hop: also check
    these.

    Raises RecipeError, with file, line and key, for every template without its slots and for missing templates. A
    target without questions is an error in a custom file only; the built-in file has English questions only.
    """

    def check(templates: Templates) -> Iterator[Problem]:
        source, *targets = languages
        asked = [source] if path is None else [source, *(wording(target) for target in targets)]
        taught = [tag for tag in map(wording, targets) if path is not None or tag == source]
        yield from _slots(templates)
        yield from _missing(templates, source, asked)
        if two_hop:
            yield from _missing_chains(templates, asked, taught)

    return load_section(path or BUILT_IN, Templates, check)


def _slots(templates: Templates) -> Iterator[Problem]:
    for language, texts in templates.neutral.items():
        for i, text in enumerate(texts):
            yield from _one_slot(("neutral", language, i), text, SUBJECT)
    for name, relation in templates.relations.items():
        here: Key = ("relations", name)
        for language, texts in relation.teach.items():
            for i, text in enumerate(texts):
                yield from _one_slot((*here, "teach", language, i), text, SUBJECT, OBJECT)
        for language, text in relation.ask.items():
            taught = [known.rstrip(".") for known in relation.teach.get(language, [])]
            yield from _question((*here, "ask", language), text, taught)
        for first, questions in relation.through.items():
            if first not in templates.relations or templates.relations[first].object != relation.subject:
                yield (*here, "through", first), f"is no relation whose object is a {relation.subject}"
            for language, text in questions.items():
                yield from _question((*here, "through", first, language), text, [])


def _one_slot(key: Key, text: str, *slots: str) -> Iterator[Problem]:
    for slot in slots:
        if text.count(slot) != 1:
            yield key, f"{text!r} has {text.count(slot)} times the slot {slot}: write it exactly once"


def _question(key: Key, text: str, taught: Sequence[str]) -> Iterator[Problem]:
    yield from _one_slot(key, text, SUBJECT, OBJECT)
    if not text.endswith(OBJECT):
        yield key, f"{text!r} does not end in {OBJECT}: the model must continue with the object"
    if text in taught:
        yield key, f"{text!r} is also a sentence that teaches: word the question in another way"


def _missing(templates: Templates, source: str, asked: Sequence[str]) -> Iterator[Problem]:
    if not templates.neutral.get(source):
        yield ("neutral",), f"no sentences in {source!r}: add a list `{source}`"
    for name, relation in templates.relations.items():
        if not relation.teach.get(source):
            yield ("relations", name, "teach"), f"no sentences in {source!r}: add a list `{source}`"
        for language in dict.fromkeys(asked):
            if language not in relation.ask:
                yield ("relations", name, "ask"), f"no question in {language!r}: add `{language}: …`"


def _missing_chains(templates: Templates, asked: Sequence[str], taught: Sequence[str]) -> Iterator[Problem]:
    second = {name: relation for name, relation in templates.relations.items() if relation.through}
    if not second:
        yield ("relations",), "no relation has questions `through` another: add one, or set knowledge.two_hop to 0"
    for name, relation in second.items():
        for language in dict.fromkeys(taught):
            if not relation.teach.get(language):
                yield ("relations", name, "teach"), f"no sentences in {language!r}, where two hops need them"
        for first, questions in relation.through.items():
            for language in dict.fromkeys(asked):
                if language not in questions:
                    yield ("relations", name, "through", first), f"no question in {language!r}: add `{language}: …`"
