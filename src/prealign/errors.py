"""The exceptions that users see. Each message says what is wrong, where, and what to do.

The command line prints the message of a `PrealignError` and exits with code 2. Any other exception is a bug (exit code
1).
"""

from importlib import import_module
from typing import Any


class PrealignError(Exception):
    """An error that the user can fix. `str(error)` is the whole message."""


class RecipeError(PrealignError):
    """An invalid recipe: unknown key, wrong value, or contradictory settings."""


class LexiconError(PrealignError):
    """A dictionary that cannot be read, or that is useless for this corpus."""


class CorpusError(PrealignError):
    """Text that is missing, empty or in the wrong format."""


class DataError(PrealignError):
    """Labelled data that is missing, damaged, or does not fit its task."""


class TokenizerError(PrealignError):
    """A tokenizer that lacks a required property, such as an EOS token."""


class RunFolderError(PrealignError):
    """A run folder with unexpected content, for example of another recipe."""


class WeightsError(PrealignError):
    """A model whose weights are missing, damaged, not finite, or do not fit its config."""


class DivergedError(PrealignError):
    """Numbers of one arm that are not finite: a loss, a gradient, weights, or the output of a model.

    Only this arm ends: the others of the run go on.
    """


class DiskError(PrealignError):
    """A disk that is full, read-only, or cannot be written or read for another reason."""


class RankError(PrealignError):
    """Another process of the same run ended, so this process cannot continue."""


class ResultsError(PrealignError):
    """A results.json that is missing, unreadable, or in the format of another version."""


def needed(module: str, *, doing: str, package: str, extra: str) -> Any:
    """Import and return an optional module. LexiconError with the install command if it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        raise LexiconError(
            f"{doing} needs the package {package} ({error}). Install it with `pip install 'prealign[{extra}]'`."
        ) from None
