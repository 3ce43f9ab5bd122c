"""What does not hold together in a recipe's transfer tasks, as far as can be told without reading their data."""

from __future__ import annotations

from collections.abc import Iterator

from prealign.arms import Key, Problem, did_you_mean, repeated
from prealign.recipe import CLONE_SUFFIX, Recipe, TransferTask


def transfer_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield what contradicts the rest of the recipe, task by task."""
    names = [task.name for task in recipe.transfer]
    for i in repeated(names):
        yield ("transfer", i, "name"), f"{names[i]!r} is named twice"
    for i, task in enumerate(recipe.transfer):
        yield from _tests(recipe, task, ("transfer", i, "tests"))
        yield from _columns(task, ("transfer", i))
        yield from _lengths(recipe, task, ("transfer", i))


def _tests(recipe: Recipe, task: TransferTask, key: Key) -> Iterator[Problem]:
    source = recipe.source.language
    known = [source, *(target.language for target in recipe.targets if not target.is_clone)]
    for language in task.tests:
        if language.endswith(CLONE_SUFFIX):
            yield (*key, language), f"a clone's test is made from the source's: remove {language!r}"
        elif language not in known:
            yield (*key, language), f"{language!r} is not a language of this recipe{did_you_mean(language, known)}"
    if task.train is not None and source not in task.tests:
        yield key, f"the source language has no test: add '{source}: FILE'"


def _columns(task: TransferTask, key: Key) -> Iterator[Problem]:
    """A column that is used must be named once; without `columns` the header of each file is asked when it is read."""
    used = [column for column in (task.text, task.pair, task.label) if column is not None]
    for i in repeated(used):
        yield key, f"text, pair and label are different columns, and {used[i]!r} is two of them"
    if task.columns is not None:
        for i in repeated(task.columns):
            yield (*key, "columns", i), f"{task.columns[i]!r} is named twice"
        for column in used:
            if column not in task.columns:
                yield (*key, "columns"), f"{column!r} is not among them{did_you_mean(column, task.columns)}"


def _lengths(recipe: Recipe, task: TransferTask, key: Key) -> Iterator[Problem]:
    context = recipe.pretrain.context
    if task.max_tokens is not None and task.max_tokens > context:
        yield (*key, "max_tokens"), f"{task.max_tokens} is above pretrain.context, {context}: positions never trained"
    if task.pair is not None and (task.max_tokens or context) < 3:
        yield (*key, "max_tokens"), f"{task.max_tokens} is too few for two sentences and what separates them"
    if task.passages is not None and task.passages.tokens > (task.max_tokens or context):
        limit = "max_tokens" if task.max_tokens else "pretrain.context"
        yield (
            (*key, "passages", "tokens"),
            f"{task.passages.tokens} is above {limit}, {task.max_tokens or context}: every passage would be cut",
        )
