"""The exceptions a user can meet. Each message says what is wrong, where, and what to do.

The command line turns a `PrealignError` into exit code 2 and its one message; anything else is a bug (exit code 1).
"""

from importlib import import_module
from typing import Any


class PrealignError(Exception):
    """Something the user can fix; `str(error)` is the whole message."""


class RecipeError(PrealignError):
    """A recipe that does not hold together: unknown key, wrong value, settings that contradict each other."""


class LexiconError(PrealignError):
    """A dictionary that cannot be read, or that has no use for this corpus."""


class CorpusError(PrealignError):
    """Text that is missing, empty or not what it says it is."""


class DataError(PrealignError):
    """Labelled data that is missing, damaged, or does not fit its task."""


class TokenizerError(PrealignError):
    """A tokenizer that cannot do what is asked of it."""


class RunFolderError(PrealignError):
    """A run folder that holds something else than this recipe expects."""


class RankError(PrealignError):
    """Another process of the same run ended, so this one cannot go on."""


class ResultsError(PrealignError):
    """A results.json that is missing, unreadable, or not of this version's format."""


def needed(module: str, *, doing: str, package: str, extra: str) -> Any:
    """Import a module; LexiconError if it is not there, with what installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise LexiconError(
            f"{doing} needs the package {package} ({error}). Install it with `pip install 'prealign[{extra}]'`."
        ) from None
