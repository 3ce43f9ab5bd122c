"""Questions and clone text for lm-evaluation-harness: it reads, ranks and scores them as the project does."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

import tokenizers_in_memory
import toy_experiment
from prealign.cli.main import app
from prealign.evaluation.knowledge.questions import tokenise_question
from prealign.files import read_json
from prealign.recipe.measures import KnowledgeSection
from prealign.recipe.templates import read_templates
from prealign.run.experiment import run_experiment
from prealign.run.export.harness import harness_command, harness_item, harness_tokenizer, reads_as
from prealign.run.export.harness_scoring import per_token
from prealign.run.folder import RunFolder
from prealign.text.clone import clone_language
from prealign.text.facts.facts import Question, make_world, questions

LANGUAGES = ("en", "en-clone")


@pytest.mark.parametrize("name", [*tokenizers_in_memory.IN_MEMORY, "minilm"])
def test_every_text_begins_with_eos_and_is_else_as_it_was(name: str, tmp_path: Path) -> None:
    tokenizer = tokenizers_in_memory.load(name)
    text = "The old house stood by the river."
    plain = tokenizer.encode(text, add_special_tokens=False)
    harness_tokenizer(tokenizer, clone=False, before=tokenizer.eos_token_id).save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert saved.encode(text) == [tokenizer.eos_token_id, *plain]
    assert saved.encode(text, add_special_tokens=False) == plain
    assert saved.get_vocab() == tokenizer.get_vocab()


def test_every_text_begins_with_bos_where_documents_do(tmp_path: Path) -> None:
    tokenizer = tokenizers_in_memory.metaspace_bpe()
    bos = tokenizer.bos_token_id
    assert bos not in (None, tokenizer.eos_token_id)
    reader = harness_tokenizer(tokenizer, clone=True, before=bos)
    question = Question("control|names=outside", "r", "X", "river", ("river", "house"), {"en": "the old "})
    asked = tokenise_question(question, "en", tokenizer, before=bos)
    assert asked.prefix[0] == bos == reader.encode("The old house")[0]
    assert reads_as(asked, harness_item(question, "en", asked, reader), reader)


@pytest.mark.parametrize("name", tokenizers_in_memory.IN_MEMORY)
def test_clone_text_is_read_as_twins(name: str, tmp_path: Path) -> None:
    tokenizer = tokenizers_in_memory.load(name)
    clone = clone_language(tokenizer)
    harness_tokenizer(tokenizer, clone=True, before=tokenizer.eos_token_id).save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert len(saved) == clone.vocab_size
    for text in tokenizers_in_memory.SNIPPETS.values():
        twins = clone.encode(text).tolist()
        written = "".join(saved.convert_ids_to_tokens(twins))
        assert saved.encode(written) == [tokenizer.eos_token_id, *twins]
        assert saved.encode(text, add_special_tokens=False) == tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("name", tokenizers_in_memory.IN_MEMORY)
def test_items_are_read_as_the_project_asks_them(name: str) -> None:
    tokenizer = tokenizers_in_memory.load(name)
    section = KnowledgeSection(exposures=[1], facts=8, objects=4, candidates=3, two_hop=1)
    templates = read_templates(None, LANGUAGES, two_hop=True)
    asked_of = questions(make_world(templates, section, []), templates, section, LANGUAGES)
    reader, places = harness_tokenizer(tokenizer, clone=True, before=tokenizer.eos_token_id), []
    for language in LANGUAGES:
        for question in asked_of:
            asked = tokenise_question(question, language, tokenizer)
            item = harness_item(question, language, asked, reader)
            assert reads_as(asked, item, reader)
            places.append(item["answer"])
            if language == "en":
                assert item["choices"] == sorted(item["choices"])
                assert item["context"] + item["choices"][item["answer"]] == question.prompts["en"] + question.answer
    assert set(places) == {0, 1, 2}, "the place of the truth tells nothing"


def test_a_text_that_tokens_cross_is_seen(byte_bpe: Any) -> None:
    question = Question("control|names=outside", "r", "X", "use", ("use", "at"), {"en": "the old ho"})
    asked = tokenise_question(question, "en", byte_bpe)
    assert byte_bpe.encode(" house", add_special_tokens=False) != [
        i for part in (" ho", "use") for i in byte_bpe.encode(part, add_special_tokens=False)
    ]
    reader = harness_tokenizer(byte_bpe, clone=False, before=byte_bpe.eos_token_id)
    assert not reads_as(asked, harness_item(question, "en", asked, reader), reader)


def test_the_mean_over_tokens_decides() -> None:
    results = [(-3.0, False), (-4.0, False), (-9.0, True)]  # the sum has the first ahead, the mean the second
    assert per_token({"tokens": [1, 2, 3], "answer": 1}, results) == {"acc_per_token": 1.0}
    assert per_token({"tokens": [1, 2, 3], "answer": 0}, results) == {"acc_per_token": 0.0}


# A whole run, asked by lm-eval


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("harness")
    (folder / "own.yaml").write_text(toy_experiment.TEMPLATES)
    knowledge = {"exposures": [1, 2], "facts": 12, "objects": 3, "candidates": 3, "templates": str(folder / "own.yaml")}
    recipe = toy_experiment.recipe(
        folder, knowledge=knowledge, arms=["joint", "merged_ids"], pretrain__learning_rate=3e-2, pretrain__steps=12
    )
    run = RunFolder(folder / "run")
    run_experiment(recipe, run, lambda _: None, command="test")
    return run


def command(run: RunFolder, arm: str) -> list[str]:
    """What `prealign harness` prints last."""
    result = CliRunner().invoke(app, ["harness", str(run.recipe), "--arm", arm, "--out", str(run.root)])
    assert result.exit_code == 0, result.output
    assert "other" not in result.stdout, "no warning"
    return shlex.split(result.stdout.splitlines()[-1])


def test_an_arm_that_reads_the_clone_in_source_ids_is_not_asked_in_twins(made: RunFolder) -> None:
    assert "prealign_knowledge_en-clone" in command(made, "joint")
    assert "prealign_knowledge_en-clone" not in command(made, "merged_ids")
    assert "prealign_knowledge_en" in command(made, "merged_ids")


def test_a_run_without_facts_leaves_the_task_to_the_user(tmp_path: Path) -> None:
    recipe = toy_experiment.recipe(tmp_path)
    record: dict[str, Any] = {"groups": {}, "tasks": 0}
    assert "--tasks TASK --include_path FOLDER_OF_TASKS" in " ".join(
        harness_command(tmp_path, record, tmp_path, recipe)
    )


def test_lm_eval_agrees_item_by_item(made: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="pip install 'prealign[harness]'")
    wanted = made.stage("joint", 0, "knowledge")
    ours = read_json(wanted / "knowledge.json")
    program, *arguments = command(made, "joint")
    assert program == "lm_eval"
    output = ["--device", "cpu", "--log_samples", "--output_path", str(tmp_path)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run([sys.executable, "-m", program, *arguments, *output], check=True, env=os.environ | offline)
    (results,) = tmp_path.glob("*/results_*.json")
    samples = [json.loads(line) for path in tmp_path.glob("*/samples_*.jsonl") for line in path.open(encoding="utf-8")]
    assert len(samples) == sum(len(o["questions"]) for by_language in ours.values() for o in by_language.values())
    for sample in samples:
        item = sample["doc"]
        own = ours[item["condition"]][item["language"]]
        row = own["questions"].index(item["question"])
        means = np.array([float(total) for total, _ in sample["filtered_resps"]]) / item["tokens"]
        np.testing.assert_allclose(means[item["answer"]], own["log_probs"][row][0], atol=1e-4)
        np.testing.assert_allclose(np.sort(means), np.sort(own["log_probs"][row]), atol=1e-4)
        assert sample["acc_per_token"] == own["correct"][row]
    theirs = {task: entry["acc_per_token,none"] for task, entry in read_json(results)["results"].items()}
    for score in read_json(wanted / "stage.json")["scores"]:
        condition = score["condition"].replace("=", "").replace("|names", "_")
        assert theirs[f"prealign_knowledge_{score['language']}_{condition}"] == pytest.approx(score["value"])
