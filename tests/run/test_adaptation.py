"""A pretrained model is adapted to a language in another script, from a checkpoint on disk to results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import toy_experiment
import toys
from prealign.files import read_json
from prealign.methods.alignment.words import word_forms
from prealign.methods.vocabulary.parametrised import export_plain
from prealign.recipe.arms import with_settings
from prealign.recipe.sections import Recipe
from prealign.report.results import Results
from prealign.report.tables.budget import budget
from prealign.report.tables.data import tokenizer
from prealign.report.tables.language_modelling import language_modelling
from prealign.run.data import Prepared
from prealign.run.results import collect_results
from prealign.run.stages import ArmRun
from prealign.text.tokenizers import train_tokenizer
from prealign.training.models import load_weights
from toy_experiment import record

NEW = 60
LETTERS = str.maketrans("abeiklmnorstu", "абеиклмнорсту")


def russian(text: str) -> str:
    return text.lower().translate(LETTERS)


def pretrained(folder: Path, text: list[str], *, tied: bool) -> None:
    """Train a model on the text for a few steps and write it with its tokenizer; it has more rows than the tokenizer ids."""
    own = train_tokenizer(iter(text), 300)
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "initializer_range": 0.02}
    model = toys.llama(320, tied=tied, pad_token_id=0, eos_token_id=0, bos_token_id=None, **shape)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for line in text[:30]:
        ids = torch.tensor([own.encode(line)[: toys.POSITIONS]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    own.save_pretrained(folder)


def recipe(folder: Path, **settings: Any) -> Recipe:
    made = toy_experiment.recipe(folder)
    lines = (folder / "en.txt").read_text().splitlines()
    (folder / "ru.txt").write_text("\n".join(map(russian, lines[20:45])) + "\n", encoding="utf-8")
    words = sorted({word.strip(".") for line in lines for word in line.lower().split()})
    (folder / "en-ru.tsv").write_text("".join(f"{w}\t{russian(w)}\n" for w in words), encoding="utf-8")
    pretrained(folder / "base", lines, tied=settings.pop("tied", False))
    sections = {
        "targets": [{"language": "ru", "text": [str(folder / "ru.txt")], "documents": "line"}],
        "split": {"validation": 2, "test": 3},
        "model": {"preset": None, "pretrained": str(folder / "base")},
        "tokenizer": {"path": str(folder / "base"), "extend": NEW},
        "lexicon": {
            "files": [{"path": str(folder / "en-ru.tsv"), "target": "ru"}],
            "minimum_count": 2,
            "held_out": 0.3,
        },
        "align": {"steps": 3, "pairs_per_batch": 16, "lm_batch_size": 2, "learning_rate": 1e-2, "freeze_body": True},
    }
    return with_settings(Recipe.model_validate(made.model_dump(exclude_unset=True) | sections), settings)


def runs(folder: Path, *arms: str, **settings: Any) -> dict[str, ArmRun]:
    made = recipe(folder, arms=list(arms), **settings)
    data, run = toy_experiment.prepared(made, folder / "run")
    return {name: ArmRun(name, 0, made, data, run, lambda _: None) for name in arms}


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ArmRun]:
    made = runs(tmp_path_factory.mktemp("adapted"), "joint", "prealign", "prealign_anchored")
    for arm in made.values():
        arm.execute()
    return made


def base_of(arm: ArmRun) -> tuple[Any, Any]:
    path = arm.recipe.model.pretrained
    return AutoTokenizer.from_pretrained(path), load_weights(arm.recipe.model, str(path))


def test_the_source_is_tokenised_as_before_and_the_target_in_fewer_tokens(arms: dict[str, ArmRun]) -> None:
    data: Prepared = arms["joint"].prepared
    base, _ = base_of(arms["joint"])
    text = dict(
        enumerate(Path(data.record["lexicon"]["reading"][0]["path"]).with_name("en.txt").read_text().splitlines(), 1)
    )
    for split in ("train", "validation", "test"):
        for row in data.tokens("en", split):
            assert row["input_ids"] == base.encode(text[int(row["document"].split(":")[1])])
    told = data.record["tokenizer"]
    assert told["new_tokens"] == NEW == len(data.tokenizer) - len(base)
    english, target = (told["held_out"][language] for language in ("en", "ru"))
    assert english["tokens"] == english["base_tokens"]
    assert target["tokens"] < target["base_tokens"] / 2
    rows = [row for split in ("validation", "test") for row in data.tokens("ru", split)]
    assert target["tokens"] == sum(len(row["input_ids"]) for row in rows)
    assert target["bytes"] == sum(row["bytes"] for row in rows)


def first_model(arm: ArmRun) -> Any:
    return arm.model_before(arm.phases[0], None)


def test_every_arm_begins_from_the_same_extended_base(arms: dict[str, ArmRun]) -> None:
    """Rows of the base as they are, those of new tokens from the words for training: nothing of a word that is held out."""
    arm = arms["prealign"]
    base, model = base_of(arm)
    size, starts = len(base), {name: first_model(own) for name, own in arms.items()}
    export_plain(starts["prealign_anchored"])
    for name, weight in starts["joint"].named_parameters():
        assert torch.equal(weight, starts["prealign"].get_parameter(name))
        torch.testing.assert_close(weight, starts["prealign_anchored"].get_parameter(name))
    old, new = (m.get_input_embeddings().weight.detach() for m in (model, starts["joint"]))
    assert torch.equal(new[:size], old[:size])
    words = word_forms(arm.lexicons[0], arm.prepared.tokenizer)
    source, target = ([words.ids[form] for form in words.first[:-1] + which] for which in (0, 1))
    single = {int(t[0]): s for s, t in zip(source, target, strict=True) if len(t) == 1 and t[0] >= size}
    others = np.concatenate([t for t in target if len(t) > 1])
    alone = [t for t in single if t not in others and len(set(single[t])) == 1]
    assert alone
    for token in alone:
        torch.testing.assert_close(new[token], old[int(single[token][0])])
    covered = {int(t) for own in target for t in own if t >= size}
    assert arm.new_rows is not None
    assert arm.new_rows.as_dict() == {"translations": len(covered), "pieces": NEW - len(covered)}
    assert 0 < len(covered) < NEW
    for token in set(range(size, size + NEW)) - covered:
        pieces = arm.prepared.new_tokens[token - size]
        torch.testing.assert_close(new[token], old[pieces].mean(0))
        text = arm.prepared.tokenizer.decode([token])
        assert base.decode(pieces) == text


def test_what_the_base_says_of_source_text_it_says_after_the_extension(arms: dict[str, ArmRun]) -> None:
    base, model = base_of(arms["joint"])
    ids = torch.tensor([arms["joint"].prepared.tokens("en", "test")[0]["input_ids"]])
    with torch.no_grad():
        before, after = (m.eval()(input_ids=ids).logits[..., : len(base)] for m in (model, first_model(arms["joint"])))
    torch.testing.assert_close(after, before)


def test_a_frozen_body_is_that_of_the_base_after_stage_1_and_moves_in_stage_2(arms: dict[str, ArmRun]) -> None:
    arm = arms["prealign"]
    _, model = base_of(arm)
    aligned, final = (arm.load(arm.folder(stage)) for stage in ("align", "pretrain"))
    for name, weight in model.named_parameters():
        if "embed" in name or "lm_head" in name:
            assert not torch.equal(aligned.get_parameter(name)[: len(weight)], weight)
        else:
            assert torch.equal(aligned.get_parameter(name), weight)
            assert not torch.equal(final.get_parameter(name), weight)
    body = sum(p.numel() for n, p in model.named_parameters() if "embed" not in n and "lm_head" not in n)
    assert record(arm, "align")["frozen"] == body / sum(p.numel() for p in aligned.parameters())
    assert "frozen" not in record(arm, "pretrain")


def test_budgets_match_and_results_tell_what_was_extended_and_frozen(arms: dict[str, ArmRun]) -> None:
    arm = arms["prealign"]
    run, made = arm.run, arm.base
    marks = {(name, 0): own.marks() for name, own in arms.items()}
    results = collect_results(made, arm.prepared, run, marks)
    spent = {name: sum(row["flops"] for row in results["budget"] if row["arm"] == name) for name in arms}
    step = arm.main_phase.cost(first_model(arm)).flops
    assert 0 <= spent["prealign"] - spent["joint"] < step
    (table,) = tokenizer(results)
    assert [row[0] for row in table.rows] == ["English", "Russian"]
    assert table.columns[1:3] == ("Tokens a word", "Tokens a word, before") and table.rows[0][1] == table.rows[0][2]
    assert f"{NEW} tokens are new" in table.note and arm.new_rows is not None
    for count in arm.new_rows.as_dict().values():
        assert f"({count}" in table.note
    _before_training(arms["joint"], results)
    (spending,) = budget(Results(results))
    assert "all but the embeddings, were frozen in 1 · align of PreAlign." in spending.note
    assert "2 · pretrain" not in spending.note


def _before_training(arm: ArmRun, results: dict[str, Any]) -> None:
    """The table has a row for the model that training starts from, with the perplexity of a naive loop."""
    model, log_p, count = first_model(arm).eval(), 0.0, 0
    for row in arm.prepared.tokens("ru", "test"):
        text, context, scored = [arm.prepared.before, *row["input_ids"]], arm.recipe.pretrain.context, 1
        for begin in range(0, len(text), context // 2):
            ids = torch.tensor([text[begin : begin + context]])
            with torch.no_grad():
                scores = model(input_ids=ids).logits[0].double().log_softmax(-1)
            for place in range(scored, begin + ids.shape[1]):
                log_p -= float(scores[place - begin - 1, text[place]])
                count += 1
            scored = max(scored, begin + ids.shape[1])
    (table,) = language_modelling(Results(results))
    (row,) = [row for row in table.rows if row[:2] == ("Russian", "Before training")]
    assert float(row[2].split()[0].replace(",", "")) == pytest.approx(np.exp(log_p / count), rel=2e-3)
    assert [row[1] for row in table.rows if row[0] == "English"][:2] == ["Before training", "Joint training"]
    assert set(row[4:]) == {"–"}
    assert {row["stage"] for row in results["comparisons"]} == {"pretrain"}


@pytest.mark.parametrize("settings", [{"pretrain.freeze_body": True}, {"lexicon.held_out": 0.0}])
def test_fingerprints_hear_of_it(arms: dict[str, ArmRun], settings: dict[str, Any]) -> None:
    arm = arms["prealign"]
    other = ArmRun("prealign", 0, with_settings(arm.base, settings), arm.prepared, arm.run, lambda _: None)
    assert other.marks()["pretrain"] != arm.marks()["pretrain"]
    assert read_json(arm.folder("pretrain") / "stage.json")["fingerprint"] == arm.marks()["pretrain"]


def test_tied_embeddings_and_a_body_frozen_all_the_way(tmp_path: Path) -> None:
    made = runs(tmp_path, "prealign_sustained", tied=True, **{"pretrain.freeze_body": True})
    arm = made["prealign_sustained"]
    arm.execute(last="pretrain")
    _, model = base_of(arm)
    final = arm.load(arm.folder("pretrain"))
    for name, weight in model.named_parameters():
        assert torch.equal(final.get_parameter(name)[: len(weight)], weight) != ("embed" in name)
    assert record(arm, "pretrain")["frozen"] == record(arm, "align")["frozen"] > 0
