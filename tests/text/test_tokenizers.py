"""What tokens are learned on, and how many a language takes."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers, processors

import tokenizers_in_memory as memory
from prealign.errors import TokenizerError
from prealign.text.extension import extend_tokenizer
from prealign.text.tokenizers import balanced_texts, document_start, train_tokenizer, written


@given(st.integers(1, 40), st.integers(1, 40), st.floats(1, 9))
def test_each_language_counts_as_its_share_to_the_power(one: int, other: int, temperature: float) -> None:
    text = {"en": [f"e{i:04}" for i in range(one)], "de": [f"d{i:04}" for i in range(other)]}
    read = Counter(balanced_texts(text, temperature))
    assert set(read) == {*text["en"], *text["de"]}
    sizes = {language: sum(read[own] for own in texts) for language, texts in text.items()}
    larger, smaller = ("en", "de") if one >= other else ("de", "en")
    assert sizes[larger] == max(one, other)
    expected = max(one, other) * (min(one, other) / max(one, other)) ** (1 / temperature)
    assert expected - 1.001 <= sizes[smaller] <= expected + 0.001
    times = [read[own] for own in text[smaller]]
    assert max(times) - min(times) <= 1


def test_at_temperature_1_the_text_is_as_it_is() -> None:
    text = {"en": ["a", "b", "a"], "de": ["c"]}
    assert list(balanced_texts(text, 1.0)) == ["a", "b", "a", "c"]


def test_balance_moves_tokens_from_the_large_language_to_the_small_one() -> None:
    text = {"en": [f"{memory.EN} {i}" for i in range(20)], "ru": [memory.RU]}
    takes = []
    for temperature in (1.0, 5.0):
        tokenizer = train_tokenizer(balanced_texts(text, temperature), 400)
        takes.append([written([t], language, tokenizer)["tokens"] for language, (t, *_) in text.items()])
    assert takes[1][0] >= takes[0][0] and takes[1][1] < takes[0][1]


def test_what_a_language_takes_is_counted() -> None:
    tokenizer = memory.load("byte_bpe")
    texts = ["zu Zwickau", "über"]
    counts = written(texts, "de", tokenizer)
    expected = sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
    assert counts == {"bytes": 10 + 5, "tokens": expected, "words": 3}
    extended, _ = extend_tokenizer(tokenizer, 5, [], lambda: ["Zwickau in Zwickau"] * 2)
    counts = written(texts, "de", extended, tokenizer)
    assert counts["base_tokens"] == expected > counts["tokens"]


@pytest.mark.parametrize("language", ["zh", "zh-hant", "ja"])
def test_languages_without_spaces_have_no_words_to_count(language: str) -> None:
    assert written([memory.ZH], language, memory.load("byte_bpe")).keys() == {"bytes", "tokens"}


def test_a_word_with_vowel_signs_can_be_one_token_and_text_without_any_is_gpt2s() -> None:
    tokenizer = train_tokenizer(iter(["हिन्दी में किताब"] * 50), 400)
    assert len(tokenizer.encode(" किताब")) == 1

    text = [*memory.SNIPPETS.values(), memory.MIXED, "don't  it's 12,345 we'll\n\tgo_on"]
    text += ["\u2764\ufe0f love \u26a0\ufe0fWarning 1\ufe0f\u20e3"]
    marks = {char for one in text for char in one if unicodedata.category(char)[0] == "M"}
    assert marks == {"\ufe0f", "\u20e3"}, "which are signs in text"
    as_gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own = train_tokenizer(iter(text), 400).backend_tokenizer.pre_tokenizer
    assert all(own.pre_tokenize_str(one) == as_gpt2.pre_tokenize_str(one) for one in text)


def test_documents_begin_with_bos_where_the_tokenizer_begins_texts_with_it_or_the_recipe_says_so() -> None:
    plain = memory.metaspace_bpe()  # has <s>, and does not write it
    llama = memory.metaspace_bpe()
    start = ("<s>", llama.bos_token_id)
    llama.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[start])
    found = {setting: [document_start(own, setting) for own in (plain, llama)] for setting in (None, True, False)}
    bos = llama.bos_token_id
    assert found == {None: [None, bos], True: [bos, bos], False: [None, None]}
    without = memory.byte_level_bpe()
    assert document_start(without, None) is document_start(without, False) is None
    with pytest.raises(TokenizerError, match=r"tokenizer\.bos is true, but the tokenizer has no BOS"):
        document_start(without, True)
