"""The tokenizer of a run: a pretrained fast one, or a byte-level BPE trained on the training text; and how many tokens it
takes to write a language.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import floor
from pathlib import Path

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from prealign.errors import TokenizerError
from prealign.languages import UNSPACED_LANGUAGES
from prealign.recipe.sections import TokenizerSection
from prealign.text.encode import AS_CHARACTERS
from prealign.text.words import SIGN_MARKS, Tokenizer, word_table

END_OF_TEXT = "<|endoftext|>"

_LETTERS = rf"[\p{{L}}\p{{M}}&&[^{SIGN_MARKS}]]+"
_SIGNS = rf"(?:[^\s\p{{L}}\p{{M}}\p{{N}}]|[{SIGN_MARKS}])+"
_PIECES = Regex(rf"'(?:s|t|re|ve|m|ll|d)| ?{_LETTERS}| ?\p{{N}}+| ?{_SIGNS}|\s+(?!\S)|\s+")
"""GPT-2's pattern, but that a mark goes with its letter: else no token would reach over a vowel sign of Hindi or Arabic."""


def get_tokenizer(section: TokenizerSection, texts: Iterator[str], *, trust_remote_code: bool) -> Tokenizer:
    """Load the tokenizer of `section.path`, or train one on `texts`.

    One without EOS, or without a fast implementation, is a TokenizerError.
    """
    if section.path is None:
        return train_tokenizer(texts, section.vocab_size)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            section.path, revision=section.revision or "main", trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError) as error:
        absent = "" if Path(section.path).is_dir() else "there is no such folder here, and the hub did not have it: "
        raise TokenizerError(f"tokenizer.path {section.path!r} cannot be loaded: {absent}{error}") from None
    if tokenizer.eos_token_id is None:
        raise TokenizerError(
            f"the tokenizer at {section.path!r} has no EOS token, and documents are separated by it. "
            'Give it one: `tokenizer.add_special_tokens({"eos_token": "</s>"})`, then `tokenizer.save_pretrained(...)`.'
        )
    word_table(tokenizer)
    return tokenizer


def document_start(tokenizer: Tokenizer, setting: bool | None) -> int | None:
    """Return the id that documents begin with, None if they begin with their text; setting: see `tokenizer.bos`.

    TokenizerError for a BOS that is asked for and that the tokenizer has not.
    """
    bos = tokenizer.bos_token_id
    if setting and bos is None:
        raise TokenizerError(
            "tokenizer.bos is true, but the tokenizer has no BOS token. Remove the setting, or give the tokenizer one: "
            '`tokenizer.add_special_tokens({"bos_token": "<s>"})`, then `tokenizer.save_pretrained(...)`.'
        )
    if setting is None and bos is not None:
        setting = tokenizer.encode("a")[:1] == [bos]
    return bos if setting else None


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE with one special token, the document separator."""
    tokenizer = FastTokenizer(models.BPE())
    pieces = pre_tokenizers.Split(_PIECES, "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size <= len(alphabet):
        raise TokenizerError(
            f"tokenizer.vocab_size {vocab_size} is too small: a byte-level vocabulary starts with {len(alphabet)} bytes."
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT)


def balanced_texts(text: Mapping[str, Iterable[str]], temperature: float) -> Iterator[str]:
    """Yield the texts of each language, those of small languages several times, to learn tokens on.

    A language with n characters is read about n^(1/temperature) / n times as often as the others, the largest one once.
    """
    sizes = {language: sum(map(len, texts)) for language, texts in text.items()} if temperature != 1.0 else {}
    times = {language: max(1, size) ** (1 / temperature - 1) for language, size in sizes.items()}
    for language, texts in text.items():
        factor = times[language] / min(times.values()) if times else 1.0
        for i, one in enumerate(texts):
            for _ in range(floor((i + 1) * factor) - floor(i * factor)):
                yield one


def written(texts: Iterable[str], language: str, tokenizer: Tokenizer, base: Tokenizer | None = None) -> dict[str, int]:
    """Return the "bytes" of texts, their "tokens", those before the extension of `base`, and "words" parted by white space.

    Languages without spaces have no such words.
    """
    texts = list(texts)
    counts = {"bytes": sum(len(text.encode()) for text in texts), "tokens": _tokens(texts, tokenizer)}
    counts |= {"base_tokens": _tokens(texts, base)} if base is not None else {}
    spaced = language.split("-")[0] not in UNSPACED_LANGUAGES
    return counts | ({"words": sum(len(text.split()) for text in texts)} if spaced else {})


def _tokens(texts: list[str], tokenizer: Tokenizer) -> int:
    return sum(map(len, tokenizer(texts, **AS_CHARACTERS)["input_ids"]))
