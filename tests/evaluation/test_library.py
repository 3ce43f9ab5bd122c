"""Every evaluator on a causal LM and a tokenizer: without run folder, recipe or command line."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tokenizers_in_memory as memory
import toys
from prealign import __version__
from prealign.errors import DataError, LexiconError, PrealignError, TokenizerError
from prealign.evaluation.knowledge.questions import KnowledgeQuestions
from prealign.evaluation.lm.coverage import WordKinds, lexicon_forms, token_kinds
from prealign.evaluation.lm.perplexity import Perplexity
from prealign.evaluation.retrieval.dictionary import DictionaryRetrieval
from prealign.evaluation.retrieval.pairs import draw_pairs
from prealign.evaluation.retrieval.queries import select_queries
from prealign.evaluation.retrieval.sentences import SentenceRetrieval
from prealign.evaluation.retrieval.words import WordRetrieval
from prealign.evaluation.score import Score
from prealign.evaluation.transfer.data import labelled_data
from prealign.evaluation.transfer.transfer import Transfer
from prealign.events import Progress
from prealign.lexicon import Group, Lexicon
from prealign.recipe.measures import TransferTask
from prealign.text.clone import clone_language
from prealign.text.encode import encode_words
from prealign.text.facts.facts import Question

WORDS = ("house", "water", "river", "tree", "Anna", "winter", "bread", "stone", "light", "green")
LEXICON = Lexicon([Group(w, {"de": (w[::-1],)}) for w in WORDS], source="en", targets=("de",))


@pytest.fixture(scope="module", params=[toys.llama, toys.gpt2])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param(2 * len(memory.load("byte_bpe")))


def by_metric(scores: list[Score], **only: Any) -> dict[str, list[float]]:
    """The values of scores by metric, in the order of their layers."""
    found: dict[str, list[float]] = {}
    for score in scores:
        if all(getattr(score, key) == value for key, value in only.items()):
            found.setdefault(score.metric, []).append(score.value)
    return found


def embedding_hits(model: Any, tokenizer: Any, sources: list[str], targets: list[str], gold: np.ndarray) -> float:
    """P@1 of input embeddings by definition: mean of a word's embedding rows, one cosine at a time."""
    table = model.get_input_embeddings().weight.detach().double()
    states = [
        [table[torch.tensor(ids)].mean(0) for ids in encode_words(tokenizer, words, language)]
        for words, language in ((sources, "en"), (targets, "de"))
    ]
    nearest = [int(np.argmax([float(torch.cosine_similarity(s, t, dim=0)) for t in states[1]])) for s in states[0]]
    return float(np.mean([gold[i, j] for i, j in enumerate(nearest)]))


TEXTS = ["The house stands in the light.", "Bread and water.", "A tree, a river, and the winter: Anna is here."]


def test_perplexity_of_texts_is_that_of_whole_documents(model: Any, byte_bpe: Any) -> None:
    (perplexity, bits), items = Perplexity.from_texts(byte_bpe, TEXTS, language="en", context=64)(model)
    nats = 0.0
    for text in TEXTS:
        ids = torch.tensor([[byte_bpe.eos_token_id, *byte_bpe.encode(text, add_special_tokens=False)]])
        nats += float(toys.lm_loss(model.eval(), ids, ids).detach()) * (ids.shape[1] - 1)
    assert sum(items["nats"]) == pytest.approx(nats, rel=1e-5)
    assert perplexity.value == pytest.approx(np.exp(nats / sum(items["tokens"])), rel=1e-5)
    assert bits.value == pytest.approx(nats / np.log(2) / len("".join(TEXTS)), rel=1e-5)
    assert perplexity.signature == f"docs:3|ctx:64|stride:32|tok:{len(byte_bpe)}|v:{__version__}"


def test_perplexity_of_words_inside_and_outside_a_lexicon(model: Any, byte_bpe: Any) -> None:
    german = ["esuoh dnu retaw thgil", "eert"]
    evaluator = Perplexity.from_texts(byte_bpe, german, language="de", context=64)
    forms = lexicon_forms(byte_bpe, LEXICON, "de")
    kinds = [token_kinds(ids, forms, byte_bpe, "de") for ids in evaluator.documents]
    scores, items = replace(evaluator, words=WordKinds(kinds, "toy"))(model)
    assert [s.metric for s in scores] == ["perplexity", "bits_per_byte", "perplexity_inside", "perplexity_outside"]
    assert all(s.signature.endswith("|words:toy") == ("side" in s.metric) for s in scores)
    inside, outside = scores[2:]
    assert (inside.n, outside.n) == (2, 1), "only the first text has a word that is no translation"
    assert sum(items["inside"]["nats"]) + sum(items["outside"]["nats"]) == pytest.approx(sum(items["nats"]))


