"""The tokenizer of a run: a pretrained fast one, or a byte-level BPE trained on the training text."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from prealign.errors import TokenizerError
from prealign.recipe import TokenizerSection
from prealign.text.words import Tokenizer, word_table

END_OF_TEXT = "<|endoftext|>"


def get_tokenizer(section: TokenizerSection, texts: Iterator[str], *, trust_remote_code: bool) -> Tokenizer:
    """Load the tokenizer of `section.path`, or train one on `texts`.

    One without EOS, or without a fast implementation, is a TokenizerError.
    """
    if section.path is None:
        return train_tokenizer(texts, section.vocab_size)
    try:
        tokenizer = AutoTokenizer.from_pretrained(section.path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise TokenizerError(f"tokenizer.path {section.path!r} cannot be loaded: {error}") from None
    if tokenizer.eos_token_id is None:
        raise TokenizerError(
            f"the tokenizer at {section.path!r} has no EOS token, and documents are separated by it. "
            'Give it one: `tokenizer.add_special_tokens({"eos_token": "</s>"})`, then `tokenizer.save_pretrained(...)`.'
        )
    word_table(tokenizer)
    return tokenizer


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE with one special token, the document separator."""
    tokenizer = FastTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
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
