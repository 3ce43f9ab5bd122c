from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

import tokenizers_in_memory as memory
from prealign.errors import TokenizerError
from prealign.text.words import rows, word_starts, word_table

TEXTS = {**memory.SNIPPETS, "mixed": memory.MIXED}
PIECES = [
    "house",
    "House",
    "Fluß",
    "дом",
    "房子",
    "البيت",
    "كِتَاب",
    "हिन्दी",
    "े",
    "е\u0301",
    "❤\ufe0f",
    "12",
    "7",
    " ",
    " ",
    "\n",
    ", ",
    ".",
    '"',
    "(",
    "-",
    "'",
    "—",
]


def kind(char: str) -> str:
    if char == " ":
        return "space"
    if char.isspace():
        return "line"
    return "word" if unicodedata.category(char)[0] in "LMN" else "sign"


def category(char: str) -> str:
    return unicodedata.category(char)[0]


def script(char: str) -> str:
    return unicodedata.name(char).split()[0]


def seams(tokenizer: Any, text: str) -> tuple[np.ndarray, list[tuple[bool, str, str, bool]]]:
    """Return the ids, and for each seam between two tokens: (a word begins there, characters around it, excepted?).

    The oracle: the tokenizer's own pre-token numbers and offsets, and the characters of the text at the seam. Excepted
    are digit groups (\\p{N}{1,3}), which are one number; parts of a sign or mark, which count as a letter; and two seams
    that some pre-tokenizers cut by what lies further off: within white space, and between scripts (`.Flu|ß`, `Flu ß`).
    """
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets, pieces = encoding["input_ids"], encoding["offset_mapping"], encoding.word_ids()
    decode = tokenizer.backend_tokenizer.decode
    broken = ["�" in decode([i], skip_special_tokens=False) for i in ids]
    unknown = {tokenizer.unk_token_id}
    found = []
    for j in range(1, len(ids)):
        start, end = offsets[j][0], offsets[j - 1][1]
        skipped = any(category(char) != "M" for char in text[end:start])  # white space; marks are some normalizers' own
        before, after = text[start - 1 if skipped or start < end else end - 1], text[start]
        by_kind = start >= end and (kind(before) == "line" or (kind(before) != "space" and kind(before) != kind(after)))
        marked = kind(before) == kind(after) == "word" and "M" in (category(before), category(after))
        marked = marked and not unknown & {ids[j - 1], ids[j]}
        begins = (pieces[j] != pieces[j - 1] and not marked) or skipped or by_kind
        excepted = (
            (before.isdigit() and after.isdigit())
            or ((broken[j] or broken[j - 1]) and (marked or "sign" in (kind(before), kind(after))))
            or (text[slice(*offsets[j - 1])].isspace() and text[slice(*offsets[j])].isspace())
            or (before.isascii() != after.isascii() and before.isalpha() and after.isalpha())
            or (marked and script(before) != script(after))
        )
        found.append((begins, before, after, excepted))
    return np.array(ids, dtype=np.int64), found


def check_seams(tokenizer: Any, text: str) -> None:
    ids, expected = seams(tokenizer, text)
    starts = word_table(tokenizer).starts(ids)
    assert starts.shape == ids.shape
    assert starts[:1].all()
    for start, (begins, before, after, excepted) in zip(starts[1:], expected, strict=True):
        assert excepted or start == begins, (before, after, text)


@pytest.mark.parametrize("language", TEXTS)
def test_words_begin_where_the_tokenizer_or_the_kind_of_character_says(tokenizer: Any, language: str) -> None:
    check_seams(tokenizer, TEXTS[language])


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join))
@settings(max_examples=60)
def test_words_begin_right_in_any_mixture_of_scripts(tokenizer: Any, text: str) -> None:
    check_seams(tokenizer, text.strip() or "a")


def test_digit_groups_are_one_number() -> None:
    tokenizer = memory.load("deepseek")
    ids = np.array(tokenizer.encode("of 1234567", add_special_tokens=False))
    words = np.split(ids, np.flatnonzero(word_starts(tokenizer, ids))[1:])
    assert [word_table(tokenizer).text(word) for word in words][-1] == "1234567"
    assert len(words[-1]) > 1


@pytest.mark.parametrize("language", TEXTS)
def test_words_tile_the_text(tokenizer: Any, language: str) -> None:
    text = TEXTS[language]
    table = word_table(tokenizer)
    ids = np.array(tokenizer.encode(text, add_special_tokens=False))
    words = np.split(ids, np.flatnonzero(table.starts(ids))[1:])
    assert np.array_equal(np.concatenate(words), ids)
    assert all(len(word) for word in words)
    assert not any(char.isspace() for word in words for char in table.text(word))


def test_the_words_of_an_english_sentence(tokenizer: Any) -> None:
    text = 'The old house stood by the river. "Whose is it?" asked Anna;\nnobody knew'
    table = word_table(tokenizer)
    ids = np.array(tokenizer.encode(text, add_special_tokens=False))
    words = [table.text(word) for word in np.split(ids, np.flatnonzero(table.starts(ids))[1:])]
    expected = ["The", "old", "house", "stood", "by", "the", "river", "Whose", "is", "it", "asked", "Anna"]
    expected += ["nobody", "knew"]
    lower = tokenizer.encode("A", add_special_tokens=False) == tokenizer.encode("a", add_special_tokens=False)
    assert [w for w in words if w.isalpha()] == [w.lower() if lower else w for w in expected]


