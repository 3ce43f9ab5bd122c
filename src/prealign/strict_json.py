"""Strict JSON: values are parsed and checked, and every fault is a ValueError with its reason."""

from __future__ import annotations

import json
from typing import Any


def json_object(line: str) -> dict[str, Any]:
    """Parse a line that must be one JSON object. ValueError(reason) if it is not."""
    record = json_value(line)
    if not isinstance(record, dict):
        raise ValueError(f"not a JSON object: {shown(line)}")
    return record


def json_value(text: str) -> Any:
    """Parse JSON. ValueError(reason) if the text is not JSON, is nested too deeply, or has a number with too many digits."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.pos + 1:,}): {shown(text)}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"JSON with a number too long, or nested too deeply: {shown(text)}") from None


def check_text(value: object, what: str) -> str:
    """Return `value` if it is non-empty text that UTF-8 can encode, else ValueError(reason). what: names it there."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} is missing, empty or not text")
    try:
        # JSON can spell half a surrogate pair ("\\ud800"), which no UTF-8 file can hold.
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half a surrogate pair: {shown(ascii(value))}") from None
    return value


def check_texts(value: object, what: str) -> tuple[str, ...]:
    """Return a list of texts as a tuple. ValueError(reason) if `value` is anything else. what: names it there."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is missing or not a list")
    return tuple(check_text(item, f"an item of {what}") for item in value)


def objects(value: object, what: str) -> list[dict[str, Any]]:
    """Return a list of JSON objects; None gives an empty list. ValueError(reason) if `value` is anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{what} is not a list of objects")
    return value


def shown(text: str) -> str:
    """Return text for a message: quoted, cut to 40 characters, with invisible characters escaped."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
