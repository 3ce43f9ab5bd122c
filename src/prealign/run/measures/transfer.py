"""Zero-shot cross-lingual transfer of a run's model."""

from __future__ import annotations

from pathlib import Path

from prealign.evaluation.transfer.data import TaskData, labelled_data, passage_data, without_test_rows
from prealign.evaluation.transfer.files import read_task
from prealign.evaluation.transfer.passages import Passage, draw_passages
from prealign.evaluation.transfer.transfer import Transfer, TransferEvaluation
from prealign.events import OnProgress
from prealign.languages import is_clone
from prealign.recipe.measures import TransferTask
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.text.clone import clone_language
from prealign.text.words import word_table
from prealign.training.models import load_weights


def evaluate_transfer(
    checkpoint: Path,
    task: TransferTask,
    prepared: Prepared,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    on_progress: OnProgress,
) -> TransferEvaluation:
    """Return the scores of a task, the answers per language, and the record of fine-tuning. folder: scratch folder."""
    data = task_data(task, prepared, recipe, seed)
    evaluator = Transfer(task, data, recipe.trainer, recipe.evaluate.batch_size, prepared.identity)
    model = load_weights(recipe.model, str(checkpoint))
    return evaluator(model, seed=seed, folder=folder, on_progress=on_progress)


def check_task(task: TransferTask, prepared: Prepared, recipe: Recipe, seed: int) -> None:
    """Check the data of a task within seconds, before hours of training. Raises DataError.

    Files are read and compared but not tokenised; passages are drawn.
    """
    if task.passages is None:
        files = read_task(task, prepared.languages[0])
        without_test_rows(files.train, files.tests.values())
    else:
        _from_passages(task, prepared, recipe, seed)


def task_data(task: TransferTask, prepared: Prepared, recipe: Recipe, seed: int) -> TaskData:
    """Return the examples of a task in the token ids of an arm. Training examples are drawn by seed. Raises DataError."""
    if task.passages is not None:
        return _from_passages(task, prepared, recipe, seed)
    return labelled_data(
        task,
        prepared.tokenizer,
        source=prepared.languages[0],
        clones=[language for language in prepared.languages if is_clone(language)],
        source_ids=recipe.mixture.clone_in_source_ids,
        max_tokens=task.max_tokens or recipe.pretrain.context,
        seed=seed,
    )


def _from_passages(task: TransferTask, prepared: Prepared, recipe: Recipe, seed: int) -> TaskData:
    """Draw training passages by `seed`, and test passages by `split.seed`, so that all seeds have the same tests.

    A clone's passages are the source's, in its ids.
    """
    section = task.passages
    assert section is not None
    source, *targets = prepared.languages
    table = word_table(prepared.tokenizer)

    def draw(language: str, split: str, examples: int, seed: int) -> list[Passage]:
        return draw_passages(
            prepared.tokens(language, split),
            table,
            section.classes,
            tokens=section.tokens,
            number=examples,
            separator=prepared.eos,
            seed=seed,
            what=f"{'training' if split == 'train' else split} documents in {language}",
        )

    train = draw(source, "train", section.train_examples, seed)
    tests = {source: draw(source, "test", section.test_examples, recipe.split.seed)}
    for target in targets:
        if is_clone(target):
            ids = (lambda ids: ids) if recipe.mixture.clone_in_source_ids else clone_language(prepared.tokenizer).map
            tests[target] = [Passage(ids(p.ids), p.label, p.document) for p in tests[source]]
        else:
            tests[target] = draw(target, "test", section.test_examples, recipe.split.seed)
    return passage_data(
        train, tests, paired=filter(is_clone, targets), max_tokens=task.max_tokens or recipe.pretrain.context
    )
