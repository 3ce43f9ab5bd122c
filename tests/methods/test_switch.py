from __future__ import annotations

import pickle
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare
from torch.utils.data import DataLoader, Dataset

import tokenizers_in_memory as memory
from prealign.errors import LexiconError, RecipeError
from prealign.lexicon import Group, Lexicon
from prealign.methods.switching.switch import IGNORE, CodeSwitcher, Switched, switch_tokens
from prealign.text.clone import clone_language
from prealign.text.words import word_starts, word_table

TARGETS = ("de", "ru", "zh", "en-clone")
LEXICON = Lexicon(
    [
        Group("house", {"de": ("Haus", "Gebäude"), "ru": ("дом",), "zh": ("房子",), "en-clone": ("house",)}),
        Group("river", {"de": ("Fluß",), "en-clone": ("river",)}),
        Group("water", {"de": ("Wasser",), "ru": ("вода",), "zh": ("水",)}),
        Group("bread", {"de": ("Brot",), "zh": ("面包",)}),
        Group("the", {"de": ("der", "die", "das"), "en-clone": ("the",)}),
        Group("slow", {"de": ("ziemlich langsam",)}),
        Group("Paris", {"ru": ("Париж",), "en-clone": ("Paris",)}),
        Group("Anna", {"ru": ("Анна",)}),
        Group("old", {"en-clone": ("old",)}),
        Group("nobody", {"ru": ("никто", "никто не")}),
        Group("12", {"de": ("zwölf",)}),
        Group("old house", {"de": ("Altbau",)}),  # no word of a text: matched by nothing
    ],
    source="en",
)
WORDS = ["the", "The", "THE", "house", "House", "HOUSE", "river", "Rivers", "Paris", "paris", "PARIS", "Anna", "slow"]
WORDS += ["old", "nobody", "bread", "12", "7", "of"]
GLUE = [" ", " ", " ", " ", "\n", ", ", ". ", ' "', '" ', " (", ") ", "-", "'s ", "  "]

texts = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GLUE)), max_size=25).map(
    lambda pairs: "".join(word + glue for word, glue in pairs)
)
ratios = st.sampled_from([0.0, 0.05, 0.3, 0.5, 1.0]) | st.floats(0, 1)


