from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

import tokenizers_in_memory as memory
from prealign.methods.switching.switch import IGNORE
from prealign.text import blocks as packing
from prealign.text.blocks import Mixture, MixtureCounts, cut_blocks, text_blocks, write_blocks
from prealign.text.clone import clone_language
from toy_mixture import EOS, english, numbered, tokens, unswitched


def epoch(mixture: Mixture, number: int, seed: int = 0) -> list[tuple[list[int], list[int]]]:
    return [(ids.tolist(), labels.tolist()) for ids, labels in mixture.epoch(number, seed, MixtureCounts())]


def rows(blocks: Dataset) -> list[tuple[list[int], list[int]]]:
    return list(zip(blocks["input_ids"], blocks["labels"], strict=True))


# Epochs


def test_an_epoch_has_every_document_once_and_ends_it_with_eos() -> None:
    mixture = unswitched(en=[3, 0, 5, 2], de=[4, 1])
    documents = [ids for language in ("en", "de") for ids in mixture.tokens[language]["input_ids"]]
    for number in range(3):
        found = epoch(mixture, number)
        assert sorted(ids for ids, _ in found) == sorted([*ids, EOS] for ids in documents)
        assert all(ids == labels for ids, labels in found)  # EOS is a label as well


def test_the_order_depends_on_seed_and_epoch_and_mixes_the_languages() -> None:
    mixture = unswitched(en=[1] * 20, de=[1] * 20)
    orders = {(seed, number): epoch(mixture, number, seed) for seed in range(3) for number in range(3)}
    assert len({str(order) for order in orders.values()}) == 9
    assert epoch(mixture, 1, 2) == orders[2, 1]
    firsts = [sum(ids[0] <= 20 for ids, _ in order[:20]) for order in orders.values()]
    assert all(3 < n < 17 for n in firsts)


def test_only_the_source_language_is_switched() -> None:
    mixture = english(ratio=1)
    clone = clone_language(memory.load("byte_bpe"))
    originals = {
        language: [[*ids, mixture.eos] for ids in mixture.tokens[language]["input_ids"]] for language in mixture.tokens
    }
    counts = MixtureCounts()
    found = [(ids.tolist(), labels.tolist()) for ids, labels in mixture.epoch(0, 0, counts)]
    same = [ids for ids, labels in found if ids == labels]
    assert all(ids in same for ids in originals["en-clone"])
    switched = [(ids, labels) for ids, labels in found if ids not in originals["en-clone"]]
    assert sorted(clone.unmap(ids).tolist() for ids, _ in switched) == sorted(originals["en"])
    record = counts.record("en")
    assert record["switched_words"] == 18
    assert record["source_tokens"] == sum(len(ids) - 1 for ids in originals["en"])
    assert record["documents"] == len(found)
    lost = sum(labels.count(IGNORE) for _, labels in switched)
    assert lost == record["switched_tokens"] - record["switched_words"] > 0  # n - 1 for each switch
    assert all(labels[-1] == mixture.eos for _, labels in found)


def test_every_epoch_switches_other_words() -> None:
    mixture = english()
    first, again, second = (epoch(mixture, number) for number in (0, 0, 1))
    assert first == again
    assert sorted(first) != sorted(second)
    clone = clone_language(memory.load("byte_bpe"))
    assert sorted(clone.unmap(ids).tolist() for ids, _ in first) == sorted(
        clone.unmap(ids).tolist() for ids, _ in second
    )


def test_switching_does_not_change_the_order() -> None:
    one, other = english(ratio=1), english(ratio=0)
    clone = clone_language(memory.load("byte_bpe"))
    plain = [clone.unmap(ids).tolist() for ids, _ in epoch(other, 1)]
    assert [clone.unmap(ids).tolist() for ids, _ in epoch(one, 1)] == plain


def test_other_languages_do_not_change_the_switches() -> None:
    mixture = english()
    languages = {"en-clone": mixture.tokens["en-clone"], "en": mixture.tokens["en"]}
    alone = replace(mixture, tokens={"en": mixture.tokens["en"]})
    turned = replace(mixture, tokens=languages)
    assert sorted(epoch(turned, 1)) == sorted(epoch(mixture, 1))
    assert all(document in epoch(mixture, 1) for document in epoch(alone, 1))


# Cutting


@given(
    st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=4),
    st.integers(2, 7),
    st.integers(1, 40),
)
def test_blocks_are_the_documents_in_order_and_nothing_is_lost_but_the_remainder(
    lengths: list[list[int]], context: int, stretch: int
) -> None:
    first = 1
    epochs, everything = [], []
    for sizes in lengths:
        documents = numbered(sizes, first)
        first += sum(sizes)
        everything += [token for ids in documents for token in ids]
        epochs.append([(np.array(ids), -np.array(ids)) for ids in documents])
    stretches = list(cut_blocks(epochs, context, stretch))
    *full, (remainder, _) = stretches
    assert all(ids.shape == labels.shape and ids.shape[1] == context for ids, labels in full)
    assert all(np.array_equal(ids, -labels) for ids, labels in stretches)  # labels travel with their inputs
    assert np.concatenate([ids.ravel() for ids, _ in stretches]).tolist() == everything
    assert remainder.shape == (1, len(everything) % context)


