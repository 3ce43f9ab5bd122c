"""Lexical initialisation: what is written into a model, how held rows move, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import toy_experiment
import toys
from prealign.errors import LexiconError, RecipeError
from prealign.lexicon import Lexicon
from prealign.methods.alignment.states import tied
from prealign.methods.peers.lexical import Lexical, LexicalStart
from prealign.recipe.arms import resolve_arm
from prealign.recipe.checks import contradictions
from prealign.recipe.sections import ModelSection, PretrainSection
from prealign.run.planned import planned_phases
from prealign.text.clone import clone_language

ROWS, WORDS, READ = (
    60,
    20,
    54,
)  # 0 .. 19 are English, 20 .. 39 their German twins, 40 .. 53 are of both; no more are read


@dataclass(frozen=True)
class Texts:
    """`Inputs` of texts over topics: an English text, and another German one in the twins of its tokens."""

    texts: Mapping[str, list[np.ndarray]]
    languages: tuple[str, ...] = ("en", "de")
    seed: int = 0
    training_sizes: Mapping[str, int] = field(default_factory=dict)
    training_lexicon: Lexicon = field(default_factory=lambda: Lexicon([], source="en", targets=["de"]))
    tokenizer: Any = None

    def training_ids(self, language: str) -> Iterator[np.ndarray]:
        return iter(self.texts[language])


def texts(**more: Any) -> Texts:
    generator = np.random.default_rng(0)
    topics = generator.dirichlet(np.full(34, 0.1), 10)
    made = [generator.choice(34, 60, p=topics[generator.integers(10)]) for _ in range(600)]
    english = [np.where(text < WORDS, text, text + WORDS) for text in made[:400]]
    return Texts({"en": english, "de": [text + WORDS for text in made[400:]]}, **more)


def start(inputs: Any, **settings: Any) -> LexicalStart:
    base: dict[str, Any] = {"model": ModelSection(), "pretrain": PretrainSection(), "seeds": "identical"}
    return LexicalStart(inputs, Lexical.Settings(**base | settings))


@pytest.fixture(params=["untied", "tied", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    made = toys.gpt2(rows=ROWS) if request.param == "gpt2" else toys.llama(rows=ROWS, tied=request.param == "tied")
    return made.eval()


def embeddings(model: Any) -> list[torch.Tensor]:
    return [head.weight.detach() for head in (model.get_input_embeddings(), model.get_output_embeddings())]


@pytest.mark.parametrize("hold", [None, 0.1])
def test_rows_have_the_scale_of_the_model_and_translations_are_near(model: Any, hold: float | None) -> None:
    before, was_tied = [rows.clone() for rows in embeddings(model)], tied(model)
    start(texts(), hold=hold).apply(model, fresh=True)
    assert tied(model) == was_tied
    for old, new in zip(before, embeddings(model), strict=True):
        assert torch.equal(new[READ:], old[READ:]), "tokens without text keep their rows"
        lengths, scale = new[:READ].norm(dim=1), float(old.square().mean().sqrt()) * toys.WIDTH**0.5
        torch.testing.assert_close(lengths, torch.full_like(lengths, scale))
        rows = normalize(new[: 2 * WORDS], dim=1)
        near = (rows[WORDS:] @ rows[:WORDS].T).argmax(1)
        assert (near == torch.arange(WORDS)).double().mean() > 0.7, "twins, by shared tokens and self-learning"
    again = [rows.clone() for rows in embeddings(model)]
    other = toys.llama(rows=ROWS)
    start(texts(), hold=hold).apply(other, fresh=True)
    directions = [normalize(rows[:READ], dim=1) for rows in (again[0], embeddings(other)[0])]
    torch.testing.assert_close(*directions), "the same text gives the same vectors"


def test_under_adam_held_rows_move_at_their_rate_and_the_export_computes_the_same(model: Any) -> None:
    held, ids = start(texts(), hold=0.1), torch.tensor([[0, 30, 55, 1, 41, 56]])
    held.apply(model, fresh=True)
    before = [rows.clone() for rows in embeddings(model)]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, eps=1e-12)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    trained = model(input_ids=ids).logits.detach()
    for old, new in zip(before, embeddings(model), strict=True):
        assert (new[:READ] - old[:READ]).abs().max() == pytest.approx(1e-3, rel=1e-2)
        assert (new[READ:] - old[READ:]).abs().max() == pytest.approx(1e-2, rel=1e-2), "rows without a start are free"
    held.export(model)
    torch.testing.assert_close(model(input_ids=ids).logits.detach(), trained)
    assert not [name for name, _ in model.named_parameters() if "parametrizations" in name]
    assert not [name for name, _ in model.named_buffers() if "parametrizations" in name]


def test_the_start_of_held_rows_is_saved(model: Any) -> None:
    start(texts(), hold=0.1).apply(model, fresh=True)
    assert [name for name in model.state_dict() if name.endswith("parametrizations.weight.0.start")]


def test_seeds_of_the_dictionary_are_words_of_the_lexicon(tmp_path: Path) -> None:
    """The toy's words come at random, so subwords have little but each other: twins are found far above chance."""
    recipe = toy_experiment.recipe(tmp_path, arms=["joint", "lexical"])
    arm = toy_experiment.arm(recipe, "lexical", tmp_path / "run")
    rows, vectors = start(arm, minimum_count=2, seeds="dictionary").vectors(arm.prepared.vocab_size, 16)
    counts, twin = arm.token_counts, clone_language(arm.tokenizer).map(np.arange(len(arm.tokenizer)))
    read = {language: np.flatnonzero(counts[language] >= 2) for language in ("en", "en-clone")}
    assert rows.tolist() == sorted({*read["en"].tolist(), *read["en-clone"].tolist()})
    place = {int(row): i for i, row in enumerate(rows)}
    source = [token for token in read["en"].tolist() if int(twin[token]) in place]
    own, others = vectors[[place[token] for token in source]], vectors[[place[int(twin[token])] for token in source]]
    hits = (others @ own.T).argmax(1) == np.arange(len(source))
    assert hits.mean() > 10 / len(source)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    apart = {language: [text[text < 2 * WORDS] for text in own] for language, own in texts().texts.items()}
    with pytest.raises(LexiconError, match="seeds: identical: no pair of German"):
        start(Texts(apart)).apply(toys.llama(rows=ROWS), fresh=True)
    identical = toy_experiment.recipe(tmp_path, arms=["lexical"], methods={"lexical": {"seeds": "identical"}})
    with pytest.raises(RecipeError, match="a clone shares no token"):
        planned_phases(resolve_arm(identical, "lexical"))
    trained = toy_experiment.recipe(
        tmp_path, arms=["lexical"], model={"preset": None, "pretrained": str(tmp_path / "model")}
    )
    with pytest.raises(RecipeError, match="replaces all embeddings"):
        planned_phases(resolve_arm(trained, "lexical"))
    wrong = toy_experiment.recipe(tmp_path, arms=["lexical"], methods={"lexical": {"seeds": "words"}})
    assert [key for key, _ in contradictions(wrong)] == [("methods", "lexical", "seeds")], "not the seeds of the recipe"
