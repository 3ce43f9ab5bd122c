"""Packages that some ways to make a lexicon need, and that are installed as extras."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from prealign.errors import LexiconError


def needed(module: str, *, doing: str, package: str, extra: str) -> Any:
    """Import a module; LexiconError if it is not there, with what installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise LexiconError(
            f"{doing} needs the package {package} ({error}). Install it with `pip install 'prealign[{extra}]'`."
        ) from None
