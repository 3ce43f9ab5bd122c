"""Made-up facts (subject, relation, object): their names, their training text in each language, and their questions.

1. Make names that are in no corpus, and distribute them: objects for each type and *half* (names in the lexicon, names
   outside it), one subject for each fact. No name is in both halves.
2. Make `facts` facts for each relation, half and number of exposures k; every object is the answer of equally many. As many
   again are the *control*: their subjects occur as often as taught ones, in neutral sentences, but no text states the fact.
3. Write each taught fact k times in source text, alternating its templates; shuffle all sentences into short documents.
4. Chains of two hops: a fact with the most exposures, then a second fact about its object, written in target text only.
5. Write each question with the relation's question template, which no taught sentence uses: the object continues it.

Every object is the answer equally often *at each k*, because a model that ignores the subject, but knows which objects are
frequent after a relation's words, prefers the same objects in every question. If the facts of k = 64 had 6 of 10 objects, it
would be right in 1 of 6 of them. With equal counts, any fixed order of objects is right in 1 of 10.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from prealign.errors import RecipeError
from prealign.lexicon.case import lower, title
from prealign.recipe.measures import KnowledgeSection
from prealign.recipe.templates import OBJECT, SUBJECT, Templates, wording

Generator = np.random.Generator

LEXICON, OUTSIDE = "lexicon", "outside"
_SENTENCES = 8
"""Sentences of a document: 100 to 150 tokens."""
# Names are of one length, so that no name begins another.
_ONSETS, _VOWELS = "bdfghjklmnprstvz", "aeiou"
_SPELLING = "en"  # names are of plain Latin letters, whatever the language around them
_SYLLABLES = len(_ONSETS) * len(_VOWELS)
_SAMPLE = 3
"""Names made for each one taken."""

TokenCount = Callable[[Sequence[str]], ArrayLike]


@dataclass(frozen=True)
class Fact:
    """`exposures`: sentences, in a pass over the text, that state the fact, or (not `taught`) only name its subject."""

    relation: str
    subject: str
    object: str
    exposures: int
    names: str
    taught: bool = True

    @property
    def condition(self) -> str:
        """Return the condition of its score."""
        return f"{f'k={self.exposures}' if self.taught else 'control'}|names={self.names}"


@dataclass(frozen=True)
class World:
    """Facts in the source text, second facts of chains (in target text), and objects by (type, half)."""

    facts: tuple[Fact, ...]
    second: tuple[Fact, ...]
    objects: Mapping[tuple[str, str], tuple[str, ...]]

    def counts(self) -> dict[str, int]:
        """Return the number of facts of each condition."""
        return dict(Counter(fact.condition for fact in self.facts))

    def mentions(self, half: str) -> Counter[str]:
        """Return every name of a half with its frequency in the source text."""
        counts = Counter({name: 0 for (_, side), names in self.objects.items() if side == half for name in names})
        for fact in self.facts:
            if fact.names == half:
                counts[fact.subject] += fact.exposures
                counts[fact.object] += fact.exposures * fact.taught
        return counts


@dataclass(frozen=True)
class Question:
    """A question. `prompts`: language -> text that each of `candidates` continues; `answer` is one of them."""

    condition: str
    relation: str
    subject: str
    answer: str
    candidates: tuple[str, ...]
    prompts: Mapping[str, str]


def one_each(names: Sequence[str]) -> list[int]:
    """Return one token a name: no name is preferred."""
    return [1] * len(names)


def make_world(
    templates: Templates, section: KnowledgeSection, taken: Collection[str], tokens: TokenCount = one_each
) -> World:
    """Draw all facts by `section.seed`; no name is a word of `taken` (any case). `tokens`: see `make_names`."""
    rng = _generator(section, "facts")
    relations, halves = templates.relations, section.halves
    types = dict.fromkeys(relation.object for relation in relations.values())
    subjects = len(relations) * section.facts * (len(section.exposures) + 1)
    names = iter(make_names(len(types) * len(halves) * section.objects + subjects, rng, taken, tokens))
    objects = {(kind, half): tuple(next(names) for _ in range(section.objects)) for kind in types for half in halves}
    facts = [
        Fact(name, next(names), answer, exposures, half, taught)
        for name, relation in relations.items()
        for half, number in halves.items()
        for taught, levels in _levels(section, number)
        for answer, exposures in zip(_answers(objects[relation.object, half], number, rng), levels, strict=True)
    ]
    return World(tuple(facts), tuple(_second_facts(templates, section, objects, rng)), objects)


def make_names(number: int, rng: Generator, taken: Collection[str], tokens: TokenCount = one_each) -> list[str]:
    """Return capitalised names of one length in random order, none a word of `taken` (any case).

    `tokens` returns the number of tokens of each name. Of a sample of names, those with the fewest tokens are taken: a small
    model needs many more exposures to distinguish names of several subwords.
    """
    known = {lower(word, _SPELLING) for word in taken}
    lengths = Counter(map(len, known))  # a word of a name's length may be one of the names
    syllables = next((n for n in (2, 3) if _SAMPLE * number <= _SYLLABLES**n - lengths[2 * n]), 0)
    if not syllables:
        raise RecipeError(f"knowledge: {number:,} names are more than can be made; lower knowledge.facts")
    names: list[str] = []
    while len(names) < _SAMPLE * number:
        name = "".join(str(rng.choice(list(letters))) for letters in (_ONSETS, _VOWELS) * syllables)
        if name not in known:
            known.add(name)
            names.append(title(name, _SPELLING))
    cheapest = np.argsort(tokens(names), kind="stable")[:number]
    return [names[i] for i in rng.permutation(cheapest)]


def _levels(section: KnowledgeSection, number: int) -> Iterator[tuple[bool, Sequence[int]]]:
    """Yield (taught, exposures of each of `number` facts); the control cycles through all exposures."""
    for k in section.exposures:
        yield True, [k] * number
    yield False, [section.exposures[i % len(section.exposures)] for i in range(number)]


def _answers(objects: Sequence[str], number: int, rng: Generator) -> list[str]:
    """Return `number` answers in random order, each object equally often; the recipe checks that `number` allows it."""
    assert number % len(objects) == 0, "the recipe's check was left out"
    return [objects[i % len(objects)] for i in rng.permutation(number)]


def _second_facts(
    templates: Templates, section: KnowledgeSection, objects: Mapping[tuple[str, str], Sequence[str]], rng: Generator
) -> Iterator[Fact]:
    """Yield a second fact about each object in the middle of a chain; the objects of these facts are a permutation."""
    for name, relation in templates.relations.items():
        for half in section.halves if section.two_hop and relation.through else ():
            subjects = objects[relation.subject, half]
            for subject, answer in zip(subjects, rng.permutation(objects[relation.object, half]), strict=True):
                yield Fact(name, subject, str(answer), section.two_hop, half)


def documents(facts: Sequence[Fact], templates: Templates, section: KnowledgeSection, language: str) -> list[str]:
    """Return documents of eight shuffled sentences that state each fact `exposures` times in a language's templates."""
    rng = _generator(section, f"text {language}")
    sentences = [text for fact in facts for text in _sentences(fact, templates, wording(language), rng)]
    shuffled = [sentences[i] for i in rng.permutation(len(sentences))]
    return [" ".join(shuffled[first : first + _SENTENCES]) for first in range(0, len(shuffled), _SENTENCES)]


