"""Reading a results.json: the checked content, as nested plain data.

1. The file must be JSON of this version's schema.
2. Every section must be a list of objects with the keys that the report needs, of their types (`report.schema`).
3. No two scores may share an identity (arm, seed, task, language, metric, condition, layer, stage, split).

The first failing step ends the check. Its error names the file and lists up to five problems.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prealign.errors import ResultsError
from prealign.evaluation.score import SCHEMA
from prealign.files import plain_bytes
from prealign.report.schema import type_problems

Content = dict[str, Any]
Row = dict[str, Any]

_REQUIRED_KEYS: dict[str, tuple[str, ...]] = {
    "scores": ("arm", "seed", "task", "language", "metric", "value"),
    "budget": ("arm", "seed", "stage", "tokens", "lm_tokens", "flops", "seconds"),
    "comparisons": ("arm", "baseline", "task", "language", "metric", "difference", "low", "high", "p", "scale"),
    "history": ("arm", "seed", "stage", "points"),
    "alignment": ("arm", "seed", "stage", "language", "value", "layers", "until", "most"),
    "switching": ("arm", "seed", "ratio", "mode", "coverage", "expected", "realised"),
    "transfer": ("arm", "seed", "task"),
    "unfinished": ("arm", "seed", "reason"),
}
_IDENTITY = ("arm", "seed", "task", "language", "metric", "condition", "layer", "stage", "split")
_PROBLEMS_SHOWN = 5


def read_results(path: Path) -> Content:
    """Read and check a results.json.

    Raises ResultsError, naming the file, when it is missing, not JSON, of another schema, or lacks keys.
    """
    try:
        content = json.loads(plain_bytes(path).decode("utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror}); `prealign run` writes it") from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: not UTF-8 text (byte {error.start}); is it a results.json?") from error
    except RecursionError as error:
        raise ResultsError(f"{path}: nested too deeply; is it a results.json?") from error
    except json.JSONDecodeError as error:
        raise ResultsError(f"{path}:{error.lineno}: not JSON ({error.msg}); run `prealign run` again") from error
    if problems := _problems(content):
        hidden = len(problems) - _PROBLEMS_SHOWN
        lines = [*problems[:_PROBLEMS_SHOWN], *([f"and {hidden} more"] if hidden > 0 else [])]
        raise ResultsError("\n  ".join([f"{path}: not a results.json of schema {SCHEMA}:", *lines]))
    return content


def _problems(content: object) -> list[str]:
    if not isinstance(content, dict):
        return [f"a JSON object is expected, this is a {type(content).__name__}"]
    if content.get("schema") != SCHEMA:
        return [f"`schema` is {content.get('schema')!r}; write it again with this version of prealign"]
    found = [f"`{key}` is missing" for key in ("name", "recipe", "scores") if key not in content]
    for section, keys in _REQUIRED_KEYS.items():
        rows = content.get(section, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            found.append(f"`{section}` is not a list of objects")
            continue
        found += [f"{section}[{i}]: `{key}` is missing" for i, row in enumerate(rows) for key in keys if key not in row]
    return found or type_problems(content) or _duplicates(content["scores"])


def _duplicates(scores: Sequence[Row]) -> list[str]:
    counts = Counter(tuple(row.get(key) for key in _IDENTITY) for row in scores)
    return [f"{count} scores for {identity}" for identity, count in counts.items() if count > 1]
