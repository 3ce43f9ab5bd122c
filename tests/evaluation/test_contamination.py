"""Other languages in a text: planted lines are found within the interval, and judged lines correct the rate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from prealign.cli.main import app
from prealign.errors import DataError
from prealign.evaluation.probes.contamination import Contamination, contamination, corrected, langid

GERMAN = [
    "Am nächsten Morgen ging der alte Mann wie immer zum Hafen hinunter.",
    "Die Kinder spielten im Garten, bis es dunkel wurde und die Mutter sie rief.",
    "Niemand wusste, warum der Zug an diesem Tag so lange im Tunnel stand.",
    "Er hatte den Brief gelesen, aber er sagte kein Wort darüber.",
    "Im Winter liegt hier so viel Schnee, dass man die Zäune nicht mehr sieht.",
]
ENGLISH = [
    "The next morning the old man walked down to the harbour as he always did.",
    "Children played in the garden until it grew dark and their mother called them in.",
    "Nobody knew why the train had to wait so long inside the tunnel that day.",
    "He had read the letter twice, but he did not say a word about it to anyone.",
    "So much snow falls here in winter that the fences can no longer be seen.",
]


def planted(lines: int, german: int) -> list[tuple[str, str]]:
    """Documents of ten lines, `german` lines of which are German; numbers make lines different."""
    made = [
        f"{GERMAN[i % 5]} {i}" if i * german // lines != (i + 1) * german // lines else f"{ENGLISH[i % 5]} {i}"
        for i in range(lines)
    ]
    return [(f"d{first}", "\n".join(made[first : first + 10]) + "\n\nshort\n") for first in range(0, lines, 10)]


def toy(line: str) -> tuple[str, float]:
    """An identifier that is certain, except of lines with a 7."""
    return (
        "de" if any(word in line for word in (" der ", " die ", " den ", " und ")) else "en"
    ), 0.5 if "7" in line else 1.0


def test_counts_are_those_of_a_loop() -> None:
    documents = planted(400, 40)
    (found,) = contamination(documents, ["de"], toy, samples=5)
    lines = [line for _, text in documents for line in text.splitlines() if len(line) > 10]
    own = [line for line in lines if toy(line) == ("de", 1.0)]
    assert (found.lines, found.short, found.found_lines) == (400, 40, len(own)) and own
    assert found.found_words == sum(len(line.split()) for line in own)
    assert found.words_per_million == pytest.approx(1e6 * found.found_words / sum(len(line.split()) for line in lines))
    expected = binomtest(len(own), 400).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert len(found.sample) == 5 and {line for _, line in found.sample} <= set(own)
    assert dict(documents)[found.sample[0][0]].count(found.sample[0][1]) == 1


def test_a_line_in_another_script_is_not_the_language() -> None:
    (found,) = contamination(
        [("d", "Это строка на русском языке, довольно длинная.")], ["de"], lambda line: ("de", 1.0)
    )
    assert found.found_lines == 0


def test_judged_lines_correct_the_rate() -> None:
    found = Contamination("de", 1000, 9000, 0, 20, 200, 0.02, 0.013, 0.031, 22_222.0, ())
    value, low, high = corrected(found, 15, 20)
    share = binomtest(15, 20).proportion_ci(method="wilson")
    assert value == pytest.approx(0.015) and (low, high) == pytest.approx((0.013 * share.low, 0.031 * share.high))
    with pytest.raises(DataError, match="no line of de is judged"):
        corrected(found, 0, 0)
    with pytest.raises(DataError, match="no line of the text has 20 letters"):
        contamination([("d", "short\n")], ["de"], toy)


def test_a_planted_percent_of_german_is_found_within_its_interval_and_none_in_english() -> None:
    pytest.importorskip("py3langid", reason="needs the extra `langid`")
    identify = langid()
    german, french = contamination(planted(2000, 20), ["de", "fr"], identify)
    assert german.low <= 0.01 <= german.high and german.found_lines >= 18
    assert french.found_lines == 0 and french.high < 0.002
    (none,) = contamination(planted(500, 0), ["de"], identify)
    assert none.found_lines == 0


def test_the_verb_writes_a_sheet_and_reads_it_judged(tmp_path: Path) -> None:
    pytest.importorskip("py3langid", reason="needs the extra `langid`")
    (tmp_path / "en.txt").write_text("".join(text for _, text in planted(300, 6)), encoding="utf-8")
    verb = ["probe", "contamination", str(tmp_path / "en.txt"), "--target", "de"]
    first = CliRunner().invoke(app, [*verb, "--sheet", str(tmp_path / "sheet.tsv"), "--json"])
    assert first.exit_code == 0, first.stderr
    (found,) = json.loads(first.stdout)
    assert found["found_lines"] == 6 and "corrected" not in found
    head, *lines = (tmp_path / "sheet.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6 and all(line.startswith("\tde\t") for line in lines)
    judged = [head, *("y" + line for line in lines[:3]), "n" + lines[3], *lines[4:]]
    (tmp_path / "judged.tsv").write_text("\n".join(judged) + "\n", encoding="utf-8")
    (again,) = json.loads(CliRunner().invoke(app, [*verb, "--judged", str(tmp_path / "judged.tsv"), "--json"]).stdout)
    assert again["corrected"]["value"] == pytest.approx(0.02 * 3 / 4) and again["corrected"]["judged"] == 4
    (tmp_path / "judged.tsv").write_text("\n".join([head, "maybe" + lines[0]]) + "\n", encoding="utf-8")
    for arguments, message in (
        (["--judged", str(tmp_path / "judged.tsv")], "judged.tsv:2: 'maybe' is neither y nor n"),
        (["--judged", str(tmp_path / "en.txt")], "en.txt:1: not a line of a sheet"),
        (["--target", "en-clone"], "0 by construction"),
    ):
        wrong = CliRunner().invoke(app, [*verb, *arguments])
        assert wrong.exit_code == 2 and message in " ".join(wrong.stderr.split()), wrong.stderr
