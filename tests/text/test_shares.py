"""Shares of languages by weights, passes and temperature."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealign.errors import RecipeError
from prealign.text.shares import Balance, token_shares

SIZES = {"a": 1, "b": 4, "c": 16}


def test_without_any_setting_there_is_as_much_as_there_is() -> None:
    assert token_shares(SIZES, Balance(), 99) is None


def test_shares_go_as_a_root_of_the_size() -> None:
    """Sizes 1, 4, 16: at temperature 2 their roots 1, 2, 4, over 7."""
    assert token_shares(SIZES, Balance(2.0), 99) == pytest.approx({"a": 1 / 7, "b": 2 / 7, "c": 4 / 7})
    assert token_shares(SIZES, Balance(1e9), 99) == pytest.approx(dict.fromkeys("abc", 1 / 3))


def test_weights_are_relative_and_those_of_languages_that_are_not_read_do_not_count() -> None:
    weights = {"a": 3, "b": 1, "c": 1, "d": 5}
    assert token_shares(SIZES, Balance(weights=weights), 99) == pytest.approx({"a": 0.6, "b": 0.2, "c": 0.2})


def test_passes_take_their_tokens_and_the_others_fill_up() -> None:
    """Of 100 tokens, 8 passes over 4 take 32; the remaining 68 go as 1 : 16."""
    shares = token_shares(SIZES, Balance(passes={"b": 8}), 100)
    assert shares == pytest.approx({"a": 0.04, "b": 0.32, "c": 0.64})
    assert list(shares or {}) == list(SIZES)


def test_languages_that_all_have_passes_share_by_them() -> None:
    """An arm that reads targets alone: 8 · 4 to 2 · 16."""
    assert token_shares({"b": 4, "c": 16}, Balance(passes={"b": 8, "c": 2}), 9) == pytest.approx({"b": 0.5, "c": 0.5})


@pytest.mark.parametrize("total", [32, 31, 1])
def test_passes_that_leave_nothing_are_refused(total: int) -> None:
    with pytest.raises(RecipeError, match=rf"b 8 × 4 tokens are 32 tokens, and the arm reads {total} in all"):
        token_shares(SIZES, Balance(passes={"b": 8}), total)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 1000), min_size=2),
    st.floats(0.1, 30),
    st.integers(1, 10**6),
)
def test_shares_are_one_in_all_and_passes_come_out(sizes: dict[str, int], times: float, spare: int) -> None:
    language = min(sizes)
    total = int(times * sizes[language]) + 1 + spare
    shares = token_shares(sizes, Balance(passes={language: times}), total)
    assert shares is not None and sum(shares.values()) == pytest.approx(1)
    assert shares[language] * total / sizes[language] == pytest.approx(times)
    others = [tag for tag in sizes if tag != language]
    assert len({round(shares[tag] / sizes[tag], 12) for tag in others}) == 1
