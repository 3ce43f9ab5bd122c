"""Export of a run for lm-evaluation-harness: a tokenizer, and the knowledge questions as local tasks.

1. Checkpoints need no export: lm-eval loads them unchanged.
2. The tokenizer puts BOS (EOS in a run without BOS) before every text, as before documents in training, and adds nothing
   else.
3. Twin ids have no text, so each becomes an added token `<|clone:ID|>`, with the source id as ID. Added tokens are
   numbered after the vocabulary in the order of the source ids, like twins.
4. A knowledge question is a multiple-choice item in each language. Candidates are sorted by name: on ties lm-eval takes
   the first candidate, which must not be the true one systematically.
5. Tokenise each item as lm-eval does, and count items whose tokens differ from ours.
6. Write one task for each language and condition, and one group for each language.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from prealign.evaluation.knowledge.questions import QuestionTokens, tokenise_question
from prealign.files import write_text
from prealign.languages import is_clone
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import RunFolder, Tell, finished, run_stage, silent
from prealign.run.locks import alone_in
from prealign.seals import damage
from prealign.text.clone import clone_language
from prealign.text.facts.facts import Question
from prealign.text.words import Tokenizer

Item = dict[str, Any]

_TASK = """\
task: {name}
tag: {tag}
custom_dataset: !function scoring.load
dataset_kwargs: {where}
test_split: test
output_type: multiple_choice
doc_to_text: context
doc_to_choice: choices
doc_to_target: answer
target_delimiter: ""
process_results: !function scoring.per_token
metric_list:
  - {{metric: acc_per_token, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1}}
"""


def harness_command(place: Path, record: dict[str, Any], checkpoint: Path, recipe: Recipe) -> list[str]:
    """Return the lm-eval command that tests a checkpoint in all languages, except a clone in source ids."""
    source_ids = recipe.mixture.clone_in_source_ids
    groups = [group for language, group in record["groups"].items() if not (source_ids and is_clone(language))]
    arguments = [f"pretrained={checkpoint}", f"tokenizer={place / 'tokenizer'}"]
    tasks = ["--tasks", *(groups or ["TASK"]), "--include_path", str(place / "tasks" if groups else "FOLDER_OF_TASKS")]
    command = f"lm_eval run --model hf --batch_size {recipe.evaluate.batch_size} --model_args"
    return [*command.split(), *arguments, *tasks]


def written_harness(run: RunFolder, prepared: Prepared, tell: Tell = silent) -> tuple[Path, dict[str, Any]]:
    """Return the folder for lm-eval and its record (see `write_harness`). Writes it unless it is fresh.

    tell: gets a note if an older one is damaged.
    """
    place = run.harness
    with alone_in(place, patient=True):
        record = finished(place, prepared.mark, read=None)
        if place.exists() and (damaged := damage(place, read=None)):
            tell(f"damaged: {damaged}; the folder is written again")
        return place, record or run_stage(place, prepared.mark, lambda folder: write_harness(folder, prepared))


def write_harness(folder: Path, prepared: Prepared) -> dict[str, Any]:
    """Write `tokenizer/` and, if the run has made-up facts, `tasks/`. Returns the record.

    The record holds "groups" (task groups by language), "tasks" and "items" (their numbers), and "otherwise" (the
    number of items that lm-eval splits into other tokens than `evaluate_knowledge`).
    """
    questions = prepared.questions if "knowledge" in prepared.record else []
    clone = any(map(is_clone, prepared.languages))
    tokenizer = harness_tokenizer(prepared.tokenizer, clone=clone, before=prepared.before)
    tokenizer.save_pretrained(folder / "tokenizer")
    rows, otherwise, groups = [], 0, {}
    for language in questions[0].prompts if questions else ():
        groups[language] = f"prealign_knowledge_{language}"
        for question in questions:
            tokens = tokenise_question(question, language, prepared.tokenizer, before=prepared.before)
            rows.append(harness_item(question, language, tokens, tokenizer))
            otherwise += not reads_as(tokens, rows[-1], tokenizer)
    tasks = _write_tasks(folder / "tasks", rows, groups) if rows else 0
    return {"groups": groups, "tasks": tasks, "items": len(rows), "otherwise": otherwise}


def harness_tokenizer(tokenizer: Tokenizer, *, clone: bool, before: int) -> Tokenizer:
    """Return a copy of the tokenizer that puts the id `before` in front of every text.

    clone: it also has a token for each twin id.
    """
    extended = copy.deepcopy(tokenizer)
    start = {"id": "START", "ids": [before], "tokens": [extended.convert_ids_to_tokens(before)]}
    extended.backend_tokenizer.post_processor = TemplateProcessing(single="START $A", special_tokens=[start])
    if clone:
        twin = clone_language(tokenizer).twin
        ids = np.flatnonzero(twin != np.arange(len(twin)))
        texts = [f"<|clone:{i}|>" for i in ids]
        extended.add_tokens([AddedToken(text, normalized=False) for text in texts])
        assert extended.convert_tokens_to_ids(texts) == twin[ids].tolist(), "the vocabulary has holes"
    return extended


def harness_item(question: Question, language: str, tokens: QuestionTokens, tokenizer: Tokenizer) -> Item:
    """Return a question as a text item for `harness_tokenizer`. tokens: the question in the tokens of `language`."""
    prompt = question.prompts[language]
    context = prompt.rstrip()
    names = [question.answer, *(name for name in question.candidates if name != question.answer)]
    texts = [prompt[len(context) :] + name for name in names]
    if is_clone(language):
        context, *texts = (
            "".join(tokenizer.convert_ids_to_tokens(ids)) for ids in (tokens.prefix[1:], *tokens.candidates)
        )
    order = sorted(range(len(names)), key=names.__getitem__)
    return {
        "language": language,
        "condition": question.condition,
        "question": [question.relation, question.subject, question.answer],
        "context": context,
        "choices": [texts[i] for i in order],
        "answer": order.index(0),
        "tokens": [len(tokens.candidates[i]) for i in order],
    }


def reads_as(tokens: QuestionTokens, item: Item, tokenizer: Tokenizer) -> bool:
    """Whether lm-eval gets the tokens of `tokens`. It tokenises context + choice, and cuts at the context's length."""
    context = tokenizer.encode(item["context"])
    read = [tokenizer.encode(item["context"] + choice) for choice in item["choices"]]
    candidates = [ids[len(context) :] for ids in read]
    truth = item["answer"]
    return (
        context == tokens.prefix
        and candidates[truth] == tokens.candidates[0]
        and (sorted(candidates) == sorted(tokens.candidates))
    )


def _write_tasks(folder: Path, rows: Sequence[Item], groups: dict[str, str]) -> int:
    write_text(folder / "questions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    shutil.copy(Path(__file__).with_name("harness_scoring.py"), folder / "scoring.py")
    tasks = dict.fromkeys((row["language"], row["condition"]) for row in rows)
    for language, condition in tasks:
        name = f"{groups[language]}_{condition.replace('=', '').replace('|names', '_')}"
        where = json.dumps({"language": language, "condition": condition})
        write_text(folder / f"{name}.yaml", _TASK.format(name=name, tag=groups[language], where=where))
    return len(tasks)