def _sentences(fact: Fact, templates: Templates, language: str, rng: Generator) -> Iterator[str]:
    texts = (templates.relations[fact.relation].teach if fact.taught else templates.neutral)[language]
    first = int(rng.integers(len(texts)))  # cycle from any template: their numbers of uses differ by at most one
    for i in range(fact.exposures):
        yield texts[(first + i) % len(texts)].replace(SUBJECT, fact.subject).replace(OBJECT, fact.object)


def questions(
    world: World, templates: Templates, section: KnowledgeSection, languages: Sequence[str]
) -> list[Question]:
    """Return a question for each fact, including the control, and for each chain, in `languages`."""
    rng = _generator(section, "questions")
    made = [
        _question(world, templates, section, fact, fact.object, fact.relation, fact.condition, languages, rng)
        for fact in world.facts
    ]
    second = {(fact.relation, fact.subject): fact.object for fact in world.second}
    for name, relation in templates.relations.items() if second else ():
        for fact in world.facts:
            if fact.relation in relation.through and fact.taught and fact.exposures == max(section.exposures):
                answer, condition = second[name, fact.object], f"two_hop|names={fact.names}"
                made.append(_question(world, templates, section, fact, answer, name, condition, languages, rng))
    return made


def _question(
    world: World,
    templates: Templates,
    section: KnowledgeSection,
    fact: Fact,
    answer: str,
    last: str,
    condition: str,
    languages: Sequence[str],
    rng: Generator,
) -> Question:
    """Return the question for the object of relation `last` (the fact's, or the second hop's) of the fact's subject."""
    relation = templates.relations[last]
    texts = relation.ask if last == fact.relation else relation.through[fact.relation]
    others = [name for name in world.objects[relation.object, fact.names] if name != answer]
    drawn = [others[i] for i in sorted(rng.choice(len(others), section.candidates - 1, replace=False))]
    prompts = {tag: texts[wording(tag)].replace(SUBJECT, fact.subject).removesuffix(OBJECT) for tag in languages}
    name = fact.relation if last == fact.relation else f"{fact.relation}+{last}"
    return Question(condition, name, fact.subject, answer, (answer, *drawn), prompts)


def save_questions(made: Sequence[Question], path: Path) -> None:
    """Write questions as JSONL."""
    path.write_text("".join(json.dumps(asdict(q), ensure_ascii=False) + "\n" for q in made), encoding="utf-8")


def load_questions(path: Path) -> list[Question]:
    """Read the file of `save_questions`."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Question(**{**row, "candidates": tuple(row["candidates"])}) for row in rows]


def _generator(section: KnowledgeSection, purpose: str) -> Generator:
    return np.random.default_rng([section.seed, *purpose.encode()])