def encode(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


@cache
def switcher(name: str, ratio: float = 0.5, mode: Any = "input_only", seed: int = 0) -> CodeSwitcher:
    return CodeSwitcher(memory.load(name), LEXICON, ratio=ratio, mode=mode, seed=seed)


def with_ratio(name: str, ratio: float) -> CodeSwitcher:
    """A switcher of any ratio on the table of another: building tables is slow."""
    made = pickle.loads(pickle.dumps(switcher("byte_bpe")))
    base = switcher(name)
    made.words, made.table, made.ratio = base.words, base.table, ratio
    return made


# The oracle: a dictionary from token tuples to translations, and a loop over the words


def written(tokenizer: Any, word: str, language: str, context: str) -> tuple[int, ...]:
    """The tokens a word adds to a text that ends in a letter and a space, or in a sign; () if one is special."""
    spaced = context == "spaced" and language != "zh"
    head, before = ("a", "a ") if spaced else ("(", "(")
    full, prefix = encode(tokenizer, before + word), encode(tokenizer, head)
    ids = full[len(prefix) :] if full[: len(prefix)] == prefix else encode(tokenizer, word)
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    if special & set(ids):
        return ()
    if not language.endswith("-clone"):
        return tuple(ids)
    return tuple(len(tokenizer) + i - sum(s < i for s in tokenizer.all_special_ids) for i in ids)


Senses = list[tuple[int, list[tuple[int, ...]]]]  # of each target language: its index, its translations


@cache
def dictionary(name: str) -> dict[tuple[int, ...], Senses]:
    tokenizer = memory.load(name)
    found: dict[tuple[int, ...], Senses] = {}
    for case in (str, lambda w: w[0].upper() + w[1:], str.upper):
        for context in ("spaced", "bare"):
            for group in LEXICON:
                if case is not str and not group.word.islower():
                    continue
                senses: Senses = []
                for index, target in enumerate(TARGETS):
                    forms = [written(tokenizer, case(s), target, context) for s in group.translations.get(target, ())]
                    if any(forms):
                        senses.append((index, [form for form in forms if form]))
                key = written(tokenizer, case(group.word), "en", context)
                if key and senses:
                    found.setdefault(key, senses)
    return found


def reference(
    name: str, ids: list[int], u: np.ndarray, ratio: float, mode: str = "input_only"
) -> tuple[list[int], list[int], list[tuple[int, ...]]]:
    """Inputs, labels and the switches (word, start, n, p, m, target), one word after the other."""
    bounds = [*np.flatnonzero(word_starts(memory.load(name), ids)).tolist(), len(ids)]
    inputs: list[int] = []
    labels: list[int] = []
    switches: list[tuple[int, ...]] = []
    for number, (start, end) in enumerate(pairwise(bounds)):
        word = tuple(ids[start:end])
        senses = dictionary(name).get(word)
        if senses is None or not u[number] < np.float32(ratio):
            inputs += word
            labels += word
            continue
        rest = float(u[number] / np.float32(ratio)) * len(senses)
        slot = min(int(rest), len(senses) - 1)
        target, forms = senses[slot]
        form = forms[min(int((rest - slot) * len(forms)), len(forms) - 1)]
        switches.append((number, start, len(word), len(inputs), len(form), target))
        inputs += form
        labels += form if mode == "vanilla" else (word[0], *[IGNORE] * (len(form) - 1))
    return inputs, labels, switches


@pytest.mark.parametrize("mode", ["input_only", "vanilla"])
@pytest.mark.parametrize("name", memory.ALL)
def test_the_vectorised_function_equals_the_loop_over_words(name: str, mode: Any) -> None:
    table = switcher(name).table
    tokenizer = memory.load(name)
    switched = Counter[int]()

    @settings(max_examples=60, database=None)
    @given(texts | st.just(memory.EN), ratios, st.integers(0, 2**32))
    def check(text: str, ratio: float, seed: int) -> None:
        ids = encode(tokenizer, text)
        starts = np.flatnonzero(word_starts(tokenizer, ids))
        u = np.random.default_rng(seed).random(len(starts), dtype=np.float32)
        inputs, labels, switches = switch_tokens(np.array(ids, dtype=np.int64), starts, u, table, ratio, mode)
        expected = reference(name, ids, u, ratio, mode)
        assert (inputs.tolist(), labels.tolist()) == expected[:2]
        columns = (switches.word, switches.start, switches.n, switches.p, switches.m, switches.target)
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected[2]
        switched.update(switches.target.tolist())

    check()
    assert len(switched) >= 3  # every language the tokenizer can write


def test_the_words_of_the_lexicon_are_of_many_shapes() -> None:
    """Without this the comparison above could be an easy one."""
    sources, targets = set(), set()
    for name in memory.ALL:
        for key, senses in dictionary(name).items():
            sources.add(min(len(key), 3))
            targets |= {min(len(form), 3) for _, forms in senses for form in forms}
    assert sources == targets == {1, 2, 3}


# The label contract of docs/method.md, sentence by sentence, on what `switch` returns


@pytest.mark.parametrize("name", memory.ALL)
def test_the_contract_of_input_only_switching(name: str) -> None:
    tokenizer = memory.load(name)

    @settings(max_examples=60, database=None)
    @given(texts | st.just(memory.EN), ratios, st.integers(0, 3), st.integers(0, 9))
    def check(text: str, ratio: float, epoch: int, document: int) -> None:
        ids = np.array(encode(tokenizer, text), dtype=np.int64)
        result = with_ratio(name, ratio).switch(ids, epoch=epoch, document=document)
        check_contract(ids, result)
        assert result.source_words == naive_words(name, ids)

    check()


def check_contract(ids: np.ndarray, result: Switched) -> None:
    inputs, labels, switches = result.input_ids, result.labels, result.switches
    assert inputs.shape == labels.shape == (len(ids) + int((switches.m - switches.n).sum()),)
    substitute = np.zeros(len(inputs), dtype=bool)
    undone, at = [], 0
    for start, n, p, m in zip(switches.start, switches.n, switches.p, switches.m, strict=True):
        substitute[p : p + m] = True
        assert labels[p] == ids[start]  # the source word's first token
        assert (labels[p + 1 : p + m] == IGNORE).all()
        undone += [*inputs[at:p], *ids[start : start + n]]
        at = p + m
    assert np.array_equal([*undone, *inputs[at:]], ids)  # the source can be had back
    assert np.array_equal(labels[~substitute], inputs[~substitute])  # unswitched tokens are their own labels
    assert np.count_nonzero(labels != IGNORE) == len(ids) - int((switches.n - 1).sum())
    assert set(labels.tolist()) <= {*ids.tolist(), IGNORE}
    assert result.switched_words == len(switches.n) <= result.source_words
    assert (result.switched_tokens, result.source_tokens) == (switches.n.sum(), len(ids))


def naive_words(name: str, ids: np.ndarray) -> int:
    table = word_table(memory.load(name))
    words = np.split(ids, np.flatnonzero(table.starts(ids))[1:])
    return sum(any(c.isalnum() for c in table.text(word)) for word in words)


@pytest.mark.parametrize("name", memory.ALL)
def test_no_substitute_token_is_ever_a_label(name: str) -> None:
    """Plain on a clone, whose tokens no source text has."""
    tokenizer = memory.load(name)
    cloned = CodeSwitcher(tokenizer, clone_language(tokenizer).lexicon(["house", "the", "river", "nobody"]), ratio=1)
    result = cloned.switch(encode(tokenizer, memory.EN))
    assert (result.input_ids >= len(tokenizer)).sum() > 10
    assert (result.labels < len(tokenizer)).all()
    vanilla = CodeSwitcher(tokenizer, clone_language(tokenizer).lexicon(["house"]), ratio=1, mode="vanilla").switch(
        encode(tokenizer, memory.EN)
    )
    assert (vanilla.labels >= len(tokenizer)).any()


def test_a_case_worked_by_hand(byte_bpe: Any) -> None:
    lexicon = Lexicon([Group("market", {"de": ("Wasser",)}), Group("house", {"de": ("Tisch",)})], source="en")
    result = CodeSwitcher(byte_bpe, lexicon, ratio=1).switch(encode(byte_bpe, "The market, house."))
    the, comma, stop = (encode(byte_bpe, text) for text in ("The", ",", "."))
    market, house, wasser, tisch = (encode(byte_bpe, text) for text in (" market", " house", " Wasser", " Tisch"))
    assert (len(market), len(house)) == (3, 1)
    assert len(wasser) >= 1
    assert len(tisch) > 1
    assert result.input_ids.tolist() == [*the, *wasser, *comma, *tisch, *stop]
    ignored = [[IGNORE] * (len(substitute) - 1) for substitute in (wasser, tisch)]
    assert result.labels.tolist() == [*the, market[0], *ignored[0], *comma, house[0], *ignored[1], *stop]
    assert (result.switched_words, result.source_words) == (2, 3)
    assert (result.switched_tokens, result.source_tokens) == (4, 7)


def test_vanilla_labels_are_the_inputs(tokenizer: Any) -> None:
    ids = encode(tokenizer, memory.EN)
    one = CodeSwitcher(tokenizer, LEXICON, ratio=0.7, mode="vanilla").switch(ids)
    other = CodeSwitcher(tokenizer, LEXICON, ratio=0.7).switch(ids)
    assert np.array_equal(one.labels, one.input_ids)
    assert np.array_equal(one.input_ids, other.input_ids)
    assert one.switched_words == other.switched_words > 0


@pytest.mark.parametrize("name", memory.ALL)
def test_ratio_0_switches_nothing_and_ratio_1_every_known_word(name: str) -> None:
    ids = encode(memory.load(name), memory.EN)
    nothing, everything = with_ratio(name, 0.0).switch(ids), with_ratio(name, 1.0).switch(ids)
    assert nothing.input_ids.tolist() == nothing.labels.tolist() == ids
    assert (nothing.switched_words, nothing.switched_tokens) == (0, 0)
    starts = [*np.flatnonzero(word_starts(memory.load(name), ids)).tolist(), len(ids)]
    known = [a for a, b in pairwise(starts) if tuple(ids[a:b]) in dictionary(name)]
    assert everything.switches.start.tolist() == known


def test_no_text(byte_bpe: Any) -> None:
    result = switcher("byte_bpe").switch([])
    assert (result.input_ids.shape, result.labels.shape) == ((0,), (0,))
    assert (result.switched_words, result.source_words) == (0, 0)
    assert switcher("byte_bpe").known([([], None), ([], None)]).coverage == 0


@pytest.mark.parametrize("bad", [-1, 10**6])
def test_ids_outside_the_vocabulary_are_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="token ids must lie in"):
        switcher("byte_bpe").switch([1, bad])


