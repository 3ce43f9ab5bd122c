"""Made-up facts: what is written, how often, and what is asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prealign.errors import RecipeError
from prealign.recipe.checks import knowledge_problems
from prealign.recipe.measures import KnowledgeSection
from prealign.recipe.templates import BUILT_IN, OBJECT, SUBJECT, read_templates
from prealign.text.facts.facts import (
    LEXICON,
    OUTSIDE,
    World,
    documents,
    load_questions,
    make_names,
    make_world,
    questions,
    save_questions,
)

BUILT = read_templates(None, ["en", "en-clone"], two_hop=True)


@st.composite
def sections(draw: st.DrawFn) -> KnowledgeSection:
    objects = draw(st.integers(2, 5))
    inside, outside = draw(st.sampled_from([(1, 1), (1, 0), (0, 1), (2, 1)]))
    facts = objects * (inside + outside)
    section = KnowledgeSection(
        exposures=draw(st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True)),
        facts=facts,
        objects=objects,
        candidates=draw(st.integers(2, objects)),
        names_in_lexicon=inside / (inside + outside),
        two_hop=draw(st.integers(0, 3)),
        seed=draw(st.integers(0, 99)),
    )
    assert not list(knowledge_problems(section))
    return section


def all_names(world: World) -> list[str]:
    return [n for names in world.objects.values() for n in names] + [f.subject for f in world.facts]


def sentences(texts: list[str]) -> list[str]:
    return [sentence for text in texts for sentence in re.findall(r"[^.]+\.", text)]


@settings(max_examples=25)
@given(sections())
def test_names_are_single_new_and_unmistakable(section: KnowledgeSection) -> None:
    taken = {name.upper() for name in all_names(make_world(BUILT, section, []))[::2]}
    names = all_names(make_world(BUILT, section, taken))
    lowered = [name.lower() for name in names]
    assert all(name.isalpha() and name == name.capitalize() for name in names)
    assert len(set(lowered)) == len(names)
    assert not set(lowered) & {word.lower() for word in taken}
    assert not any(a != b and b.startswith(a) for a in lowered for b in lowered)


@settings(max_examples=25)
@given(sections())
def test_the_halves_share_no_name_and_have_their_share(section: KnowledgeSection) -> None:
    world = make_world(BUILT, section, [])
    halves = [set(world.mentions(half)) for half in (LEXICON, OUTSIDE)]
    assert not halves[0] & halves[1]
    assert halves[0] | halves[1] == set(all_names(world))
    share = sum(fact.names == LEXICON for fact in world.facts) / len(world.facts)
    assert share == pytest.approx(section.names_in_lexicon)


@settings(max_examples=25)
@given(sections())
def test_each_object_is_the_answer_equally_often_at_each_exposure(section: KnowledgeSection) -> None:
    asked = questions(make_world(BUILT, section, []), BUILT, section, ["en"])
    answers: dict[tuple[str, str], Counter[str]] = {}
    for question in asked:
        answers.setdefault((question.condition, question.relation), Counter())[question.answer] += 1
        assert question.candidates.count(question.answer) == 1
        assert len(set(question.candidates)) == section.candidates
    for counts in answers.values():
        assert len(counts) == section.objects and len(set(counts.values())) == 1


@settings(max_examples=25)
@given(sections())
def test_knowing_how_often_an_object_was_seen_is_no_help(section: KnowledgeSection) -> None:
    """Objects after a relation's words are equally frequent in the text as written, so no frequency ranks them."""
    world = make_world(BUILT, section, [])
    text = sentences(documents(world.facts, BUILT, section, "en"))
    for (kind, _), names in world.objects.items():
        for relation in [r for r in BUILT.relations.values() if r.object == kind]:
            pattern = "|".join(
                re.escape(t).replace(re.escape(SUBJECT), r"\w+").replace(re.escape(OBJECT), r"(\w+)")
                for t in relation.teach["en"]
            )
            seen = Counter(n for s in text for m in [re.fullmatch(pattern, s.strip())] if m for n in m.groups() if n)
            assert len({seen[name] for name in names}) == 1 and seen[names[0]] > 0


