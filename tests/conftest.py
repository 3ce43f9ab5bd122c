from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import tokenizers_in_memory

settings.register_profile("prealign", deadline=None)
settings.load_profile("prealign")

TESTS = Path(__file__).parent
SLOW = (
    "run",
    "cli/test_cli.py",
    "methods/peers/test_sentence_arms.py",
    "methods/peers/test_sentence_ranks.py",
    "report/test_browser.py",
    "training/test_architectures.py",
    "training/test_compiled.py",
    "training/test_distributed.py",
    "training/test_launch.py",
    "training/test_resume.py",
    "test_docs.py",
    "test_extending.py",
    "test_notebook.py",
    "test_package.py",
    "test_site.py",
)
"""Tests that train whole runs, start processes or build pages: `make test-fast` leaves them out."""


def pytest_configure() -> None:
    """Hear interrupts: a shell starts what runs in its background with SIGINT ignored, and child processes inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `SLOW`, and fail if one of these is no longer there."""
    slow = [TESTS / name for name in SLOW]
    assert all(path.exists() for path in slow), "tests/conftest.py: SLOW names a test that is not there"
    for item in items:
        if any(item.path.is_relative_to(path) for path in slow):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", params=tokenizers_in_memory.ALL)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """Each of the five tokenizers in turn."""
    return tokenizers_in_memory.load(request.param)


@pytest.fixture(scope="session")
def byte_bpe() -> Any:
    """The byte-level BPE built in memory."""
    return tokenizers_in_memory.load("byte_bpe")