# Rates and draws


@pytest.mark.parametrize("ratio", [0.05, 0.4])
@pytest.mark.parametrize("name", ["byte_bpe", "wordpiece", "minilm"])
def test_the_realised_rate_is_ratio_times_coverage(name: str, ratio: float) -> None:
    ids = encode(memory.load(name), memory.EN)
    made = with_ratio(name, ratio)
    results = [made.switch(ids, document=document) for document in range(400)]
    known = with_ratio(name, 1.0).switch(ids).switched_words
    words = sum(result.source_words for result in results)
    assert made.known([(ids, None)]).coverage == pytest.approx(known / naive_words(name, np.array(ids)))
    assert words == 400 * naive_words(name, np.array(ids))
    switched = sum(result.switched_words for result in results)
    assert binomtest(switched, 400 * known, ratio).pvalue > 1e-4
    assert switched / words == pytest.approx(ratio * made.known([(ids, None)]).coverage, rel=0.15)


@pytest.mark.parametrize("ratio", [0.2, 1.0])
def test_languages_are_drawn_uniformly_and_then_their_translations(byte_bpe: Any, ratio: float) -> None:
    senses = {"de": ("Haus",), "ru": ("дом", "вода", "хлеб")}
    made = CodeSwitcher(byte_bpe, Lexicon([Group("house", senses)], source="en"), ratio=ratio)
    drawn: Counter[tuple[int, ...]] = Counter()
    ids = encode(byte_bpe, " house" * 500)
    for document in range(int(12 / ratio)):
        result = made.switch(ids, document=document)
        pieces = zip(result.switches.p, result.switches.m, strict=True)
        drawn.update(tuple(result.input_ids[p : p + m].tolist()) for p, m in pieces)
    forms = [tuple(encode(byte_bpe, f" {word}")) for word in ("Haus", "дом", "вода", "хлеб")]
    assert set(drawn) == set(forms)
    total = sum(drawn.values())
    expected = [total / 2, total / 6, total / 6, total / 6]
    assert chisquare([drawn[form] for form in forms], expected).pvalue > 1e-4
    assert (total == 6000) == (ratio == 1)