@settings(max_examples=25)
@given(sections())
def test_a_fact_is_written_exactly_as_often_as_it_says(section: KnowledgeSection) -> None:
    world = make_world(BUILT, section, [])
    text = sentences(documents(world.facts, BUILT, section, "en"))
    objects = {name for names in world.objects.values() for name in names}
    words = [re.findall(r"\w+", sentence) for sentence in text]
    with_subject = {fact.subject: [set(w) for w in words if fact.subject in w] for fact in world.facts}
    for fact in world.facts:
        found = with_subject[fact.subject]
        assert len(found) == fact.exposures, "the control's subjects are named as often"
        assert all(w & objects == ({fact.object} if fact.taught else set()) for w in found)
    assert len(text) == sum(fact.exposures for fact in world.facts)
    control = Counter(fact.exposures for fact in world.facts if not fact.taught)
    assert set(control) <= set(section.exposures)


@settings(max_examples=25)
@given(sections())
def test_templates_take_turns(section: KnowledgeSection) -> None:
    world = make_world(BUILT, section, [])
    text = Counter(s.strip() for s in sentences(documents(world.facts, BUILT, section, "en")))
    for fact in world.facts:
        texts = BUILT.relations[fact.relation].teach["en"] if fact.taught else BUILT.neutral["en"]
        uses = [text[t.replace(SUBJECT, fact.subject).replace(OBJECT, fact.object)] for t in texts]
        assert sum(uses) == fact.exposures and max(uses) - min(uses) <= 1


@settings(max_examples=25)
@given(sections())
def test_no_question_is_written_anywhere(section: KnowledgeSection) -> None:
    world = make_world(BUILT, section, [])
    text = " ".join(documents(world.facts, BUILT, section, "en") + documents(world.second, BUILT, section, "en-clone"))
    for question in questions(world, BUILT, section, ["en", "en-clone"]):
        assert set(question.prompts) == {"en", "en-clone"}
        assert question.prompts["en"] not in text
        assert question.prompts["en"].endswith(" ") and question.subject in question.prompts["en"].split()


@settings(max_examples=25)
@given(sections())
def test_a_chain_needs_a_fact_of_each_language(section: KnowledgeSection) -> None:
    world = make_world(BUILT, section, [])
    chains = [q for q in questions(world, BUILT, section, ["en"]) if q.condition.startswith("two_hop")]
    assert len(chains) == (2 * section.facts if section.two_hop else 0)
    first = {fact.subject: fact for fact in world.facts}
    second = {(fact.relation, fact.subject): fact for fact in world.second}
    source = " ".join(documents(world.facts, BUILT, section, "en"))
    target = sentences(documents(world.second, BUILT, section, "en-clone"))
    for question in chains:
        one, two = question.relation.split("+")
        fact = first[question.subject]
        step = second[two, fact.object]
        assert (fact.relation, fact.exposures, step.object) == (one, max(section.exposures), question.answer)
        assert step.names == fact.names and question.condition == f"two_hop|names={fact.names}"
        assert sum(step.subject in s and step.object in s for s in target) == section.two_hop
        assert not any(step.subject in s and step.object in s for s in source.split("."))
        assert not any(question.subject in s for s in target)


def test_the_seed_decides_and_nothing_else_does(tmp_path: Path) -> None:
    made = [make_world(BUILT, KnowledgeSection(seed=seed), []) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    texts = [documents(world.facts, BUILT, KnowledgeSection(), "en") for world in made]
    assert texts[0] == texts[1] != texts[2]
    asked = questions(made[0], BUILT, KnowledgeSection(), ["en"])
    save_questions(asked, tmp_path / "facts.jsonl")
    assert load_questions(tmp_path / "facts.jsonl") == asked


def test_many_names_are_longer() -> None:
    names = make_names(20_000, np.random.default_rng(0), [])
    assert len(set(names)) == 20_000 and {len(name) for name in names} == {6}


def test_names_of_few_tokens_are_preferred() -> None:
    def tokens(names: Sequence[str]) -> list[int]:
        return [1 + name.lower().count("a") for name in names]

    chosen = make_names(300, np.random.default_rng(0), [], tokens)
    made = make_names(900, np.random.default_rng(0), [])
    assert sorted(tokens(chosen))[-1] == sorted(tokens(made))[299]


def test_names_are_found_where_the_corpus_holds_many_of_the_short_ones() -> None:
    short = make_names(2000, np.random.default_rng(1), [])
    assert {len(name) for name in short} == {4}
    assert {len(name) for name in make_names(2000, np.random.default_rng(0), short)} == {6}


def test_too_many_names_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"lower knowledge\.facts"):
        make_names(10**9, np.random.default_rng(0), [])


