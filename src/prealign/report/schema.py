"""The types of a results.json. Keys that are not named here may hold anything; no key is required here.

`type_problems` says which values have another type, each with its place in the file.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

Number = float | None


class _Run(TypedDict, total=False):
    arm: str
    seed: int
    stage: str


class _Measured(_Run, total=False):
    task: str
    language: str
    metric: str
    condition: str | None
    layer: int | None
    split: str
    low: Number
    high: Number


class _Score(_Measured, total=False):
    value: Number
    n: int
    chance: Number
    signature: str


class _Comparison(_Measured, total=False):
    baseline: str
    difference: Number
    p: Number
    p_holm: Number
    ratio: Number
    unit: str
    scale: str


class _Budget(_Run, total=False):
    tokens: float
    lm_tokens: float
    flops: float
    seconds: float
    steps: int
    frozen: float


class _Point(TypedDict, total=False):
    step: int
    tokens: float
    loss: Number
    lm_loss: Number
    align_loss: Number
    learning_rate: Number
    validation: dict[str, Number]
    seen: list[Number]
    held_out: list[Number]


class _Curve(_Run, total=False):
    language: str
    points: list[_Point]


class _Alignment(_Run, total=False):
    language: str
    value: Number
    n: int
    layers: str
    until: Number
    most: int


class _Initialisation(_Run, total=False):
    initialisation: str
    rows: int


class _Unfinished(_Run, total=False):
    reason: str


class _Switching(_Run, total=False):
    mode: str
    ratio: float
    coverage: float
    expected: float
    realised: float
    realised_tokens: float
    switched: dict[str, dict[str, dict[str, float | bool | None]]]


class _Mixture(_Run, total=False):
    language: str
    documents: int
    tokens: int
    expected: float
    passes: float
    share: float


class _Transfer(_Run, total=False):
    task: str
    tested: int
    train_examples: int
    truncated: dict[str, int]


class _Reading(TypedDict, total=False):
    path: str
    target: str
    summary: str


class _Lexicon(TypedDict, total=False):
    groups: int
    held_out: int
    coverage: dict[str, float]
    reading: list[_Reading]
    left_out: list[str]


class _Tested(TypedDict, total=False):
    target: str
    words: int
    asked: int
    asked_back: int
    pairs: int
    dropped: dict[str, int]
    strata: dict[str, int]


class _KeptOut(TypedDict, total=False):
    count: int
    examples: list[str]


class _Tests(TypedDict, total=False):
    kept_out: dict[str, _KeptOut]
    reading: list[_Reading]
    dictionaries: list[_Tested]


class _Tokenizer(TypedDict, total=False):
    new_tokens: int
    held_out: dict[str, dict[str, int]]


class _Origin(TypedDict, total=False):
    arms: list[str]
    seeds: list[int]
    command: str | None
    created: str | None
    version: str | None
    environment: dict[str, Any]


class _Source(TypedDict, total=False):
    language: str


class _Variant(TypedDict, total=False):
    extends: str
    set: dict[str, Any]


class _Recipe(TypedDict, total=False):
    arms: list[str]
    seeds: list[int]
    baseline: str
    source: _Source
    variants: dict[str, _Variant]


class _Results(TypedDict, total=False):
    name: str
    version: str | None
    created: str
    command: str
    recipe: _Recipe
    environment: dict[str, Any] | None
    arms: dict[str, dict[str, Any]]
    parts: list[_Origin]
    scores: list[_Score]
    budget: list[_Budget]
    comparisons: list[_Comparison]
    history: list[_Curve]
    dynamics: list[_Curve]
    alignment: list[_Alignment]
    initialisations: list[_Initialisation]
    unfinished: list[_Unfinished]
    families: list[list[str]]
    switching: list[_Switching]
    mixture: list[_Mixture]
    transfer: list[_Transfer]
    new_rows: list[_Run]
    corpus: dict[str, dict[str, dict[str, int]]]
    lexicon: _Lexicon
    tests: _Tests
    tokenizer: _Tokenizer
    knowledge: dict[str, Any]


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(_Results)


def type_problems(content: dict[str, Any]) -> list[str]:
    """Return a line for each value that has another type than the report reads: its place, and what it is to be."""
    try:
        _adapter().validate_python(content, strict=True)
    except ValidationError as error:
        return [f"{_place(found['loc'])}: {found['msg'].removeprefix('Input ')}" for found in error.errors()]
    return []


def _place(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