def test_words_are_switched_independently_of_each_other(byte_bpe: Any) -> None:
    """Neighbours are switched together a quarter of the time at ratio 0.5, and at every position alike."""
    made = CodeSwitcher(byte_bpe, Lexicon([Group("house", {"de": ("Haus",)})], source="en"), ratio=0.5)
    ids = encode(byte_bpe, " house" * 100)
    switched = np.zeros((200, 100), dtype=bool)
    for document in range(200):
        switched[document, made.switch(ids, document=document).switches.word] = True
    pairs = switched[:, :-1] & switched[:, 1:]
    assert pairs.mean() == pytest.approx(0.25, abs=0.02)
    assert chisquare(switched.sum(axis=0), [switched.sum() / 100] * 100).pvalue > 1e-4


# What the choice depends on


def test_a_longer_document_starts_with_the_same_switches(tokenizer: Any) -> None:
    ids = encode(tokenizer, memory.EN)
    made = CodeSwitcher(tokenizer, LEXICON, ratio=0.6)
    whole = made.switch(ids, document=3)
    for end in np.flatnonzero(word_starts(tokenizer, ids))[1:].tolist():
        part = made.switch(ids[:end], document=3)
        assert np.array_equal(part.input_ids, whole.input_ids[: len(part.input_ids)])
        assert np.array_equal(part.labels, whole.labels[: len(part.labels)])