def test_a_stretch_is_of_one_epoch_but_for_what_it_carries_on() -> None:
    context = 4
    epochs = [[(np.full(5, number), np.full(5, number)) for _ in range(6)] for number in range(3)]  # 30 tokens an epoch
    of_epoch = [ids.ravel() for ids, _ in cut_blocks(epochs, context, stretch=10)][:-1]
    assert len(of_epoch) >= 9
    last = [int(ids[-1]) for ids in of_epoch if len(ids)]
    assert last == sorted(last)
    for ids in of_epoch:
        assert (ids != ids[-1:]).sum() < context if len(ids) else True


# Writing


def test_exactly_so_many_blocks_are_written(tmp_path: Path) -> None:
    for blocks in (1, 2, 7, 40):
        written, counts = write_blocks(
            unswitched(en=[9, 4, 6], de=[7]), tmp_path / str(blocks), blocks=blocks, context=5, seed=0
        )
        assert len(written) == blocks == counts.blocks
        assert all(len(ids) == len(labels) == 5 for ids, labels in rows(written))
        # 26 tokens and 4 EOS make 6 blocks an epoch.
        assert counts.epochs == -(-blocks // 6)
        assert counts.record("en")["documents"] == 4 * counts.epochs


def test_an_epoch_of_blocks_has_every_token_once_but_the_remainder(tmp_path: Path) -> None:
    mixture = unswitched(en=[9, 4, 6], de=[7, 12])
    written, counts = write_blocks(mixture, tmp_path, blocks=10, context=4, seed=3)
    found = Counter(token for ids, _ in rows(written) for token in ids)
    chain = [token for ids, _ in epoch(mixture, 0, 3) for token in ids]
    assert len(chain) == 43
    assert counts.epochs == 1
    assert found == Counter(chain[:40])
    in_order = [chain[i : i + 4] for i in range(0, 40, 4)]
    assert sorted(ids for ids, _ in rows(written)) == sorted(in_order)
    assert [ids for ids, _ in rows(written)] != in_order  # shuffled


def test_tokens_of_one_epoch_are_carried_into_the_next(tmp_path: Path) -> None:
    mixture = unswitched(en=[5, 5])  # 12 tokens an epoch, blocks of 5
    written, _ = write_blocks(mixture, tmp_path, blocks=12, context=5, seed=0)
    found = Counter(token for ids, _ in rows(written) for token in ids)
    assert found == Counter(dict.fromkeys(range(1, 11), 5) | {EOS: 10})


def test_blocks_are_the_same_each_time_and_differ_by_seed(tmp_path: Path) -> None:
    made = [
        rows(write_blocks(english(), tmp_path / str(i), blocks=30, context=16, seed=seed)[0])
        for i, seed in enumerate((1, 1, 2))
    ]
    assert made[0] == made[1] != made[2]


def test_fewer_blocks_are_the_beginning_of_more(tmp_path: Path) -> None:
    few, many = (rows(write_blocks(english(), tmp_path / str(n), blocks=n, context=16, seed=1)[0]) for n in (9, 40))
    assert many[:9] == few


def test_labels_travel_with_their_inputs_through_shuffling(tmp_path: Path) -> None:
    mixture = english(ratio=0.8)
    written, counts = write_blocks(mixture, tmp_path, blocks=12, context=16, seed=1)
    expected = {
        (tuple(ids.tolist()), tuple(labels.tolist()))
        for stretch in cut_blocks([mixture.epoch(0, 1, MixtureCounts())], 16)
        for ids, labels in zip(*stretch, strict=True)
    }
    assert counts.epochs == 1
    assert {(tuple(ids), tuple(labels)) for ids, labels in rows(written)} <= expected
    assert any(IGNORE in labels for _, labels in rows(written))


def test_what_went_in_is_counted(tmp_path: Path) -> None:
    mixture = english(ratio=0.5)
    _, counts = write_blocks(mixture, tmp_path, blocks=60, context=16, seed=1)
    switcher: Any = mixture.rewriters["en"]
    results = [
        switcher.switch(ids, epoch=number, document=row)
        for number in range(counts.epochs)
        for row, ids in enumerate(mixture.tokens["en"]["input_ids"])
    ]
    for name in ("source_words", "switched_words", "source_tokens", "switched_tokens"):
        assert counts.record("en")[name] == sum(getattr(result, name) for result in results)
    assert counts.record("en")["documents"] == counts.epochs * sum(map(len, mixture.tokens.values()))
    assert counts.epochs > 1


# Blocks for validation


@pytest.mark.parametrize("blocks", [1, 3, 6, 50])
def test_text_blocks_are_the_first_of_the_documents_in_order(blocks: int) -> None:
    documents = numbered([9, 4, 6, 7])
    chain = [token for ids in documents for token in [*ids, EOS]]
    found = rows(text_blocks(tokens(documents), blocks=blocks, context=5, eos=EOS))
    expected = [chain[i : i + 5] for i in range(0, 30, 5)][:blocks]
    assert found == [(ids, ids) for ids in expected]


def test_too_little_text_makes_no_block() -> None:
    assert len(text_blocks(tokens([[1, 2]]), blocks=3, context=8, eos=EOS)) == 0


# Shares of languages


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.floats(0.05, 0.95),
    st.integers(0, 3),
)
def test_shares_are_kept_to_a_document_and_passes_are_whole(
    english: list[int], german: list[int], share: float, seed: int
) -> None:
    mixture = replace(unswitched(en=english, de=german), shares={"en": share, "de": 1 - share})
    counts, stream = MixtureCounts(), []
    for (ids, labels), _ in zip(mixture.stream(seed, counts), range(40), strict=False):
        assert ids is labels or np.array_equal(ids, labels)
        stream.append(ids.tolist())
        read = sum(own.tokens for own in counts.languages.values())
        for language, own in counts.languages.items():
            assert abs(own.tokens - mixture.shares[language] * read) <= 10, "no document has more tokens"
    english_stream = [ids for ids in stream if ids[0] <= sum(english)]
    for language, own in (("en", english_stream), ("de", [ids for ids in stream if ids not in english_stream])):
        whole = sorted([*ids, EOS] for ids in mixture.tokens[language]["input_ids"])
        size = len(whole)
        for first in range(0, len(own) - size + 1, size):
            assert sorted(own[first : first + size]) == whole, "each pass has every document once"
        if own:
            assert counts.languages[language].passes == pytest.approx(len(own) / size, abs=1 / size + 1e-9)


