"""Word forms of a lexicon and the batches of groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

import toys
from prealign.errors import LexiconError
from prealign.lexicon import Group, Lexicon
from prealign.methods.alignment.words import WordForms, word_forms
from prealign.text.encode import encode_words


def single_pairs(groups: int) -> WordForms:
    return toys.forms(*([[2 * g], [2 * g + 1]] for g in range(groups)))


def batch_groups(words: WordForms, number: int, size: int, seed: int) -> list[int]:
    """The groups of a batch of pairs, one that is met twice twice."""
    groups: list[int] = words.numbered_batch(number, size, seed)["word_groups"].tolist()
    return groups[::2]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 5))
def test_each_group_comes_once_before_any_comes_again(groups: int, size: int, seed: int) -> None:
    words = single_pairs(groups)
    steps = 3 * groups // size + 2
    # A batch never holds a group twice, so what a batch at a lap's edge met twice is one short.
    laps = np.concatenate([words._permutation(seed, lap) for lap in range(steps * size // groups + 1)])
    for lap in range(len(laps) // groups):
        assert sorted(laps[lap * groups : (lap + 1) * groups]) == list(range(groups))
    for step in range(steps):
        batch = batch_groups(words, step, size, seed)
        assert set(batch) == set(laps[step * size : (step + 1) * size]) and len(batch) == len(set(batch))


def test_whole_laps_of_dividing_batches_hold_every_group_once() -> None:
    words = single_pairs(12)
    laps = [sorted(g for s in range(3 * lap, 3 * lap + 3) for g in batch_groups(words, s, 4, 7)) for lap in range(4)]
    assert laps == [list(range(12))] * 4
    orders = {tuple(g for s in range(3 * lap, 3 * lap + 3) for g in batch_groups(words, s, 4, 7)) for lap in range(4)}
    assert len(orders) == 4, "each lap is shuffled anew"


def test_a_batch_is_known_from_seed_and_number_alone() -> None:
    words, again = single_pairs(50), single_pairs(50)
    for _ in range(5):
        words.numbered_batch(0, 8, 3)
    late, fresh = words.numbered_batch(9, 8, 3), again.numbered_batch(9, 8, 3)
    assert all(np.array_equal(late[key], fresh[key]) for key in fresh)
    assert batch_groups(words, 9, 8, 3) != batch_groups(words, 9, 8, 4)


def test_a_batch_holds_all_forms_of_its_groups() -> None:
    words = toys.forms([[1], [2, 3]], [[4], [5], [6, 7, 8]], [[9, 9], [2, 3]])
    batch = words.batch(np.array([0, 2]))
    assert batch["word_ids"].tolist() == [[1, 0], [2, 3], [9, 9], [2, 3]]
    assert batch["word_lengths"].tolist() == [1, 2, 2, 2]
    assert batch["word_groups"].tolist() == [0, 0, 2, 2]
    surfaces = batch["word_surfaces"].tolist()
    assert surfaces[1] == surfaces[3] and len(set(surfaces)) == 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=6),
    st.integers(1, 8),
    st.integers(0, 3),
    st.integers(0, 9),
)
def test_one_sense_takes_one_form_per_language_of_the_same_groups(
    senses: list[list[int]], size: int, seed: int, number: int
) -> None:
    # Form f of language t of group g is the one token 100 g + 10 t + f.
    words = toys.forms(
        *(
            [[100 * g], *([100 * g + 10 * tag + f] for tag, n in enumerate(of, 1) for f in range(n))]
            for g, of in enumerate(senses)
        )
    )
    languages = [tag for of in senses for tag in (0, *(tag for tag, n in enumerate(of, 1) for _ in range(n)))]
    words = replace(words, language=np.array(languages))
    drawn = words.one_sense()
    batch, whole = drawn.numbered_batch(number, size, seed), words.numbered_batch(number, size, seed)
    expected = [
        100 * g + 10 * tag for g in sorted(set(whole["word_groups"].tolist())) for tag in range(len(senses[g]) + 1)
    ]
    assert [10 * (form // 10) for form in batch["word_ids"][:, 0].tolist()] == expected
    assert (batch["word_groups"] == batch["word_ids"][:, 0] // 100).all()
    assert set(batch["word_ids"][:, 0].tolist()) <= set(whole["word_ids"][:, 0].tolist())
    assert batch["member_groups"].tolist() == whole["word_groups"].tolist()
    assert batch["member_surfaces"].tolist() == whole["word_surfaces"].tolist()
    assert drawn.mean_forms_per_group == sum(len(of) + 1 for of in senses) / len(senses)
    assert drawn.mean_tokens_per_group == pytest.approx(drawn.mean_forms_per_group)  # each form has one token


def test_one_sense_draws_all_senses_equally_often_and_counts_their_expected_tokens() -> None:
    words = toys.forms([[1], [2], [3, 3], [4, 4, 4]], [[5], [6]])
    drawn = words.one_sense()
    assert drawn.mean_tokens_per_group == pytest.approx((1 + 2 + 1 + 1) / 2)
    first = [int(drawn.numbered_batch(n, 2, 0)["word_ids"][1, 0]) for n in range(600)]
    assert all(first.count(sense) == pytest.approx(200, abs=50) for sense in (2, 3, 4))
    again = [int(words.one_sense().numbered_batch(n, 2, 0)["word_ids"][1, 0]) for n in range(20)]
    assert again == first[:20], "a draw depends on seed and pass alone"
    halves = [drawn.numbered_batch(n, 1, 0) for n in range(2)]
    joined = drawn.numbered_batch(0, 2, 0)["word_surfaces"].tolist()
    assert sorted(s for half in halves for s in half["word_surfaces"].tolist()) == sorted(joined), "any batch size"


def test_a_lexicon_in_tokens(byte_bpe: Any) -> None:
    groups = [
        Group("house", translations={"de": ("Haus", "Gebäude"), "fr": ("maison",)}, count=9),
        Group("river", translations={"de": ("Fluß",)}),
        Group("building", translations={"de": ("Gebäude",)}, count=4),
    ]
    words = word_forms(Lexicon(groups, source="en"), byte_bpe)
    expected = [
        encode_words(byte_bpe, [word], language)[0].tolist()
        for word, language in [
            ("house", "en"), ("Haus", "de"), ("Gebäude", "de"), ("maison", "fr"),
            ("river", "en"), ("Fluß", "de"), ("building", "en"), ("Gebäude", "de"),
        ]
    ]  # fmt: skip
    assert [row.tolist() for row in words.ids] == expected
    assert words.first.tolist() == [0, 4, 6, 8] and words.groups == 3
    assert words.count.tolist() == [9, 1, 4]
    assert words.language.tolist() == [0, 1, 1, 2, 0, 1, 0, 1]
    assert words.surface[2] == words.surface[7] and len(set(words.surface.tolist())) == 7
    assert words.mean_forms_per_group == pytest.approx(8 / 3)
    assert words.mean_tokens_per_group == pytest.approx(sum(map(len, expected)) / 3)


def dropping(tokenizer: Any) -> Any:
    """The same tokenizer, but its normalizer deletes the letter q: "qq" has no tokens."""
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.normalizer = normalizers.Replace("q", "")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def test_forms_without_tokens_are_left_out_and_lonely_groups_with_them(byte_bpe: Any) -> None:
    # A word has the tokens that " word" has beyond the opener's, so the space must go too for none to be left.
    tokenizer = dropping(byte_bpe)
    lost = len(encode_words(tokenizer, ["qq"], "zh")[0])
    assert lost == 0
    groups = [
        Group("house", translations={"zh": ("qq",)}, count=5),
        Group("river", translations={"zh": ("河", "qq")}, count=3),
    ]
    words = word_forms(Lexicon(groups, source="en"), tokenizer)
    assert words.groups == 1 and words.count.tolist() == [3]
    assert [row.tolist() for row in words.ids] == [
        encode_words(tokenizer, ["river"], "en")[0].tolist(),
        encode_words(tokenizer, ["河"], "zh")[0].tolist(),
    ]
    with pytest.raises(LexiconError, match="none has a translation"):
        word_forms(Lexicon(groups[:1], source="en"), tokenizer)


ALIKE = toys.forms(
    *([[number, 5], [100 + number]] for number in (9, 3, 3, 7, 1, 8, 2, 6))
)  # their order: 4 6 1 2 7 3 5 0


@given(st.integers(0, 50), st.integers(0, 5), st.integers(1, 9), st.sampled_from([1, 2, 3, 8, 20]))
def test_a_pass_with_neighbours_reads_every_group_once(seed: int, lap: int, size: int, together: int) -> None:
    batches = range(lap * 8, lap * 8 + 8)
    read = [ALIKE.numbered_groups(number, 1, seed, together)[0].item() for number in batches]
    assert sorted(read) == list(range(8))
    joined = np.concatenate([ALIKE.numbered_groups(n, size, seed, together)[0] for n in range(-(-8 // size))])
    first = [ALIKE.numbered_groups(number, 1, seed, together)[0].item() for number in range(len(range(0, 8)))]
    assert set(joined) >= set(first), "any batch size"


@given(st.integers(0, 50), st.integers(0, 5), st.sampled_from([2, 3]))
def test_neighbours_by_their_tokens_come_one_after_another(seed: int, lap: int, together: int) -> None:
    read = [ALIKE.numbered_groups(number, 1, seed, together)[0].item() for number in range(lap * 8, lap * 8 + 8)]
    place = [[4, 6, 1, 2, 7, 3, 5, 0].index(group) for group in read]
    runs = np.split(place, np.flatnonzero(np.diff(place) != 1) + 1)
    # Chunks of `together`, but for the first and the last; two that happen to follow each other look like one.
    assert sum(len(run) % together for run in runs if 0 not in run and 7 not in run) == 0
    cut = [min(run) % together for run in runs if min(run)]
    assert len(set(cut)) <= 1, "one cut a pass"


def test_the_cut_and_the_order_change_with_the_pass() -> None:
    passes = {
        tuple(ALIKE.numbered_groups(n, 1, 0, 3)[0].item() for n in range(lap * 8, lap * 8 + 8)) for lap in range(6)
    }
    assert len(passes) == 6