def test_the_order_of_work_changes_nothing() -> None:
    ids = encode(memory.load("byte_bpe"), memory.EN)
    jobs = [(epoch, document) for epoch in range(3) for document in range(8)]
    made = switcher("byte_bpe")
    forward = {job: made.switch(ids, epoch=job[0], document=job[1]).input_ids.tolist() for job in jobs}
    other = CodeSwitcher(memory.load("byte_bpe"), LEXICON, ratio=0.5)
    backward = {job: other.switch(ids, epoch=job[0], document=job[1]).input_ids.tolist() for job in reversed(jobs)}
    assert forward == backward
    assert len({tuple(v) for v in forward.values()}) == len(jobs)  # every epoch and document differs


def test_the_seed_changes_the_switches() -> None:
    ids = encode(memory.load("byte_bpe"), memory.EN)
    results = {tuple(switcher("byte_bpe", seed=seed).switch(ids).input_ids.tolist()) for seed in range(4)}
    assert len(results) == 4


def test_a_larger_ratio_switches_the_same_words_and_more() -> None:
    ids = encode(memory.load("byte_bpe"), memory.EN)
    few, many = (set(with_ratio("byte_bpe", r).switch(ids).switches.word.tolist()) for r in (0.3, 0.7))
    assert few < many


class SwitchedDocuments(Dataset[tuple[list[int], list[int]]]):
    """Documents switched when they are read, as a data loader does it."""

    def __init__(self, switcher: CodeSwitcher, documents: list[list[int]]) -> None:
        self.switcher, self.documents = switcher, documents

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, row: int) -> tuple[list[int], list[int]]:
        result = self.switcher.switch(self.documents[row], epoch=1, document=row)
        return result.input_ids.tolist(), result.labels.tolist()


def test_0_and_2_loader_workers_give_the_same() -> None:
    tokenizer = memory.load("byte_bpe")
    documents = [encode(tokenizer, line) for line in memory.EN.splitlines() * 3]
    rows = SwitchedDocuments(switcher("byte_bpe"), documents)
    alone, shared = (list(DataLoader(rows, batch_size=2, num_workers=n, collate_fn=list)) for n in (0, 2))
    assert alone == shared


def test_a_switcher_survives_pickling() -> None:
    """As a worker that is spawned, not forked, receives it."""
    ids = encode(memory.load("byte_bpe"), memory.EN)
    copy = pickle.loads(pickle.dumps(switcher("byte_bpe")))
    assert np.array_equal(copy.switch(ids).input_ids, switcher("byte_bpe").switch(ids).input_ids)


# Case, context, scripts