@pytest.mark.parametrize(
    "text",
    [
        "किताब पानी हिन्दी में",
        "தமிழ் மொழி",
        "قَرَأَ الوَلَدُ كِتَابًا",
        "שָׁלוֹם עוֹלָם",
        "кни\u0301га доро\u0301га",
        unicodedata.normalize("NFD", "là où le café déçoit"),
    ],
)
def test_vowel_signs_and_accents_are_parts_of_their_words(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert word_starts(tokenizer, ids).sum() == len(text.split())


@given(st.data())
@settings(max_examples=50)
def test_a_seam_depends_on_its_two_tokens_only(tokenizer: Any, data: st.DataObject) -> None:
    ids = np.array(data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=2, max_size=30)))
    cut = data.draw(st.integers(1, len(ids) - 1))
    table = word_table(tokenizer)
    whole = table.starts(ids)
    assert np.array_equal(table.starts(ids[:cut]), whole[:cut])
    assert np.array_equal(table.starts(ids[cut:])[1:], whole[cut + 1 :])


def test_a_text_is_tokenised_first(tokenizer: Any) -> None:
    ids = tokenizer.encode(memory.EN, add_special_tokens=False)
    assert np.array_equal(word_starts(tokenizer, memory.EN), word_starts(tokenizer, ids))
    assert word_starts(tokenizer, memory.EN).dtype == bool
    assert word_starts(tokenizer, "").shape == (0,)
    assert word_starts(tokenizer, []).shape == (0,)


def test_special_tokens_stand_alone(tokenizer: Any) -> None:
    house = tokenizer.encode("house", add_special_tokens=False)
    starts = word_starts(tokenizer, [*house, tokenizer.eos_token_id, tokenizer.eos_token_id, *house])
    assert starts[len(house) : len(house) + 3].all()
    assert starts.sum() == 4


def test_parts_of_a_letter_stay_together(byte_bpe: Any) -> None:
    """Korean is not in the training text: each of its letters is three bytes."""
    ids = byte_bpe.encode("a 한국 b", add_special_tokens=False)
    starts = word_starts(byte_bpe, ids)
    assert len(ids) == 9 or len(ids) == 8
    assert starts.sum() == 3
    assert starts[[0, 1, -1]].all()


@pytest.mark.parametrize("ids", [[-1], [0, 10**6], [0, -5, 3]])
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Any, ids: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"must lie in 0\.\.{len(tokenizer) - 1}, got {min(ids)}\.\.{max(ids)}"):
        word_starts(tokenizer, ids)


def test_an_embedding_row_beyond_the_tokenizer_is_no_token(byte_bpe: Any) -> None:
    word_starts(byte_bpe, [len(byte_bpe) - 1])
    with pytest.raises(ValueError, match=f"got {len(byte_bpe)}"):
        word_starts(byte_bpe, [len(byte_bpe)])


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(TokenizerError, match="ByT5Tokenizer has no fast"):
        word_starts(ByT5Tokenizer(), [1, 2])


def test_added_tokens_renew_the_table() -> None:
    tokenizer = memory.word_piece()
    assert len(word_table(tokenizer).tail) == len(tokenizer)
    assert word_table(tokenizer) is word_table(tokenizer)
    tokenizer.add_tokens(["zzz"])
    assert word_table(tokenizer).text(np.array([len(tokenizer) - 1])) == "zzz"


def test_a_tokenizer_without_pre_tokenizer_has_the_same_words() -> None:
    """Llama 2's kind: the normaliser writes the space markers, and nothing splits."""
    metaspace = memory.load("metaspace")
    backend = Tokenizer.from_str(metaspace.backend_tokenizer.to_str())
    plain = Tokenizer(models.BPE())
    plain.model = backend.model
    plain.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    plain.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    llama = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", eos_token="</s>")
    for text in memory.SNIPPETS.values():
        ids = metaspace.encode(text, add_special_tokens=False)
        assert llama.encode(text, add_special_tokens=False) == ids
        assert np.array_equal(word_starts(llama, ids), word_starts(metaspace, ids))


def test_a_vocabulary_with_a_hole_needs_a_row_for_its_highest_id() -> None:
    tokenizer = memory.with_a_hole(20)
    assert (len(tokenizer), rows(tokenizer), tokenizer.eos_token_id) == (600, 620, 619)
    ids = tokenizer.encode("the house<|endoftext|>the river", add_special_tokens=False)
    assert 619 in ids
    found = word_table(tokenizer).starts(np.array(ids))
    assert found[ids.index(619)] and found[ids.index(619) + 1]
    assert word_table(tokenizer).surfaces[599:] == ("",) * 21
    tokenizer.add_tokens(["zzz"])
    assert rows(tokenizer) == tokenizer.convert_tokens_to_ids("zzz") + 1 == len(word_table(tokenizer).surfaces)


def test_rows_are_the_tokens_of_a_vocabulary_without_holes(tokenizer: Any) -> None:
    assert rows(tokenizer) == len(tokenizer)
