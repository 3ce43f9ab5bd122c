"""Extended tokenizers: the source's text stays as it is, and other text is what the base makes of it, joined."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

import tokenizers_in_memory as memory
from prealign.errors import TokenizerError
from prealign.text.extension import extend_tokenizer
from prealign.text.tokenizers import END_OF_TEXT, train_tokenizer
from prealign.text.words import word_starts

TARGETS = [memory.DE, memory.RU, memory.ZH, memory.AR] * 2
KINDS = ("byte_bpe", "metaspace", "gpt2", "qwen2", "llama", "gemma", "whole_words", "added")


def _parts(name: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(memory.load(name).backend_tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


@cache
def base(kind: str) -> Any:
    """A tokenizer in memory, or one of the classes that models come with, on its vocabulary."""
    if kind in memory.IN_MEMORY:
        return memory.load(kind)
    if kind == "added":  # tokens that are numbered after the vocabulary, and are not in it
        own = memory.byte_level_bpe()
        own.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        own.add_tokens(["<tool>"])
        return own
    vocab, merges = _parts("metaspace" if kind in ("llama", "gemma") else "byte_bpe")
    if kind == "gemma":
        special = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4}
        rest = [token for token in vocab if token not in {*special, "<s>", "</s>"}]
        return GemmaTokenizer(vocab=special | {t: i for i, t in enumerate(rest, 5)}, merges=merges)
    if kind == "llama":
        return LlamaTokenizer(vocab=vocab, merges=merges)
    if kind == "whole_words":  # Llama 3's kind: a word that is a token is written as it, whatever merges say
        data = json.loads(memory.load("byte_bpe").backend_tokenizer.to_str())
        data["model"]["ignore_merges"] = True
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(data)), eos_token="<|endoftext|>")
    return {"gpt2": GPT2Tokenizer, "qwen2": Qwen2Tokenizer}[kind](vocab=vocab, merges=merges)


def encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def expanded(ids: list[int], size: int, pieces: list[list[int]]) -> list[int]:
    return [piece for i in ids for piece in ([i] if i < size else pieces[i - size])]


@pytest.mark.parametrize("kind", KINDS)
def test_source_text_stays_and_target_text_gets_shorter(kind: str, tmp_path: Path) -> None:
    own = base(kind)
    before = own.backend_tokenizer.to_str()
    extended, pieces = extend_tokenizer(own, 60, [memory.EN], lambda: TARGETS)
    assert own.backend_tokenizer.to_str() == before
    assert len(extended) == len(own) + 60 == len(own) + len(pieces)
    extended.save_pretrained(tmp_path)
    for tokenizer in (extended, AutoTokenizer.from_pretrained(tmp_path)):
        assert len(tokenizer) == len(extended)
        assert tokenizer.all_special_ids == own.all_special_ids and tokenizer.eos_token_id == own.eos_token_id
        assert encode(tokenizer, memory.EN) == encode(own, memory.EN)
        for text in memory.SNIPPETS.values():
            ids = encode(tokenizer, text)
            assert expanded(ids, len(own), pieces) == encode(own, text)
            assert tokenizer.decode(ids) == own.decode(encode(own, text))
        for text in TARGETS:
            assert len(encode(tokenizer, text)) < len(encode(own, text))
    assert {i for text in TARGETS for i in encode(extended, text)} & {*range(len(own), len(extended))}


WORD = st.text("abcdeñш房子水", min_size=1, max_size=5)
TEXT = st.lists(WORD | st.sampled_from(["house", "Haus", "дом", ",", "\n", "12", "’", END_OF_TEXT]), max_size=12).map(
    " ".join
)


@pytest.mark.parametrize("kind", ["byte_bpe", "metaspace", "llama", "gemma", "whole_words"])
@settings(max_examples=12, deadline=None)
@given(source=st.lists(TEXT, max_size=4), target=st.lists(TEXT, min_size=1, max_size=4), other=TEXT)
def test_every_text_of_the_source_stays_whatever_the_target(
    kind: str, source: list[str], target: list[str], other: str
) -> None:
    own = base(kind)
    extended, pieces = extend_tokenizer(own, 15, source, lambda: target)
    for text in source:
        assert encode(extended, text) == encode(own, text)
    for text in (*target, other):
        assert extended.decode(encode(extended, text)) == own.decode(encode(own, text))
        if kind != "whole_words":  # which may write a word otherwise as soon as it is a token
            assert expanded(encode(extended, text), len(own), pieces) == encode(own, text)


@pytest.mark.parametrize("words", [1, 3])
def test_going_on_is_training_at_once(words: int) -> None:
    """Without anything to bar, K tokens and N more are the K + N that the library trains."""
    letters = "".join(char if char.isalpha() else " " for char in memory.DE + memory.RU)
    text = ["".join(word * words for word in letters.split()), letters, letters[5:90]]
    first, both = (train_tokenizer(iter(text), 300 + extra) for extra in (0, 40))
    extended, _ = extend_tokenizer(first, 40, [], lambda: text)
    found, expected = (json.loads(t.backend_tokenizer.to_str())["model"] for t in (extended, both))
    assert found["vocab"] == expected["vocab"]
    assert found["merges"] == expected["merges"]


def naive(
    words: Counter[tuple[str, ...]],
    barred: set[tuple[str, str]],
    vocabulary: dict[str, int],
    whole: set[str],
    number: int,
) -> list[str]:
    """BPE with counts made anew each time; of equally frequent pairs the one of older tokens wins."""
    found: list[str] = []
    taken = {*vocabulary, *whole}
    age = dict(vocabulary)
    while len(found) < number:
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                if pair not in barred and "".join(pair) not in taken:
                    counts[pair] += count
        top = max(counts.values(), default=0)
        if top < 2:
            break
        best = min((pair for pair, count in counts.items() if count == top), key=lambda pair: [age[s] for s in pair])
        if "".join(best) not in found:
            found.append("".join(best))
            age["".join(best)] = len(age)
        joined: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            new, i = [], 0
            while i < len(word):
                pair = word[i : i + 2]
                new.append("".join(pair) if pair == best else word[i])
                i += 2 if pair == best else 1
            joined[tuple(new)] += count
        words = joined
    return found


def test_what_the_source_has_is_barred_and_other_ways_are_found() -> None:
    """Against a loop: `ab` stands in the source, `abcd` must be made of `bc` and `cd`, or of what those join to."""
    own = train_tokenizer(iter([""]), 257)  # bytes alone
    counts = {"abcd": 64, "bcx": 21, "xyz": 10, "yzab": 5}
    text = [word for word, count in counts.items() for _ in range(count)]
    source = ["ab", "q ab cab", "xyz"]
    extended, _ = extend_tokenizer(own, 6, source, lambda: text)
    barred = {pair for one in source for word in one.split() for pair in pairwise(word)} | {("Ġ", "a"), ("Ġ", "c")}
    words = Counter({tuple(word): count for word, count in counts.items()})
    expected = naive(words, barred, own.get_vocab(), {"ab", "xyz"}, 6)
    assert extended.convert_ids_to_tokens(list(range(len(own), len(extended)))) == expected
    assert {"bc", "ab", "xyz"} & set(expected) == {"bc"}


def test_new_tokens_are_words_of_the_target_that_bring_their_space() -> None:
    for kind in ("byte_bpe", "metaspace", "gemma"):
        own = base(kind)
        text = ["In Zwickau wohnt Zwickau, Zwickau."] * 9
        extended, _ = extend_tokenizer(own, 30, [memory.EN], lambda text=text: text)  # type: ignore[misc]
        ids = encode(extended, "und Zwickau steht")
        word = extended.decode(ids[1:]) if kind == "byte_bpe" else extended.decode(ids)
        (at,) = [i for i, token in enumerate(ids) if "Zwickau" in extended.decode([token])]
        assert "Zwickau" in word and ids[at] >= len(own)
        assert word_starts(extended, ids)[at]


def test_characters_that_the_base_lacks_become_tokens_if_the_source_has_none_of_them() -> None:
    own = base("metaspace")
    text = ["Žižek ŽŽ žena 水", "Ženeva žito 水"]
    extended, pieces = extend_tokenizer(own, 4, ["a 水 river"], lambda: text)
    new = extended.convert_ids_to_tokens(list(range(len(own), len(extended))))
    assert {"ž", "Ž"} <= set(new) and not any("水" in token for token in new)
    assert all(own.convert_ids_to_tokens(own_pieces) for own_pieces in pieces)
    assert encode(extended, "a 水 river") == encode(own, "a 水 river")
    assert extended.decode(encode(extended, text[0])) == text[0]
    bytes_of = own.convert_ids_to_tokens(pieces[new.index("Ž")])
    assert bytes_of == [f"<0x{byte:02X}>" for byte in "Ž".encode()]


def test_too_little_text_gives_fewer_tokens() -> None:
    own = train_tokenizer(iter([""]), 257)
    extended, pieces = extend_tokenizer(own, 50, [], lambda: ["xyz xyz"])
    assert len(pieces) == 2 == len(extended) - len(own)  # xy and xyz, once without a space and once with one


@pytest.mark.parametrize("name", ["wordpiece", "minilm"])
def test_other_kinds_are_refused(name: str) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.extend: only a BPE tokenizer.*this is WordPiece"):
        extend_tokenizer(memory.load(name), 5, [], lambda: ["a"])


def test_ids_with_a_gap_are_refused() -> None:
    data = json.loads(memory.load("byte_bpe").backend_tokenizer.to_str())
    data["model"]["vocab"][data["model"]["merges"][-1][0] + data["model"]["merges"][-1][1]] = 700
    own = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(data)), eos_token="<|endoftext|>")
    with pytest.raises(TokenizerError, match="without a gap"):
        extend_tokenizer(own, 5, [], lambda: ["a"])