def everything(tokenizer: Any, text: str, **translations: Any) -> str:
    """Switch every known word of a text and decode it; translations: word=(language, senses…)."""
    groups = [Group(word, {language: tuple(senses)}) for word, (language, *senses) in translations.items()]
    result = CodeSwitcher(tokenizer, Lexicon(groups, source="en"), ratio=1).switch(encode(tokenizer, text))
    return tokenizer.decode(result.input_ids.tolist(), clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", ["byte_bpe", "metaspace", "deepseek"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the house is", "the haus is"),
        ("the House is", "the Haus is"),
        ("the HOUSE is", "the HAUS is"),
        ("the hOuse is", "the hOuse is"),
        ("the Paris is", "the Lutetia is"),
        ("the paris is", "the paris is"),
        ("the PARIS is", "the PARIS is"),
        ("the houses is", "the houses is"),
        ('the "house" (house)\nhouse, house\'s', 'the "haus" (haus)\nhaus, haus\'s'),
        ("house", "haus"),
        ("\nHouse", "\nHaus"),
        ("the  house", "the  haus"),
    ],
)
def test_words_are_switched_in_their_case_and_context(name: str, text: str, expected: str) -> None:
    tokenizer = memory.load(name)
    assert everything(tokenizer, text, house=("de", "haus"), Paris=("de", "Lutetia")) == expected


@pytest.mark.parametrize("name", ["byte_bpe", "metaspace", "deepseek"])
def test_an_entry_with_its_case_comes_before_a_lower_case_one(name: str) -> None:
    tokenizer = memory.load(name)
    words = {"market": ("de", "markt"), "Market": ("de", "Forum")}
    assert everything(tokenizer, "a market, Market (MARKET)", **words) == "a markt, Forum (MARKT)"


def test_an_uncased_tokenizer_matches_every_case() -> None:
    text = everything(memory.load("minilm"), "House house HOUSE", house=("de", "Haus"))
    assert text == "haus haus haus"


@pytest.mark.parametrize("name", ["byte_bpe", "metaspace", "deepseek"])
def test_translations_in_unspaced_scripts_take_no_space(name: str) -> None:
    text = everything(memory.load(name), "the house (house) stood", house=("zh", "房子"))
    assert text == "the房子 (房子) stood"


@pytest.mark.parametrize("name", ["byte_bpe", "metaspace", "deepseek"])
def test_a_translation_may_be_a_phrase(name: str) -> None:
    text = everything(memory.load(name), "a slow one, (slow)", slow=("de", "ziemlich langsam"))
    assert text == "a ziemlich langsam one, (ziemlich langsam)"


def test_clone_switches_read_like_the_source(tokenizer: Any) -> None:
    clone = clone_language(tokenizer)
    made = CodeSwitcher(tokenizer, clone.lexicon(["house", "the", "river", "Paris", "nobody"]), ratio=1)
    ids = encode(tokenizer, memory.EN)
    result = made.switch(ids)
    assert clone.unmap(result.input_ids).tolist() == ids
    table = word_table(tokenizer)
    words = [table.text(word) for word in np.split(np.array(ids), np.flatnonzero(table.starts(np.array(ids)))[1:])]
    expected = sum(bool(re.fullmatch("the|house|river|nobody|paris", word.lower())) for word in words)
    assert result.switched_words == expected == 16


@pytest.mark.parametrize("name", ["wordpiece", "minilm"])
def test_words_the_tokenizer_cannot_write_are_left_out(name: str) -> None:
    """An unknown word has the tokens of every other unknown word; it must not match them, nor replace a known one."""
    tokenizer = memory.load(name)
    unknown = encode(tokenizer, "☃☃")
    assert unknown == encode(tokenizer, "☂☂")
    text = encode(tokenizer, "the ☂☂ house, river")
    assert unknown[0] in text
    groups = [
        Group("☃☃", {"de": ("Wasser",)}),
        Group("house", {"de": ("☃☃", "Haus")}),
        Group("river", {"de": ("☃☃",)}),
    ]
    result = CodeSwitcher(tokenizer, Lexicon(groups, source="en"), ratio=1).switch(text)
    assert result.input_ids.tolist() == encode(tokenizer, "the ☂☂ Haus, river")


# Errors