def test_the_built_in_relations_are_varied() -> None:
    assert len(BUILT.relations) >= 6
    assert all(len(set(relation.teach["en"])) >= 4 for relation in BUILT.relations.values())
    subjects_first = [t.index(SUBJECT) < t.index(OBJECT) for r in BUILT.relations.values() for t in r.teach["en"]]
    assert all(subjects_first)


# A file of one's own

OWN = """\
neutral:
  en: ["Many know {subject}."]
relations:
  born_in:
    subject: person
    object: city
    teach:
      en: ["{subject} was born in {object}."]
    ask:
      en: "{subject} is from {object}"
      de: "{subject} kommt aus {object}"
"""


def own(tmp_path: Path, old: str = "", new: str = "", **settings: Any) -> Any:
    path = tmp_path / "own.yaml"
    assert old in OWN
    path.write_text(OWN.replace(old, new, 1), encoding="utf-8")
    return read_templates(str(path), ["en", "de", "en-clone"], **{"two_hop": False, **settings})


def test_templates_of_ones_own_ask_in_their_languages(tmp_path: Path) -> None:
    templates = own(tmp_path)
    assert templates.question_languages(["en", "de", "en-clone"]) == ["en", "de", "en-clone"]
    section = KnowledgeSection(facts=4, objects=2, candidates=2)
    first = questions(make_world(templates, section, []), templates, section, ["en", "de", "en-clone"])[0]
    tails = {"en": " is from ", "de": " kommt aus ", "en-clone": " is from "}
    assert first.prompts == {language: first.subject + tail for language, tail in tails.items()}
    assert BUILT.question_languages(["en", "en-clone", "de"]) == ["en", "en-clone"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "born in {object}.",
            "born.",
            r"own\.yaml:8: relations\.born_in\.teach\.en\.0: .* 0 times the slot {object}: write",
        ),
        ('"Many know {subject}."', '"Many."', r"own\.yaml:2: neutral\.en\.0: 'Many\.' has 0 times the slot {subject}"),
        (
            "from {object}",
            "from {object} now",
            r"own\.yaml:10: relations\.born_in\.ask\.en: .* does not end in {object}",
        ),
        ("is from {object}", "was born in {object}", r"own\.yaml:10: .* is also a sentence that teaches"),
        ("      de:", "      fr:", r"own\.yaml:9: relations\.born_in\.ask: no question in 'de': add `de: …`"),
        ("  en: [", "  fr: [", r"own\.yaml:1: neutral: no sentences in 'en': add a list `en`"),
        ("    object: city\n", "", r"own\.yaml:4: relations\.born_in\.object: Field required"),
        ("relations:", "relation:", r"own\.yaml:3: relation: Extra inputs"),
        ("relations:", "relations: [", r"own\.yaml:\d+: this is not YAML"),
    ],
)
def test_mistakes_in_templates_are_named_with_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        own(tmp_path, old, new)


def test_two_hops_need_templates_through_a_relation(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no relation has questions `through` another: .*knowledge\.two_hop to 0"):
        own(tmp_path, two_hop=True)
    through = "    through:\n      lies_in: {en: 'x {subject} y {object}'}\n    ask:"
    with pytest.raises(RecipeError, match=r"through\.lies_in: is no relation whose object is a person"):
        own(tmp_path, "    ask:", through)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: cannot be read"):
        read_templates("nowhere.yaml", ["en"], two_hop=False)
    assert BUILT_IN.is_file()
