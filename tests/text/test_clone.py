from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tokenizers_in_memory as memory
from prealign.lexicon import Group
from prealign.text.clone import clone_language


def test_every_token_but_the_specials_has_a_twin_of_its_own(tokenizer: Any) -> None:
    clone, size = clone_language(tokenizer), len(tokenizer)
    special = set(tokenizer.all_special_ids)
    others = [i for i in range(size) if i not in special]
    twins = clone.map(np.arange(size)).tolist()
    assert [twins[i] for i in special] == list(special)
    assert [twins[i] for i in others] == list(range(size, 2 * size - len(special)))
    assert clone.vocab_size == 2 * size - len(special)


def test_an_id_in_a_hole_of_the_vocabulary_has_no_twin() -> None:
    tokenizer = memory.with_a_hole(20)
    clone = clone_language(tokenizer)
    assert clone.vocab_size == 620 + 599
    twins = clone.map(np.arange(620))
    assert twins[599:].tolist() == list(range(599, 620))  # the hole and EOS
    assert twins[:599].tolist() == list(range(620, 620 + 599))
    assert np.array_equal(clone.unmap(twins), np.arange(620))


def test_mapping_back_undoes_mapping(tokenizer: Any) -> None:
    clone = clone_language(tokenizer)
    ids = np.arange(len(tokenizer))
    assert np.array_equal(clone.unmap(clone.map(ids)), ids)
    assert np.array_equal(clone.unmap(ids), ids)


def test_clone_text_has_the_grammar_of_its_source_and_not_one_token_in_common(tokenizer: Any) -> None:
    clone = clone_language(tokenizer)
    ids = [i for i in tokenizer.encode(memory.EN, add_special_tokens=False) if i not in tokenizer.all_special_ids]
    mapped = clone.encode(memory.EN)
    assert np.array_equal(clone.unmap(mapped), ids)
    assert not set(mapped.tolist()) & set(ids)


def test_any_shape_is_mapped(byte_bpe: Any) -> None:
    clone = clone_language(byte_bpe)
    ids = np.arange(12).reshape(2, 2, 3)
    assert clone.map(ids).shape == ids.shape
    assert clone.map([]).shape == (0,)
    assert clone.map(5) == len(byte_bpe) + 4  # id 0 is the only special token


@pytest.mark.parametrize("bad", [-1, None])
def test_ids_outside_are_refused(byte_bpe: Any, bad: int | None) -> None:
    clone = clone_language(byte_bpe)
    with pytest.raises(ValueError, match="must lie in"):
        clone.map([0, len(byte_bpe) if bad is None else bad])
    with pytest.raises(ValueError, match="must lie in"):
        clone.unmap([0, clone.vocab_size if bad is None else bad])


def test_the_dictionary_is_perfect(byte_bpe: Any) -> None:
    clone = clone_language(byte_bpe)
    lexicon = clone.lexicon({"house": 7, "the": 9})
    assert (lexicon.source, lexicon.targets) == ("en", ("en-clone",))
    assert lexicon.groups == (
        Group("house", {"en-clone": ("house",)}, 7, ("clone",)),
        Group("the", {"en-clone": ("the",)}, 9, ("clone",)),
    )
    assert lexicon.coverage({"house": 3, "The": 1}) == {"en-clone": 1.0}
    unknown = clone.lexicon(["Haus", "Haus"], source="de")
    assert [(g.word, g.count, dict(g.translations)) for g in unknown] == [("Haus", None, {"de-clone": ("Haus",)})]