def test_settings_that_cannot_be_are_refused(byte_bpe: Any) -> None:
    for ratio in (-0.1, 1.5, float("nan")):
        with pytest.raises(RecipeError, match=rf"switch ratio {ratio} is not in 0\.\.1"):
            CodeSwitcher(byte_bpe, LEXICON, ratio=ratio)
    with pytest.raises(RecipeError, match="switch mode 'inputonly' is unknown; use 'input_only' or 'vanilla'"):
        CodeSwitcher(byte_bpe, LEXICON, mode="inputonly")  # type: ignore[arg-type]


def test_a_lexicon_of_other_languages_is_refused(byte_bpe: Any) -> None:
    with pytest.raises(LexiconError, match="translates from 'en', the text is 'de'"):
        CodeSwitcher(byte_bpe, LEXICON, source="de")
    with pytest.raises(LexiconError, match="no translations into fr; it has de, ru, zh, en-clone"):
        CodeSwitcher(byte_bpe, LEXICON, targets=["de", "fr"])


def test_a_lexicon_without_a_word_of_use_is_refused(byte_bpe: Any) -> None:
    for lexicon in (Lexicon([], source="en", targets=["de"]), Lexicon([], source="en")):
        with pytest.raises(LexiconError, match=r"the lexicon has no word with a translation into .*holds 0 groups"):
            CodeSwitcher(byte_bpe, lexicon)
    with pytest.raises(LexiconError, match="has no word with a translation into zh: it holds 1 groups"):
        lexicon = Lexicon([Group("house", {"de": ("Haus",)})], source="en", targets=["de", "zh"])
        CodeSwitcher(byte_bpe, lexicon, targets=["zh"])


def test_the_targets_can_be_chosen(byte_bpe: Any) -> None:
    ids = encode(byte_bpe, " house" * 50)
    made = CodeSwitcher(byte_bpe, LEXICON, ratio=1, targets=["ru"])
    assert made.targets == ("ru",)
    assert made.switch(ids).input_ids.tolist() == encode(byte_bpe, " дом") * 50
    assert set(made.switch(ids).switches.target.tolist()) == {0}


def test_the_source_may_be_another_language(byte_bpe: Any) -> None:
    lexicon = Lexicon([Group("Haus", {"en": ("house",)})], source="de")
    result = CodeSwitcher(byte_bpe, lexicon, ratio=1, source="de").switch(encode(byte_bpe, "Das alte Haus stand"))
    assert byte_bpe.decode(result.input_ids.tolist()) == "Das alte house stand"


# Weights of targets


def weighted(weights: dict[str, float], ratio: float = 1.0, seed: int = 0) -> CodeSwitcher:
    return CodeSwitcher(memory.load("byte_bpe"), LEXICON, ratio=ratio, targets=TARGETS, weights=weights, seed=seed)


def drawn(made: CodeSwitcher, word: str, times: int = 4000) -> Counter[str]:
    """The targets of that many occurrences of a word."""
    switches = made.switch(encode(memory.load("byte_bpe"), f"a{f' {word}' * times}")).switches
    assert len(switches.target) == times
    return Counter(made.targets[target] for target in switches.target.tolist())


def test_targets_are_drawn_by_their_weights_among_those_a_word_has() -> None:
    made = weighted({"de": 4, "ru": 0, "zh": 0.5})
    assert made.targets == ("de", "zh", "en-clone"), "what has no weight counts 1, what has 0 is not there"
    for word, shares in (
        ("house", {"de": 4 / 5.5, "zh": 0.5 / 5.5, "en-clone": 1 / 5.5}),
        ("water", {"de": 4 / 4.5, "zh": 0.5 / 4.5}),
        ("old", {"en-clone": 1.0}),
    ):
        found = drawn(made, word)
        assert found.keys() == shares.keys()
        expected = [4000 * share for share in shares.values()]
        assert len(shares) == 1 or chisquare([found[t] for t in shares], expected).pvalue > 1e-4
    only = weighted({"de": 4, "ru": 0, "zh": 0, "en-clone": 0})
    ids = encode(memory.load("byte_bpe"), "a" + " the" * 3000)
    switches = only.switch(ids).switches
    words = Counter(bytes(w) for w in np.split(only.switch(ids).input_ids, switches.p)[1:])
    assert len(words) == 3 and chisquare(list(words.values())).pvalue > 1e-4, "der, die, das: alike"