def test_a_context_beyond_the_models_positions_and_a_missing_prefix_are_refused(byte_bpe: Any) -> None:
    evaluator = Perplexity.from_texts(byte_bpe, TEXTS, language="en", context=65)
    with pytest.raises(PrealignError, match="the context is 65 tokens, and the model has 64 positions"):
        evaluator(toys.gpt2(len(byte_bpe)))
    bare = copy.deepcopy(byte_bpe)
    bare.eos_token = bare.bos_token = None
    with pytest.raises(TokenizerError, match="neither a BOS nor an EOS"):
        Perplexity.from_texts(bare, TEXTS, language="en", context=64)
    assert Perplexity.from_texts(bare, TEXTS, language="en", context=64, prefix=0).prefix == 0


def test_word_retrieval_measures_both_splits_of_a_lexicon(model: Any, byte_bpe: Any) -> None:
    seen, held_out = LEXICON.split(0.3, seed=0)
    pairs = draw_pairs(seen, held_out, "de", 100, seed=0)
    scores, hits = WordRetrieval(byte_bpe, pairs)(model)
    assert {s.split: s.n for s in scores if s.metric == "p_at_1"} == {"seen": 7, "held_out": 3}
    expected = embedding_hits(model, byte_bpe, pairs.sources, pairs.targets, pairs.gold)
    assert np.mean(hits["p_at_1_forward"][0]) == pytest.approx(expected)
    assert len(hits["p_at_1_forward"]) == toys.BLOCKS + 2 - model.config.tie_word_embeddings
    assert {s.signature for s in scores} == {f"sources:10|targets:10|tok:{len(byte_bpe)}|v:{__version__}"}


def test_dictionary_retrieval_measures_words_among_a_vocabulary(model: Any, byte_bpe: Any) -> None:
    counts = dict.fromkeys([*WORDS, "other", "words"], 5)
    german = {word[::-1]: count for word, count in counts.items()}
    few = Lexicon(LEXICON.groups[:4], source="en", targets=("de",))
    queries = select_queries(few, "de", counts, german, floor=2, size=50)
    scores, hits = DictionaryRetrieval(byte_bpe, queries)(model)
    assert (len(queries.sources), len(queries.forward)) == (12, 4)
    forward = embedding_hits(
        model, byte_bpe, [queries.sources[i] for i in queries.forward], queries.targets, queries.gold()[queries.forward]
    )
    assert by_metric(scores)["p_at_1_forward"][0] == pytest.approx(forward)
    assert len(hits["csls_p_at_1_backward"][0]) == 4
    assert all("asked:4|back:4|candidates:12|sources:12|floor:2|" in score.signature for score in scores)


def test_sentence_retrieval_finds_equal_sentences_and_counts_cuts(model: Any, byte_bpe: Any) -> None:
    texts = [f"The {a} of the {b}." for a, b in pairwise(WORDS)]
    scores, hits = SentenceRetrieval.from_texts(byte_bpe, texts, texts, language="de", max_tokens=40)(model)
    assert by_metric(scores)["mexa"] == by_metric(scores)["p_at_1"] == [1.0] * (toys.BLOCKS + 1)
    assert np.shape(hits["mexa"]) == (toys.BLOCKS + 1, 9)
    short = SentenceRetrieval.from_texts(byte_bpe, texts, texts[::-1], language="de", max_tokens=5)
    assert short.cut == 18 and max(map(len, short.sources)) == 5
    assert by_metric(short(model)[0])["p_at_1_forward"][0] < 1
    twins = SentenceRetrieval.from_texts(byte_bpe, texts, texts, language="en-clone", max_tokens=40)
    assert [ids.tolist() for ids in twins.targets] == [clone_language(byte_bpe).encode(t).tolist() for t in texts]


def test_sentences_that_are_no_pairs_are_refused(byte_bpe: Any) -> None:
    with pytest.raises(DataError, match="2 sentences, 1 translations"):
        SentenceRetrieval.from_texts(byte_bpe, ["a", "b"], ["a"], language="de", max_tokens=9)
    with pytest.raises(DataError, match="the sentence '' has no tokens"):
        SentenceRetrieval.from_texts(byte_bpe, ["a", "b"], ["a", ""], language="de", max_tokens=9)


