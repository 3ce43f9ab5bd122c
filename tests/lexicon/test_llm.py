"""Translation of words by a language model: which words, what is asked and believed, and how endpoints fail."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from chat_server import Script, serving
from noise import checked, noise
from prealign.errors import LexiconError
from prealign.languages import language_name, plausible_script
from prealign.lexicon import Group, Lexicon
from prealign.lexicon.llm.cache import Cache
from prealign.lexicon.llm.endpoint import KEY, Endpoint
from prealign.lexicon.llm.prompt import UNASKED, Task, answers
from prealign.lexicon.llm.translate import Traffic, Translated, estimate, translate
from prealign.lexicon.llm.words import read_word_counts, untranslated
from prealign.lexicon.reading_report import DUPLICATE, IDENTICAL, Tallies

GERMAN = Task("en", "de", 2)
WORDS = {f"word{letter}": 100 - i for i, letter in enumerate("abcdefgh")}
QUICK = Traffic(batch=3, concurrency=2, per_minute=60_000, retries=2)


def translated(words: list[str]) -> dict[str, list[str]]:
    return {word: [word.replace("word", "Wort")] for word in words}


def ask(
    script: Script,
    folder: Path,
    traffic: Traffic = QUICK,
    task: Task = GERMAN,
    timeout: float = 20,
    ask_again: bool = False,
    login: str = "",
) -> Any:
    """Ask a server with this script for WORDS; return (what came of it, the server)."""
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    with serving(script) as server:
        endpoint = Endpoint("m", server.address.replace("//", f"//{login}"), timeout=timeout)
        cache = Cache(folder / "cache.jsonl", "m", task.version, ask_again=ask_again)
        return translate(WORDS, task, endpoint, cache, traffic), server


def counts(tallies: Any) -> dict[str, int]:
    return {reason: tally.count for reason, tally in tallies.items()}


def senses(made: Translated) -> dict[str, tuple[str, ...]]:
    return {group.word: group.translations["de"] for group in made.lexicon}


EVERY = {word: (word.replace("word", "Wort"),) for word in WORDS}


# --- which words -----------------------------------------------------------------------------------


def test_frequent_words_without_a_translation_are_asked_for_in_one_case() -> None:
    found = {
        "The": 3,
        "the": 9,
        "Berlin": 5,
        "BERLIN": 1,
        "House": 2,
        "house": 4,
        "rare": 1,
        "4th": 9,
        "x1": 9,
        "oak": 6,
    }
    known = Lexicon([Group("house", {"de": ("Haus",)}), Group("oak", {"fr": ("chêne",)})], source="en")
    asked, left = untranslated(found, [known], ("en", "de"), 2, None)
    assert asked == {"the": 12, "Berlin": 6, "oak": 6} and next(iter(asked)) == "the"
    assert counts(left) == {"that are no words": 2, "that a dictionary translates": 1, "rarer than 2": 1}
    asked, left = untranslated(found, [known], ("en", "de"), 2, 1)
    assert list(asked) == ["the"] and left["beyond the 1 most frequent"].count == 2


@pytest.mark.parametrize("content", ['{"house": 3, "oak": 7}', "\ufeffhouse\t3\r\n\r\noak\n"])
def test_word_counts_are_read_from_a_run_or_a_list(tmp_path: Path, content: str) -> None:
    (tmp_path / "words").write_text(content, encoding="utf-8", newline="")
    assert read_word_counts(tmp_path / "words", 7) == {"house": 3, "oak": 7}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no words"),
        ("a\tb\n", "line 1: the second column"),
        ('{"a": "b"}', "whole numbers"),
        ("{", "words: not JSON \\(Expecting"),
        ('{"a": ' + "[" * 200_000, "words: JSON with .* nested too deeply"),
        ('{"a": ' + "7" * 5000 + "}", "words: JSON with a number too long"),
        ('{"a": ' + "7" * 4000 + "}", "up to 18 digits"),
        ("a\t" + "7" * 5000, "line 1: the second column"),
        ("a\nb\nä\n", "words: line 3 is not UTF-8; .*iconv -f ENCODING -t utf-8"),
    ],
)
def test_a_file_without_word_counts_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "words").write_text(content, encoding="latin1")
    with pytest.raises(LexiconError, match=message):
        read_word_counts(tmp_path / "words", 1)


def test_what_is_no_word_is_counted_and_not_asked_for() -> None:
    asked, left = untranslated({"": 50, "house": 20, "a\ud800": 9, "a b": 9}, [], ("en", "de"), 1, None)
    assert asked == {"house": 20}
    assert left["that are no words"].count == 3 and "''" in left["that are no words"].examples


@checked
@given(noise(["house\t20", "house", '{"house": 20, "": 50}'], ["house", "Haus"]))
def test_any_bytes_are_word_counts_or_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "words").write_bytes(content)
    try:
        found = read_word_counts(tmp_path / "words", 5)
    except LexiconError as error:
        assert str(error).startswith(str(tmp_path / "words"))
        return
    asked, left = untranslated(found, [], ("en", "de"), 1, 3)
    forms = {word.lower() for word in found}
    assert len(asked) + sum(tally.count for tally in left.values()) == len(forms)
    GERMAN.messages(list(asked))[1]["content"].encode()


# --- what is asked and believed --------------------------------------------------------------------


def test_the_prompt_names_languages_and_words_and_has_a_version_of_its_own() -> None:
    system, user = GERMAN.messages(["bank", "größe"])
    assert "English to German" in system["content"] and "at most 2" in system["content"]
    assert json.loads(user["content"]) == ["bank", "größe"]
    versions = {Task("en", t, k).version for t, k in [("de", 2), ("de", 3), ("fr", 2)]}
    assert len(versions) == 3 and Task("en", "de", 2, keep_identical=True).version == GERMAN.version
    assert language_name("zh-Hant") == "Chinese (zh-Hant)" and language_name("xx") == "xx"
    for wrong in (("de", "de", 1), ("en", "de", 0)):
        with pytest.raises(LexiconError):
            Task(*wrong)


@pytest.mark.parametrize(
    "reply",
    [
        '{"bank": ["Bank", "Ufer"], "river": "Fluss", "rock": 3, "tree": ["Baum"]}',
        'Here you are:\n```json\n{"bank": ["Bank", "Ufer"], "river": "Fluss", "rock": 3, "tree": ["Baum"]}\n```',
    ],
)
def test_an_object_is_found_in_the_reply_and_other_words_are_counted(reply: str) -> None:
    rejected = Tallies()
    found = answers(reply, ["bank", "river", "rock", "stone"], "en", rejected)
    assert found == {"bank": ["Bank", "Ufer"], "river": ["Fluss"]}
    assert counts(rejected.counted()) == {"answers that are no list": 1, UNASKED: 1}


@pytest.mark.parametrize("reply", ["", "I cannot.", '{"bank": ["Ba', '["Bank"]', "[" * 10_000 + "{}"[:1]])
def test_a_reply_without_an_object_is_none(reply: str) -> None:
    with pytest.raises(ValueError, match="without a JSON object"):
        answers(reply, ["bank"], "en", Tallies())


@pytest.mark.parametrize(
    "reply",
    [
        "{" * 4_000_000,
        '{"' * 2_000_000,
        '{"a":[' * 600_000,
        '{"a":' * 900 + "[" + "1," * 1_900_000,
        '{"a":' * 2_000 + "1" + "}" * 2_000 + "x" * 3_900_000,
        '{"a":1,}' * 500_000,
    ],
)
def test_braces_that_begin_no_object_cost_no_more_than_their_length(reply: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match="without a JSON object"):
        answers(reply, ["bank"], "en", Tallies())
    assert time.process_time() - start < 5


@pytest.mark.parametrize("depth", [11, *range(900, 1010)])
def test_an_answer_nested_too_deeply_to_be_kept_is_counted(tmp_path: Path, depth: int) -> None:
    rejected = Tallies()
    try:
        found = answers(
            '{"river": ["Fluss"], "bank": ["Bank", %s]}' % ("[" * depth + "]" * depth), ["bank"], "en", rejected
        )
    except ValueError:  # nor can it be read
        return
    Cache(tmp_path / "cache.jsonl", "m", "p").add({word: found.get(word) for word in ("bank", "river")})
    assert found == {} and counts(rejected.counted()) == {UNASKED: 1, "answers nested too deeply": 1}


@checked
@given(
    noise(['{"bank": ["Bank"]}', '{"bank": "Ufer", "x": [["y"]]}', "```json\n"], ["bank", "Bank", "river", "straße"])
)
def test_any_reply_is_an_answer_or_none(tmp_path: Path, content: bytes) -> None:
    rejected = Tallies()
    try:
        found = answers(content.decode(errors="surrogateescape"), ["bank", "river", "STRASSE"], "en", rejected)
    except ValueError as error:
        assert "without a JSON object" in str(error)
        return
    path = tmp_path / "cache.jsonl"
    path.unlink(missing_ok=True)
    Cache(path, "m", "p").add(found)
    for word, answer in found.items():
        assert all(sense.encode() for sense in GERMAN.senses(word, answer, rejected))
        assert len(Cache(path, "m", "p")[word]) == 1


BESIDE = "answers beside another to the same word"


@pytest.mark.parametrize(
    ("reply", "found", "reasons"),
    [
        ('<think>{x}</think>{"bank": ["Bank"]}', {"bank": ["Bank"]}, {}),
        ('<think>{"a": [</think>{"bank": ["Bank"]} {', {"bank": ["Bank"]}, {}),
        ('{"bank": ["Bank"]}\n{"river": ["Fluss"]}', {"bank": ["Bank"], "river": ["Fluss"]}, {}),
        ('so {"bank": ["Ufer"]}, no: {"bank": ["Bank"]}', {"bank": ["Bank"]}, {BESIDE: 1}),
        ('{"bank": ["Bank"]} {"bank": ["Bank"]}', {"bank": ["Bank"]}, {}),
        ('{"Bank": ["Bank"], "RIVER": ["Fluss"]}', {"bank": ["Bank"], "river": ["Fluss"]}, {}),
        ('{"bank": ["Bank"], "Bank": ["Ufer"]}', {"bank": ["Bank"]}, {BESIDE: 1}),
        ('{"Bank": ["Ufer"], "bank": ["Bank"]}', {"bank": ["Bank"]}, {BESIDE: 1}),
        ('{"cafe\u0301": ["Lokal"], "CAFE\u0301": ["x"]}', {"caf\u00e9": ["Lokal"]}, {BESIDE: 1}),
        ('{"Polish": ["polnisch"], "polish": ["polieren"]}', {"Polish": ["polnisch"], "polish": ["polieren"]}, {}),
        ('{"POLISH": ["polnisch"]}', {}, {UNASKED: 1}),  # of the two that were asked it may be either
    ],
)
def test_keys_and_objects_are_matched_as_far_as_they_are_clear(
    reply: str, found: dict[str, list[str]], reasons: dict[str, int]
) -> None:
    rejected = Tallies()
    assert answers(reply, ["bank", "river", "caf\u00e9", "Polish", "polish"], "en", rejected) == found
    assert counts(rejected.counted()) == reasons


LISTED = "entries that list or explain and do not translate"


@pytest.mark.parametrize(
    ("task", "answer", "kept", "reasons"),
    [
        (GERMAN, ["Bank", "Ufer"], ("Bank", "Ufer"), {}),
        (GERMAN, ["die Bank", "Ufer {n}", "Rand"], ("Bank", "Ufer"), {"entries beyond the first 2 senses": 1}),
        (GERMAN, ["Ufer", "Ufer", "Shore", "shore"], ("Ufer",), {DUPLICATE: 1, IDENTICAL: 2}),
        (GERMAN, ["", None, 3, " "], (), {"entries that are empty or no text": 4}),
        (GERMAN, ["ein Haus für sehr viel Geld", "Ufer, Rand", "Ufer: am Fluss"], (), {LISTED: 3}),
        (GERMAN, ["банк", "Б-Bank"], ("Б-Bank",), {"entries not in the script of German": 1}),
        (
            Task("en", "ru"),
            ["shore", "coast", "берег"],
            ("берег",),
            {IDENTICAL: 1, "entries not in the script of Russian": 1},
        ),
        (Task("en", "ru", keep_identical=True), ["shore", "берег"], ("shore", "берег"), {}),
        (Task("en", "zh"), ["银行", "用来存钱和借钱的地方"], ("银行",), {LISTED: 1}),
        (Task("en", "xx"), ["ბანკი"], ("ბანკი",), {}),
    ],
)
def test_translations_are_checked_one_by_one(
    task: Task, answer: list[Any], kept: tuple[str, ...], reasons: dict[str, int]
) -> None:
    rejected = Tallies()
    assert task.senses("shore", answer, rejected) == kept
    assert counts(rejected.counted()) == reasons


@pytest.mark.parametrize(
    ("word", "tag", "plausible"),
    [("T恤", "zh", True), ("shirt", "zh", False), ("Čovek", "sr", True), ("ひと", "ja", True), ("123", "de", False)],
)
def test_a_word_is_in_a_script_of_its_language_by_half_of_its_letters(word: str, tag: str, plausible: bool) -> None:
    assert plausible_script(word, tag) is plausible


# --- the cache -------------------------------------------------------------------------------------


def test_answers_are_kept_by_model_and_prompt_and_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "cache.jsonl"
    first = Cache(path, "m", "p")
    first.make()
    first.add({"bank": ["Bank"], "river": []})
    Cache(path, "other", "p").add({"bank": ["x"]})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"model": "m", "prompt": "p", "word": "tree", "ans')
    second = Cache(path, "m", "p")
    assert (second["bank"], second["river"], second["tree"], second.unreadable) == ([["Bank"]], [[]], [], 1)
    second.add({"tree": ["Baum"]})
    third = Cache(path, "m", "p")
    assert third["tree"] == [["Baum"]] and third.unreadable == 1
    assert path.read_bytes().startswith(whole)
    (tmp_path / "file").touch()
    with pytest.raises(LexiconError, match="cannot keep answers there"):
        Cache(tmp_path / "file" / "cache.jsonl", "m", "p").make()


def test_a_word_left_out_of_a_reply_counts_as_an_attempt_and_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "cache.jsonl"
    first = Cache(path, "m", "p")
    first.add({"bank": ["Bank"], "river": None})
    for cache in (first, Cache(path, "m", "p")):
        assert (cache["bank"], cache["river"], cache.unreadable) == ([["Bank"]], [], 0)
        assert [cache.attempts(word) for word in ("bank", "river", "tree")] == [1, 1, 0]


ANSWER = '{"model": "m", "prompt": "p", "word": "bank", "answer": ["Bank"]}'


@pytest.mark.parametrize("line", ["[" * 200_000, ANSWER.replace('"Bank"', "7" * 5000), "3", "[]", "\ud800"])
def test_a_line_that_is_no_answer_is_counted(tmp_path: Path, line: str) -> None:
    path = tmp_path / "cache.jsonl"
    path.write_text(f"{line}\n{ANSWER}\n", encoding="utf-8", errors="surrogatepass")
    cache = Cache(path, "m", "p")
    assert cache["bank"] == [["Bank"]] and cache.unreadable == 1


@checked
@given(noise([ANSWER, ANSWER.replace("answer", "refused")], ["model", "prompt", "word", "answer", "refused"]))
def test_any_bytes_are_a_cache_that_goes_on(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache.jsonl"
    path.write_bytes(content)
    cache = Cache(path, "m", "p")
    ahead = estimate(["bank", "tree"], GERMAN, cache, QUICK)
    assert ahead.words + ahead.cached == 2
    cache.add({"tree": ["Baum"]})
    assert path.read_bytes().startswith(content)
    assert Cache(path, "m", "p")["tree"] == [["Baum"]]


# --- pace ------------------------------------------------------------------------------------------


def test_turns_come_evenly_and_a_retry_waits_as_long_as_the_server_asks(tmp_path: Path) -> None:
    client = pytest.importorskip("prealign.lexicon.llm.client", reason="needs the client: pip install 'prealign[llm]'")
    pace = client.Pace(60)
    turns = [pace.turn() for _ in range(4)]
    assert turns == pytest.approx([0, 1, 2, 3], abs=0.2)
    busy = ("headers", 429, {"retry-after": "0.7"}, {})
    _, server = ask(lambda n, words: busy if n == 0 else translated(words), tmp_path, Traffic(8, 1, 60_000))
    assert 0.7 <= server.times[1] - server.times[0] < 5
    with pytest.raises(LexiconError, match="above 0"):
        Traffic(per_minute=0)
    with pytest.raises(LexiconError, match="from 1"):
        Traffic(batch=0)


# --- against a server ------------------------------------------------------------------------------


def test_every_word_is_asked_once_in_batches_within_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret-key")
    traffic = Traffic(batch=2, concurrency=2, per_minute=600)  # a request every 0.1 s
    made, server = ask(lambda n, words: ("wait", 0.3, translated(words)), tmp_path, traffic)
    assert senses(made) == EVERY and list(senses(made)) == list(WORDS)
    assert sorted(word for words in server.asked for word in words) == sorted(WORDS)
    assert server.most_under_way == 2
    assert server.times[-1] - server.times[0] > 0.29  # four turns
    assert (made.replies, made.prompt_tokens, made.reply_tokens) == (4, 400, 40)
    assert set(server.keys) == {"Bearer secret-key"}
    assert made.lexicon.groups[0] == Group("worda", {"de": ("Worta",)}, 100, ("llm:m",))
    assert "secret-key" not in (tmp_path / "cache.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (429, "replies with status 429"),
        (500, "replies with status 500"),
        (503, "replies with status 503"),
        ("drop", "connections that failed or were dropped"),
        (("raw", "not json"), "replies that are no chat completion"),
        (("raw", '{"choices": []}'), "replies that are no chat completion"),
        (("raw", '{"choices": [{"message": {"content": ["x"]}}]}'), "replies that are no chat completion"),
        (
            ("raw", '{"choices": [{"message": {}}], "usage": {"prompt_tokens": "x"}}'),
            "replies that are no chat completion",
        ),
        (("raw", "[" * 100_000), "replies that are no chat completion"),
        (("wait", 1.5, {}), "requests that took too long"),
        (("endless", 200, b" ", 0.05), "requests that took too long"),
        (("endless", 500, b" ", 0.05), "requests that took too long"),
        (("endless", 200, b" " * 100_000, 0), "replies of more than 4,000,000 bytes"),
        (("endless", 500, b" " * 100_000, 0), "replies of more than 4,000,000 bytes"),
        (("packed", b" " * 50_000_000), "replies of more than 4,000,000 bytes"),
    ],
)
def test_a_failed_request_is_sent_again_and_counted(tmp_path: Path, failure: Any, reason: str) -> None:
    made, server = ask(
        lambda n, words: failure if n == 0 else translated(words), tmp_path, timeout=1 if "too long" in reason else 20
    )
    assert senses(made) == EVERY
    assert counts(made.troubles) == {reason: 1}
    assert len(server.asked) == 4  # three batches, one of them twice
    assert reason in made.text
    assert server.endless_bytes < 40_000_000, "what the client does not read fills no more than buffers"


def test_replies_that_are_no_answer_or_lack_words_are_asked_for_once_more(tmp_path: Path) -> None:
    def script(number: int, words: list[str]) -> Any:
        if number == 0:
            return "I am a language model."
        if number == 1:
            return {words[0]: [words[0]], "unasked": ["ungefragt"]}
        return translated(words)

    made, server = ask(script, tmp_path, Traffic(batch=4, concurrency=1, per_minute=60_000))
    assert senses(made) == EVERY
    assert [len(words) for words in server.asked] == [4, 4, 2, 2, 2, 2]
    assert counts(made.troubles) == {"replies without a JSON object": 1}
    assert counts(made.rejected) == {UNASKED: 1}


def test_words_that_stay_without_an_answer_are_reported_and_not_asked_a_third_time(tmp_path: Path) -> None:
    never, names, explained = list(WORDS)[:3]

    def script(number: int, words: list[str]) -> Any:
        found = translated(words) | {names: [], explained: ["das ist ein Wort für etwas"]}
        return {word: found[word] for word in words if word != never}

    made, server = ask(script, tmp_path)
    asked = [word for words in server.asked for word in words]
    assert (asked.count(never), asked.count(names), asked.count(explained)) == (2, 1, 2)
    assert counts(made.words) == {
        "left out of 2 replies (--ask-again sends them anew)": 1,
        "for which the model has no translation": 1,
        "with no usable translation": 1,
    }
    assert counts(made.rejected) == {LISTED: 2}
    assert set(senses(made)) == set(WORDS) - {never, names, explained}
    again, server = ask(script, tmp_path)
    assert server.asked == [] and senses(again) == senses(made)
    again, server = ask(lambda n, words: translated(words), tmp_path, ask_again=True)
    assert server.asked == [[never]] and never in senses(again)


def test_an_endpoint_that_stays_down_ends_it_and_what_came_is_kept(tmp_path: Path) -> None:
    traffic = Traffic(batch=1, concurrency=1, per_minute=60_000, retries=1)
    with pytest.raises(LexiconError, match=r"no answer in 2 tries a batch, 3 in a row \(replies with status 500\)"):
        ask(lambda n, words: translated(words) if n < 2 else 500, tmp_path, traffic)
    made, server = ask(lambda n, words: translated(words), tmp_path, traffic)
    assert senses(made) == EVERY and len(server.asked) == len(WORDS) - 2


def test_one_batch_that_always_fails_does_not_end_it(tmp_path: Path) -> None:
    made, _ = ask(lambda n, words: 500 if "wordd" in words else translated(words), tmp_path)
    assert set(WORDS) - set(senses(made)) == {"wordd"}  # the others of its batch came when asked again
    assert made.words["without an answer"].count == 1
    assert made.troubles["batches given up"].count == 2


@pytest.mark.parametrize(
    "refusal",
    [
        401,
        404,
        ("headers", 429, {}, {"error": {"message": "no credit", "code": "insufficient_quota"}}),
    ],
)
def test_what_no_retry_mends_ends_it_at_once(tmp_path: Path, refusal: Any) -> None:
    started = time.monotonic()
    with pytest.raises(LexiconError, match=r"refuses the model `m` with status (401|404|429): .*(as told|no credit)"):
        ask(lambda n, words: refusal, tmp_path, Traffic(batch=3, per_minute=60_000))
    assert time.monotonic() - started < 20


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with serving(lambda n, words: translated(words)) as other:
        moved = ("headers", 307, {"location": f"{other.address}/chat/completions"}, {})
        with pytest.raises(
            LexiconError, match=rf"redirects to {other.address}/.* \(status 307\).*give it as --endpoint"
        ):
            ask(lambda n, words: moved, tmp_path)
        assert other.asked == []


SECRETS = ("sk-secret key", "p%40ss", "p@ss", "user:p%40ss", "dXNlcjpwQHNz")


@pytest.mark.parametrize("status", [200, 307, 400, 401])
def test_neither_key_nor_password_is_in_messages_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv(KEY, SECRETS[0])
    # Long enough to be cut after 300 characters, of which the key is masked first.
    told = ", ".join(SECRETS) + "x" * (290 - len(", ".join(SECRETS))) + SECRETS[0] * 2

    def script(number: int, words: list[str]) -> Any:
        if status == 200 or words != ["worda"]:
            return {word: ["Wort", *SECRETS] for word in words}
        return ("headers", status, {"location": "http://user:p%40ss@other/"}, {"error": {"message": told}})

    try:
        made, server = ask(script, tmp_path, Traffic(1, 1, 60_000), Task("en", "de", 9), login="user:p%40ss@")
        output = made.text + repr(made.lexicon.groups)
        assert server.keys[0] == "Basic dXNlcjpwQHNz", "the password is sent"
    except LexiconError as error:
        output = str(error)
        assert "http://127.0.0.1:" in output
    output += (tmp_path / "cache.jsonl").read_text(encoding="utf-8")
    assert not [secret for secret in ("sk-sec", *SECRETS) if secret in output] and "***" in output


def test_a_key_that_is_a_word_stays_a_word_in_replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "Wort")
    made, _ = ask(lambda n, words: translated(words), tmp_path)
    assert senses(made) == EVERY
    refusal = ("headers", 401, {}, {"error": {"message": "no such key: Wort"}})
    with pytest.raises(LexiconError, match=r"no such key: \*\*\*"):
        ask(lambda n, words: refusal, tmp_path / "new")


@pytest.mark.parametrize(
    "address", ["localhost:8000/v1", "http://user:hunter22@[", "ftp://user:hunter22@x/", "http:///v1"]
)
def test_an_address_that_is_none_is_refused_and_not_repeated(address: str) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    with pytest.raises(LexiconError, match=r"no HTTP address.*http://localhost:8000/v1") as told:
        Endpoint("m", address)
    assert "hunter22" not in str(told.value)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_batch_is_asked_in_halves_and_a_refused_word_given_up(tmp_path: Path, status: int) -> None:
    traffic = Traffic(batch=8, concurrency=2, per_minute=60_000)

    def script(number: int, words: list[str]) -> Any:
        return status if "wordd" in words else translated(words)

    made, server = ask(script, tmp_path, traffic)
    assert senses(made) == {word: found for word, found in EVERY.items() if word != "wordd"}
    assert sorted(map("".join, server.asked)) == sorted(
        "".join(f"word{letter}" for letter in letters) for letters in ("abcdefgh", "abcd", "efgh", "ab", "cd", "c", "d")
    )
    assert counts(made.troubles) == {f"batches refused with status {status} and asked in halves": 3}
    assert counts(made.words) == {"refused by the endpoint (--ask-again sends them anew)": 1}
    assert f"'wordd' (status {status}: " in made.text and "as told" in made.text
    again, server = ask(script, tmp_path, traffic)
    assert server.asked == [] and senses(again) == senses(made)
    assert again.words == made.words, "with the reason"
    ahead = estimate(list(WORDS), GERMAN, Cache(tmp_path / "cache.jsonl", "m", GERMAN.version), traffic)
    assert (ahead.words, ahead.cached, ahead.refused) == (0, 8, 1)
    again, server = ask(lambda n, words: translated(words), tmp_path, traffic, ask_again=True)
    assert server.asked == [["wordd"]] and senses(again) == EVERY
    again, server = ask(script, tmp_path, traffic)
    assert server.asked == [] and senses(again) == EVERY, "an answer settles what was refused before"


def test_refusals_of_an_endpoint_that_answers_nothing_are_not_kept(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(LexiconError, match="8 refused by the endpoint"):
            ask(lambda n, words: 400, tmp_path)
    assert (tmp_path / "cache.jsonl").read_bytes() == b""
    made, _ = ask(lambda n, words: translated(words), tmp_path)
    assert senses(made) == EVERY


def test_refusals_before_the_first_answer_are_kept_with_it(tmp_path: Path) -> None:
    def script(number: int, words: list[str]) -> Any:
        return 400 if {"worda", "wordb"} & set(words) else translated(words)

    ask(script, tmp_path, Traffic(batch=1, concurrency=1, per_minute=60_000))
    found = Cache(tmp_path / "cache.jsonl", "m", GERMAN.version)
    assert list(found.refused) == ["worda", "wordb"] and all("as told" in why for why in found.refused.values())
    again, server = ask(script, tmp_path)
    assert server.asked == [] and len(senses(again)) == 6


def test_batches_that_are_too_long_are_all_asked_in_halves(tmp_path: Path) -> None:
    made, server = ask(lambda n, words: 413 if len(words) > 2 else translated(words), tmp_path, Traffic(8, 3, 60_000))
    assert senses(made) == EVERY and len(server.asked) == 1 + 2 + 4


def test_an_endpoint_that_refuses_every_word_ends_it_early(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    traffic = Traffic(batch=4, concurrency=1, per_minute=60_000)
    with pytest.raises(LexiconError, match=r"translates none of the words \(.*8 refused by the endpoint.*as told"):
        ask(lambda n, words: 400, tmp_path, traffic)
    many = {f"w{number}": 1 for number in range(4000)}
    with serving(lambda n, words: 400) as server:
        endpoint = Endpoint("m", server.address)
        with pytest.raises(LexiconError, match=r"refuses every request to the model `m`.*status 400: .*as told"):
            translate(many, GERMAN, endpoint, Cache(tmp_path / "x", "m", "p"), traffic)
        assert len(server.asked) < 30


def test_a_rerun_whose_only_batch_fails_makes_the_dictionary_from_the_cache(tmp_path: Path) -> None:
    def script(number: int, words: list[str]) -> Any:
        return 500 if {"wordd", "worde", "wordf"} & set(words) else translated(words)

    made, _ = ask(script, tmp_path)
    again, server = ask(script, tmp_path)
    assert len(server.asked) == 3 + 3 * 3  # a batch, then its words, each in three tries
    assert senses(again) == senses(made) and len(senses(made)) == 5
    assert counts(again.words) == {"without an answer": 3}
    with pytest.raises(LexiconError, match="run this again later"):  # without a cache there is nothing to make
        ask(lambda n, words: 500, tmp_path / "new", Traffic(8, 1, 60_000, 0))


def test_replies_without_an_object_are_paid_for_twice_at_most(tmp_path: Path) -> None:
    def script(number: int, words: list[str]) -> Any:
        return "Sorry." if "wordd" in words else translated(words)

    ask(script, tmp_path)
    made, server = ask(script, tmp_path)
    assert server.asked == [] and set(WORDS) - set(senses(made)) == {"wordd"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_message_and_what_was_written_stays(tmp_path: Path) -> None:
    cache = tmp_path / "cache.jsonl"

    def script(number: int, words: list[str]) -> Any:
        if number == 1:
            deadline = time.monotonic() + 20
            while cache.read_bytes().count(b"\n") < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            cache.rename(tmp_path / "before")
            cache.symlink_to("/dev/full")
        return translated(words)

    with pytest.raises(LexiconError, match=r"cache.jsonl: cannot write .*No space left on device.*Make room.*kept"):
        ask(script, tmp_path, Traffic(batch=3, concurrency=1, per_minute=60_000))
    assert (tmp_path / "before").read_bytes().count(b"\n") == 3


def test_no_endpoint_is_needed_if_the_cache_has_every_answer(tmp_path: Path) -> None:
    made, _ = ask(lambda n, words: translated(words), tmp_path)
    cache = Cache(tmp_path / "cache.jsonl", "m", GERMAN.version)
    again = translate(WORDS, GERMAN, None, cache, QUICK)
    assert again.lexicon.groups == made.lexicon.groups and again.replies == 0
    with pytest.raises(LexiconError, match="1 words have no answer there"):
        translate({**WORDS, "new": 1}, GERMAN, None, cache, QUICK)


def test_a_model_that_translates_nothing_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(
        LexiconError, match=r"translates none of the words \(.*8 for which the model has no translation"
    ):
        ask(lambda n, words: {word: [] for word in words}, tmp_path)


def test_a_key_is_needed_where_no_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    for name in (KEY, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(LexiconError, match="no OPENAI_API_KEY"):
        Endpoint("m")
    Endpoint("m", "http://localhost:1/v1")


def test_the_estimate_counts_what_the_cache_lacks(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.jsonl", "m", GERMAN.version)
    before = estimate(list(WORDS), GERMAN, cache, Traffic(batch=3, per_minute=6))
    assert (before.words, before.cached, before.requests, before.minutes) == (8, 0, 3, 0.5)
    assert 300 < before.prompt_tokens < 1000 and 50 < before.reply_tokens < 300
    cache.add({word: ["Wort"] for word in list(WORDS)[:6]} | {"wordg": ["wordg"]})
    after = estimate(list(WORDS), GERMAN, cache, Traffic(batch=3))
    assert (after.words, after.cached, after.requests) == (2, 6, 1)  # of one word the answer is of no use