@given(texts, st.integers(0, 5))
def test_equal_weights_switch_as_none(text: str, seed: int) -> None:
    ids = encode(memory.load("byte_bpe"), text)
    made = with_ratio("byte_bpe", 0.5)
    made.seed = seed
    plain = made.switch(ids)
    made.table = replace(made.table, weights=(1.0,) * len(TARGETS))
    equal = made.switch(ids)
    assert np.array_equal(plain.input_ids, equal.input_ids) and np.array_equal(plain.labels, equal.labels)


@pytest.mark.parametrize("weights", [None, {"de": 4, "ru": 0, "zh": 0.5}])
def test_expected_rates_are_those_of_many_draws(weights: dict[str, float] | None) -> None:
    text = "The old house by the slow river; nobody had bread or water in Paris, Anna said of the 12 houses. "
    ids = encode(memory.load("byte_bpe"), text * 20)
    made = CodeSwitcher(memory.load("byte_bpe"), LEXICON, ratio=0.5, targets=TARGETS, weights=weights)
    known = made.known([(ids, None)])
    assert known.coverage == made.known([(ids, None)]).coverage
    assert sum(known.targets.values()) == pytest.approx(known.known)
    found: Counter[str] = Counter()
    for epoch in range(60):
        switched = made.switch(ids, epoch=epoch)
        assert switched.source_words == known.words
        found.update(made.targets[target] for target in switched.switches.target.tolist())
    assert found.keys() == {target for target, times in known.targets.items() if times}
    for target, times in known.targets.items():
        expected = 60 * 0.5 * times
        assert abs(found[target] - expected) < 4.5 * np.sqrt(expected + 1), target


def test_target_text_is_switched_by_the_lexicon_turned_round() -> None:
    tokenizer = memory.load("byte_bpe")
    clone = clone_language(tokenizer)
    text = "The old house by the river, (house) in Paris"
    made = CodeSwitcher(tokenizer, LEXICON.inverted("en-clone"), ratio=1, source="en-clone")
    switched = made.switch(clone.encode(text))
    assert clone.unmap(switched.input_ids).tolist() == encode(tokenizer, text), "every word is its twin's"
    plain = made.switch(clone.encode(text)).switches
    assert switched.source_words == 9 and len(plain.word) == 7, "by and in are not in the lexicon"
    starts = plain.p
    assert switched.labels[starts].tolist() == clone.map(switched.input_ids[starts]).tolist()
    back = CodeSwitcher(tokenizer, LEXICON.inverted("de"), ratio=1, source="de")
    german = encode(tokenizer, "Das Haus, das Gebäude am Fluß")
    assert tokenizer.decode(back.switch(german).input_ids) == "The house, the house am river"


def test_words_that_a_segmenter_found_are_switched() -> None:
    tokenizer = memory.load("byte_bpe")
    back = CodeSwitcher(tokenizer, LEXICON.inverted("zh"), ratio=1, source="zh")
    pieces = [encode(tokenizer, piece) for piece in ("老", "房子", "在", "水")]
    ids = [token for piece in pieces for token in piece]
    starts = np.cumsum([0, *(len(piece) for piece in pieces)])[:-1]
    found = back.switch(ids, starts=starts)
    assert (found.source_words, len(found.switches.word)) == (4, 2)
    assert tokenizer.decode(found.input_ids) == "老 house在 water", "a source word brings its space"
    assert len(back.switch(ids).switches.word) == 0, "without one the letters are one word"
    assert back.known([(ids, starts)]).coverage == 0.5
