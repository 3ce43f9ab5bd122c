"""Bytes that are no file of ours, or nearly one, for tests that every file is read or refused."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# No deadline: the machine may be busy. In tmp_path each example overwrites the last one's file.
checked = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])

_ENDS = (b"\n", b"\r\n", b"\r", b"\t", b"")
_PIECES = ("", " ", "{", "}", "[", '"', "é", "\ufeff", "\u2028", "\x00")
_UNREADABLE = ("[" * 10_000, '{"a":' * 1500, "7" * 5000)


def noise(samples: Sequence[str], keys: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Random bytes; and lines, tabs, pieces of what a reader takes (`samples`), and JSON that has its `keys`."""
    texts = st.text(max_size=4) | st.sampled_from(["\ud800", "a\udc00", *samples])
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
    values = st.recursive(
        leaves, lambda own: st.lists(own, max_size=3) | st.dictionaries(texts, own, max_size=3), max_leaves=5
    )
    objects = st.dictionaries(st.sampled_from(keys) | texts, values, max_size=4) if keys else values
    pieces = st.sampled_from(samples) | st.sampled_from(_PIECES) | st.sampled_from(_UNREADABLE)
    bits = ((objects | values).map(json.dumps) | pieces).map(str.encode) | st.binary(max_size=4)
    return st.binary(max_size=60) | st.builds(bytes.join, st.sampled_from(_ENDS), st.lists(bits, max_size=8))