def test_knowledge_questions_rank_candidates_in_every_language(model: Any, byte_bpe: Any) -> None:
    names = ("Bogut", "Kelif", "Zabok")
    prompts = dict.fromkeys(("en", "en-clone"), "The home of Anna is ")
    questions = [Question(f"k={i}", "home", "Anna", name, names, prompts) for i, name in enumerate(names)]
    scores, items = KnowledgeQuestions(byte_bpe, questions, batch_size=2)(model)
    for language in prompts:
        nats = []
        for name in names:
            ids = byte_bpe.encode(prompts[language] + name, add_special_tokens=False)
            start = len(byte_bpe.encode("The home of Anna is", add_special_tokens=False))
            text = [byte_bpe.eos_token_id, *ids]
            if language == "en-clone":
                text = clone_language(byte_bpe).map(text).tolist()
            labels = torch.tensor([[-100] * (start + 1) + text[start + 1 :]])
            nats.append(-float(toys.lm_loss(model.eval(), torch.tensor([text]), labels).detach()))
        best = f"k={int(np.argmax(nats))}"
        assert [s.value for s in scores if s.language == language] == [float(f"k={i}" == best) for i in range(3)]
        assert items["k=1"][language]["log_probs"][0][0] == pytest.approx(nats[1], abs=1e-5)
    assert items["k=2"]["en"]["questions"] == [["home", "Anna", "Zabok"]]
    merged, _ = KnowledgeQuestions(byte_bpe, questions, source_ids=True)(model)
    by_language = {tag: [s.value for s in merged if s.language == tag] for tag in prompts}
    assert by_language["en"] == by_language["en-clone"]


def test_transfer_learns_a_task_of_files_and_tests_it_in_every_language(byte_bpe: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def write(name: str, number: int, yes: str, no: str) -> str:
        rows = [(f"{rng.choice(WORDS)} {word} {rng.choice(WORDS)}", word == yes) for word in [yes, no] * (number // 2)]
        (tmp_path / name).write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
        return str(tmp_path / name)

    tests = {"en": write("en.tsv", 40, "good", "bad"), "de": write("de.tsv", 20, "gut", "schlecht")}
    train = write("train.tsv", 400, "good", "bad")
    task = TransferTask(name="toy", train=train, tests=tests, parallel=False, learning_rate=1e-2, weight_decay=0.0)
    data = labelled_data(task, byte_bpe, source="en", clones=["en-clone"], max_tokens=16, seed=0)
    assert list(data.tests) == ["en", "de", "en-clone"] and data.paired == {"en-clone"}
    model, heard = toys.llama(2 * len(byte_bpe), initializer_range=0.1), list[Progress]()
    scores, answers, record = Transfer(task, data, {"bf16": False})(
        model, seed=0, folder=tmp_path / "scratch", on_progress=heard.append
    )
    accuracy = {s.language: s for s in scores if s.metric == "accuracy"}
    assert accuracy["en"].value > 0.9 and accuracy["de"].n == 20 and accuracy["de"].chance == 0.5
    assert accuracy["en"].signature == f"train:{len(data.train)}|epochs:2|ctx:16|v:{__version__}|test:40|over:items"
    assert {s.language for s in scores if s.metric == "transfer_gap"} == {"de", "en-clone"}
    assert np.mean(answers["en"]["correct"]) == accuracy["en"].value
    assert record["steps"] == -(-2 * len(data.train) // 32) and record["tested"] == 400 - len(data.train)
    assert heard[-1].step == heard[-1].steps == sum(len(e.ids) for test in data.tests.values() for e in test)


def test_an_evaluator_without_data_says_so(byte_bpe: Any) -> None:
    model, nothing = toys.llama(len(byte_bpe)), Lexicon([], source="en", targets=("de",))
    with pytest.raises(LexiconError, match="no words to retrieve: the lexicon has no translation into 'fr'"):
        WordRetrieval(byte_bpe, draw_pairs(LEXICON, nothing, "fr", 9, 0))(model)
    queries = select_queries(LEXICON, "de", {}, {}, floor=1, size=9)
    with pytest.raises(LexiconError, match=r"no words to retrieve .*: 0 of 10 words \(0%\) are asked for"):
        DictionaryRetrieval(byte_bpe, queries)(model)
    with pytest.raises(DataError, match="0 sentences"):
        SentenceRetrieval.from_texts(byte_bpe, [], [], language="de", max_tokens=9)
    with pytest.raises(PrealignError, match="there are no questions"):
        KnowledgeQuestions(byte_bpe, [])(model)
    with pytest.raises(PrealignError, match="none of the 0 test documents in en"):
        Perplexity.from_texts(byte_bpe, [], language="en", context=9)(model)