def test_what_is_kept_has_the_shares(tmp_path: Path) -> None:
    mixture = replace(unswitched(en=[7] * 50, de=[3, 4, 5]), shares={"en": 0.25, "de": 0.75})
    written, counts = write_blocks(mixture, tmp_path / "a", blocks=100, context=16, seed=0)
    german = sum(token > 350 for ids, _ in rows(written) for token in ids)
    words = sum(token != EOS for ids, _ in rows(written) for token in ids)
    # Of 8 tokens an English document, of 5 on average a German one are no EOS in 7 and 4.
    assert german / words == pytest.approx(0.75 * 4 / 5 / (0.75 * 4 / 5 + 0.25 * 7 / 8), abs=0.01)
    assert counts.languages["de"].passes > 70 and counts.epochs > 70
    assert counts.languages["en"].tokens + counts.languages["de"].tokens < 1600 + 16
    again, _ = write_blocks(mixture, tmp_path / "b", blocks=100, context=16, seed=0)
    other, _ = write_blocks(mixture, tmp_path / "c", blocks=100, context=16, seed=1)
    assert rows(again) == rows(written) != rows(other)


def test_with_shares_reading_ends_with_the_document_that_fills_the_last_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where blocks take several stretches, here of 160 tokens."""
    monkeypatch.setattr(packing, "_STRETCH", 160)
    mixture = replace(unswitched(en=[7] * 50, de=[3, 4, 5]), shares={"en": 0.25, "de": 0.75})
    for blocks in (1, 9, 10, 11, 19, 21, 100):
        written, counts = write_blocks(mixture, tmp_path / str(blocks), blocks=blocks, context=16, seed=0)
        assert len(written) == blocks
        assert 0 <= sum(own.tokens for own in counts.languages.values()) - 16 * blocks < 8, "a document has up to 8"


def test_a_repeated_document_is_switched_anew_on_every_pass() -> None:
    mixture = replace(english(), shares={"en": 0.5, "en-clone": 0.5})
    size = len(mixture.tokens["en"])
    stream = (ids.tolist() for ids, _ in mixture.stream(0, MixtureCounts()))
    originals = [[*ids, mixture.eos] for ids in mixture.tokens["en-clone"]["input_ids"]]
    source: list[list[int]] = []
    while len(source) < 2 * size:
        ids = next(stream)
        source += [ids] if ids not in originals else []
    clone = clone_language(memory.load("byte_bpe"))
    first, second = (sorted(part) for part in (source[:size], source[size:]))
    assert first != second
    assert sorted(clone.unmap(i).tolist() for i in first) == sorted(clone.unmap(i).tolist() for i in second)


def test_languages_are_counted_without_shares_too() -> None:
    mixture, counts = unswitched(en=[3, 0, 5], de=[4]), MixtureCounts()
    list(mixture.epoch(0, 0, counts))
    found = {language: (own.documents, own.tokens, own.passes) for language, own in counts.languages.items()}
    assert found == {"en": (3, 11, 1.0), "de": (1, 5, 1.0)}
