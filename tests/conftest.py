from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

import tokenizers_in_memory

settings.register_profile("prealign", deadline=None)
settings.load_profile("prealign")


@pytest.fixture(scope="session", params=tokenizers_in_memory.ALL)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """Each of the five tokenizers in turn."""
    return tokenizers_in_memory.load(request.param)


@pytest.fixture(scope="session")
def byte_bpe() -> Any:
    """The byte-level BPE built in memory."""
    return tokenizers_in_memory.load("byte_bpe")
