"""Ranking of answers, against one sequence at a time in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import toys
from prealign.errors import PrealignError
from prealign.evaluation.knowledge.questions import (
    QuestionTokens,
    candidate_scores,
    hits,
    knowledge_scores,
    tokenise_question,
)
from prealign.recipe.measures import KnowledgeSection
from prealign.recipe.templates import read_templates
from prealign.text.clone import clone_language
from prealign.text.facts.facts import Question, make_world, questions

EOS = 0


def asked(number: int = 12, candidates: int = 4, *, rows: int = 64) -> list[QuestionTokens]:
    """Questions whose prefixes and candidates are of many lengths."""
    rng = np.random.default_rng(0)

    def ids(low: int, high: int) -> list[int]:
        return [int(i) for i in rng.integers(1, rows, rng.integers(low, high))]

    return [QuestionTokens([EOS, *ids(0, 9)], [ids(1, 6) for _ in range(candidates)]) for _ in range(number)]


def naive(model: Any, questions: list[QuestionTokens]) -> np.ndarray:
    """Mean log-probability in float64, a sequence at a time, a token at a time."""
    model = model.double().eval()
    table = []
    for question in questions:
        row = []
        for candidate in question.candidates:
            total = 0.0
            for i, token in enumerate(candidate):
                read = torch.tensor([question.prefix + candidate[:i]])
                logits = model(input_ids=read).logits[0, -1]
                total += float(logits[token] - torch.logsumexp(logits, 0))
            row.append(total / len(candidate))
        table.append(row)
    return np.array(table)


@pytest.mark.parametrize("make", [toys.llama, toys.gpt2, toys.neox])
def test_scores_are_those_of_a_naive_loop(make: Any) -> None:
    questions = asked()
    model = make().train()
    scores = candidate_scores(model, questions, batch_size=7)
    assert scores.shape == (12, 4)
    assert model.training, "its mode is put back"
    with torch.no_grad():
        np.testing.assert_allclose(scores, naive(model, questions), atol=2e-5)


@pytest.mark.parametrize("make", [toys.llama, toys.gpt2, toys.neox])
def test_padding_and_order_change_nothing(make: Any) -> None:
    questions, model = asked(), make()
    alone = candidate_scores(model, questions, batch_size=1)
    np.testing.assert_allclose(candidate_scores(model, questions, batch_size=48), alone, atol=2e-6)
    backwards = candidate_scores(model, questions[::-1], batch_size=5)
    np.testing.assert_allclose(backwards[::-1], alone, atol=2e-6)


def test_a_model_that_cannot_tell_is_at_chance_exactly() -> None:
    model = toys.llama()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    won = hits(candidate_scores(model, asked(), batch_size=5))
    assert won.tolist() == [1 / 4] * 12


def test_hits_are_shared_among_the_tied() -> None:
    scores = np.array([[-1.0, -2, -3], [-2.0, -1, -3], [-1.0, -1, -3], [-1.0, -1 - 1e-7, -1 + 1e-7], [-2.0, -1, -1]])
    assert hits(scores).tolist() == [1, 0, 1 / 2, 1 / 3, 0]


def test_a_model_that_memorised_facts_answers_them(byte_bpe: Any) -> None:
    section = KnowledgeSection(exposures=[1], facts=4, objects=4, candidates=4, names_in_lexicon=1.0)
    templates = read_templates(None, ["en", "en-clone"], two_hop=False)
    world = make_world(templates, section, [])
    all_questions = [q for q in questions(world, templates, section, ["en", "en-clone"]) if q.relation == "eats"]
    tokens = [tokenise_question(q, "en", byte_bpe) for q in all_questions]
    taught = [question for question, q in zip(tokens, all_questions, strict=True) if q.condition.startswith("k=1")]
    assert len(taught) == 4 == len(tokens) - len(taught)
    model = toys.llama(rows=2 * len(byte_bpe), hidden_size=32, max_position_embeddings=128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        for question in taught:
            ids = torch.tensor([question.prefix + question.candidates[0]])
            toys.lm_loss(model, ids, ids).backward()
        optimizer.step()
        optimizer.zero_grad()
    won = hits(candidate_scores(model, tokens, batch_size=8))
    by_condition = {s.condition: s.value for s in knowledge_scores(all_questions, won, language="en", identity={})}
    assert by_condition["k=1|names=lexicon"] == 1
    assert by_condition["control|names=lexicon"] < 1


def test_questions_are_tokenised_as_running_text(tokenizer: Any) -> None:
    question = Question("k=1|names=lexicon", "r", "Zabok", "Kelif", ("Bogut", "Kelif"), {"en": "The home of Zabok is "})
    tokens = tokenise_question(question, "en", tokenizer)
    assert tokens.prefix[0] == tokenizer.eos_token_id
    for name, ids in zip(("Kelif", "Bogut"), tokens.candidates, strict=True):
        assert ids
        whole = tokenizer.encode(f"The home of Zabok is {name}", add_special_tokens=False)
        assert [*tokens.prefix[1:], *ids] == whole
    alone = tokenizer.encode("The home of Zabok is", add_special_tokens=False)
    assert tokens.prefix[1:] == alone, "these tokenizers read the prompt alike, whatever follows"


def test_a_question_begins_as_documents_do(byte_bpe: Any) -> None:
    prompts = dict.fromkeys(("en", "en-clone"), "The home of Zabok is ")
    question = Question("k=1|names=lexicon", "r", "Zabok", "Kelif", ("Kelif", "Bogut"), prompts)
    for language in prompts:
        plain, begun = (tokenise_question(question, language, byte_bpe, before=before) for before in (None, 7))
        start = clone_language(byte_bpe).map([7])[0] if language == "en-clone" else 7
        assert (begun.prefix, begun.candidates) == ([start, *plain.prefix[1:]], plain.candidates)


def test_a_clone_is_asked_in_twins_unless_it_is_read_in_source_ids(byte_bpe: Any) -> None:
    prompts = dict.fromkeys(("en", "en-clone"), "The home of Zabok is ")
    question = Question("k=1|names=lexicon", "r", "Zabok", "Kelif", ("Kelif", "Bogut"), prompts)
    source = tokenise_question(question, "en", byte_bpe)
    twins = tokenise_question(question, "en-clone", byte_bpe)
    clone = clone_language(byte_bpe)
    assert twins.prefix == clone.map(source.prefix).tolist() and twins.prefix[0] == source.prefix[0]
    assert [clone.unmap(ids).tolist() for ids in twins.candidates] == source.candidates
    assert min(min(ids) for ids in twins.candidates) >= clone.size
    assert tokenise_question(question, "en-clone", byte_bpe, source_ids=True) == source


def test_scores_are_shares_of_hits_with_their_interval() -> None:
    asked_of = [
        Question(condition, "r", "X", "A", ("A", "B", "C", "D"), {"en": "x "})
        for condition in ["k=1|names=lexicon"] * 4 + ["control|names=outside"] * 2
    ]
    scores = knowledge_scores(
        asked_of, np.array([1, 1, 0, 0.25, 0, 0.5]), language="en", identity={"tok": "9.ab", "v": "1"}
    )
    assert [(s.condition, s.value, s.n, s.chance) for s in scores] == [
        ("k=1|names=lexicon", 2.25 / 4, 4, 1 / 4),
        ("control|names=outside", 0.25, 2, 1 / 4),
    ]
    for score in scores:
        assert score.low is not None and score.high is not None and score.low < score.value < score.high
        assert (score.task, score.metric, score.stage, score.split) == ("knowledge", "accuracy", "pretrain", "test")
        assert score.signature.startswith(f"facts:{score.n}|of:4|tok:9.ab|v:1")


def test_a_question_longer_than_the_model_is_refused() -> None:
    question = QuestionTokens([EOS] * 60, [[1] * 5, [2]])
    with pytest.raises(PrealignError, match=r"has 65 tokens with its answer, and the model 64 positions"):
        candidate_scores(toys.gpt2(), [question], batch_size=2)


def test_a_diverged_model_is_refused() -> None:
    model = toys.llama()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(PrealignError, match="likelihood of answers is not finite"):
        candidate_scores(model, asked(), batch_size=4)
