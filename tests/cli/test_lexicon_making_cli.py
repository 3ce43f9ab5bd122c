"""`prealign lexicon align` and `translate`, as a user meets them: what is printed, what is written, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from chat_server import serving
from prealign.cli.main import app
from prealign.lexicon import Lexicon

WORDS = {f"word{letter}": 100 - i for i, letter in enumerate("abcdefgh")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with words.json, and no key or address in the environment."""
    (tmp_path / "words.json").write_text(json.dumps(WORDS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def lexicon(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["lexicon", *arguments])


def refused(*arguments: str) -> str:
    result = lexicon(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.output


def translated(number: int, words: list[str]) -> Any:
    return {word: [word.replace("word", "Wort")] for word in words}


TRANSLATE = ("translate", "--words", "words.json", "--target", "de", "--model", "m", "-o", "llm.jsonl")


# --- align -----------------------------------------------------------------------------------------


def test_parallel_text_becomes_a_lexicon_that_can_be_inspected(folder: Path) -> None:
    pytest.importorskip("thot", reason="needs the aligner: pip install 'prealign[align]'")
    english = ["The old house.", "An old dog.", "The house sleeps.", "A dog sleeps.", "", "House and dog."] * 5
    german = ["Das alte Haus.", "Ein alter Hund.", "Das Haus schläft.", "Ein Hund schläft.", "x", "Haus und Hund."] * 5
    for name, lines in (("x.en", english), ("x.de", german)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = lexicon("align", "x.en", "x.de", "--target", "de", "-o", "de.jsonl")
    assert made.exit_code == 0, made.output
    for part in (
        "x.en and x.de: 30 lines, 25 pairs of sentences",
        "dropped: 5 pairs with a blank side, such as line 5 '' → 'x'",
        "25 pairs of sentences aligned",
        "with a number or a sign, such as . → .",
        "→ de.jsonl",
    ):
        assert part in made.output
    group = Lexicon.load("de.jsonl").lookup("House")
    assert group is not None and group.translations["de"][0] == "Haus"
    assert group.evidence["de"]["Haus"].count == 15
    assert "house → de: Haus" in lexicon("inspect", "de.jsonl").output
    again = lexicon("align", "x.en", "x.de", "--target", "de", "-o", "again.jsonl", "--minimum-count", "3")
    assert again.exit_code == 0 and Path("again.jsonl").read_bytes() == Path("de.jsonl").read_bytes()


def test_parallel_text_that_does_not_fit_is_refused_and_writes_nothing(folder: Path) -> None:
    (folder / "x.en").write_text("one\ntwo\n", encoding="utf-8")
    (folder / "x.de").write_text("eins\n", encoding="utf-8")
    arguments = ("align", "x.en", "x.de", "--target", "de", "-o", "de.jsonl")
    assert "x.en has 2 lines, x.de has 1" in refused(*arguments)
    assert "cannot read" in refused("align", "x.en", "nowhere", "--target", "de", "-o", "de.jsonl")
    assert "from 0 to 1" in refused(*arguments, "--minimum-probability", "20")
    assert "give two, or one" in refused("align", "a", "b", "c", "--target", "de", "-o", "de.jsonl")
    assert not (folder / "de.jsonl").exists()


def test_a_place_that_cannot_be_written_is_refused_before_any_work(folder: Path) -> None:
    (folder / "out").mkdir()
    assert "out: is a folder" in refused("align", "x.en", "x.de", "--target", "de", "--out", "out")
    with serving(translated) as server:
        for out in ("out", ".", "words.json/x.jsonl", "/proc/x.jsonl"):
            command = [
                "--words",
                "words.json",
                "--target",
                "de",
                "--model",
                "m",
                "--endpoint",
                server.address,
                "-o",
                out,
            ]
            in_the_way = "words.json" if out.startswith("words.json") else out
            assert f"error: {in_the_way}: " in refused("translate", *command, "--yes")
        assert server.asked == []
        assert lexicon("translate", *command, "--dry-run").exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["out", "words.json"]


# --- translate -------------------------------------------------------------------------------------


def test_words_that_dictionaries_lack_are_translated_and_merge_with_them(folder: Path) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    (folder / "de.tsv").write_text("worda\tBekannt\n", encoding="utf-8")
    with serving(translated) as server:
        options = ["--endpoint", server.address, "--lexicon", "de.tsv", "--yes", "--batch", "4"]
        options += ["--prices", "1e6", "0"]
        made = lexicon(*TRANSLATE, *options, "--requests-per-minute", "6000")
        assert made.exit_code == 0, made.output
        assert sorted(word for words in server.asked for word in words) == sorted(set(WORDS) - {"worda"})
        again = lexicon(*TRANSLATE, *options)
        assert len(server.asked) == 2 and "7 words need no request" in again.output
    # All is in the cache: neither key nor endpoint is asked for.
    before = Path("llm.jsonl").read_bytes()
    offline = lexicon(*TRANSLATE, "--lexicon", "de.tsv")
    assert offline.exit_code == 0 and Path("llm.jsonl").read_bytes() == before, offline.output
    for part in (
        "left out: 1 that a dictionary translates, such as 'worda'",
        "ahead: 7 words in 2 requests",
        "2 replies, 200 tokens sent, 20 received",
        "cost 200.00 at the prices given",
        "7 words of en, 7 translations into de → llm.jsonl",
    ):
        assert part in made.output
    assert lexicon("merge", "de=de.tsv", "llm.jsonl", "-o", "both.jsonl").exit_code == 0
    both = Lexicon.load("both.jsonl")
    assert len(both) == len(WORDS) and both.lookup("wordb") is not None


def test_refused_words_are_counted_and_asked_again_if_told_to(folder: Path) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    quick = ("--requests-per-minute", "6000", "--yes")
    with serving(lambda number, words: 400 if "worda" in words else translated(number, words)) as server:
        assert lexicon(*TRANSLATE, *quick, "--endpoint", server.address).exit_code == 0
    with serving(translated) as server:
        again = lexicon(*TRANSLATE, *quick, "--endpoint", server.address)
        assert again.exit_code == 0 and server.asked == [], again.output
        assert "8 words need no request, 1 of them as they were refused before" in again.output
        assert "'worda' (status 400: " in again.output
        anew = lexicon(*TRANSLATE, *quick, "--endpoint", server.address, "--ask-again")
        assert anew.exit_code == 0 and server.asked == [["worda"]], anew.output
    assert len(Lexicon.load("llm.jsonl")) == len(WORDS)


def test_nothing_is_sent_without_consent(folder: Path) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    with serving(translated) as server:
        assert "pass --yes" in refused(*TRANSLATE, "--endpoint", server.address)
        tried = lexicon(*TRANSLATE, "--endpoint", server.address, "--dry-run", "--limit", "3")
        assert tried.exit_code == 0 and '["worda", "wordb", "wordc"]' in tried.output
        assert "5 beyond the 3 most frequent" in tried.output
        assert server.asked == []
    assert sorted(path.name for path in folder.iterdir()) == ["words.json"]


def test_empty_words_are_left_out_and_shown(folder: Path) -> None:
    (folder / "words.json").write_text('{"": 50, "house": 20}', encoding="utf-8")
    told = lexicon(*TRANSLATE, "--dry-run")
    assert told.exit_code == 0, told.output
    assert "1 word to translate into de" in told.output and "1 that are no words, such as ''" in told.output


def test_a_wrong_call_is_refused_with_what_to_do(folder: Path) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    assert "no OPENAI_API_KEY" in refused(*TRANSLATE, "--yes")
    assert "either --words FILE or --text" in refused(*TRANSLATE, "--text", "words.json")
    assert "lower --minimum-count" in refused(*TRANSLATE, "--minimum-count", "1000")
    assert "two different languages" in refused(*TRANSLATE, "--source", "de")
    with serving(lambda number, words: 401) as server:
        told = refused(*TRANSLATE, "--endpoint", server.address, "--yes")
        assert "refuses the model `m` with status 401" in told and "as told" in told


def test_a_killed_run_goes_on_without_asking_again(folder: Path) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")

    def slow(number: int, words: list[str]) -> Any:
        return translated(number, words) if number < 3 else ("wait", 60, {})

    options = ("--batch", "1", "--concurrency", "1", "--requests-per-minute", "6000", "--yes")
    cache = folder / "llm.jsonl.answers.jsonl"
    with serving(slow) as server:
        command = [sys.executable, "-m", "prealign", "lexicon", *TRANSLATE, *options, "--endpoint", server.address]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ)
        ) as process:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and process.poll() is None:
                if cache.exists() and cache.read_bytes().count(b"\n") == 3:
                    break
                time.sleep(0.05)
            process.kill()
    answered = [word for words in server.asked[:3] for word in words]
    assert len(answered) == 3 and not (folder / "llm.jsonl").exists()
    with cache.open("ab") as file:
        file.write(b'{"model": "m", "wor')  # as if killed within a write
    with serving(translated) as server:
        made = lexicon(*TRANSLATE, *options, "--endpoint", server.address)
        assert made.exit_code == 0, made.output
        assert sorted(word for words in server.asked for word in words) == sorted(set(WORDS) - set(answered))
    assert "3 words need no request (1 of its lines cannot be read)" in made.output
    assert len(Lexicon.load("llm.jsonl")) == len(WORDS)


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_an_interrupt_does_not_wait_for_requests_under_way(folder: Path) -> None:
    pytest.importorskip("openai", reason="needs the client: pip install 'prealign[llm]'")
    with serving(lambda number, words: ("wait", 60, {})) as server:
        command = [sys.executable, "-m", "prealign", "lexicon", *TRANSLATE, "--yes", "--endpoint", server.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and process.poll() is None and not server.asked:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            try:
                output, _ = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == 130 and "Traceback" not in output, output
