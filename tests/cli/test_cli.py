"""The command line on a toy corpus: what a user reads and the exit codes, and every bad input of the issue."""

from __future__ import annotations

import io
import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig
from typer.testing import CliRunner, Result

from prealign import __version__
from prealign.cli.main import app
from prealign.cli.terminal import Watch, narrow, plain_console, print_tables, table_width, wide
from prealign.events import Event, Progress
from prealign.report.tables.table import Table

WORDS = ["the", "house", "stands", "old", "river", "keeps", "quiet", "mountain", "people", "speak", "water", "stone"]

RECIPE = """\
name: toy
source: {language: en, text: [text]}
targets: [{language: en-clone, share: 0.3}]
split: {validation: 2, test: 3}
tokenizer: {vocab_size: 300}
lexicon: {minimum_count: 1, held_out: 0.1}
model: {preset: null, config: model}
align: {steps: 2, pairs_per_batch: 8, lm_batch_size: 2}
switch: {ratio: 0.2}
pretrain: {steps: 3, batch_size: 2, context: 16, validations: 1, validation_blocks: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with recipe.yaml, text/ and the model's config."""
    generator = random.Random(0)
    (tmp_path / "text").mkdir()
    for number in range(16):
        sentences = [" ".join(generator.choices(WORDS, k=8)).capitalize() + "." for _ in range(12)]
        (tmp_path / "text" / f"{number:02}.txt").write_text(" ".join(sentences), encoding="utf-8")
    LlamaConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
    ).save_pretrained(tmp_path / "model")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prealign(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> str:
    """Run a command that the user has to mend; return its one message."""
    result = prealign(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.count("error:") == 1
    return result.stderr


def trained(folder: Path) -> bool:
    return any(folder.glob("runs/*/arms/*"))


def test_a_run_ends_with_tables_and_files_and_a_second_one_skips_everything(folder: Path) -> None:
    first = prealign("run", "recipe.yaml")
    assert first.exit_code == 0, first.output
    for part in ("Language modelling", "Word retrieval", "Training budget", "Code-switching", "report.html"):
        assert part in first.output
    results = json.loads((folder / "runs/toy/results.json").read_text(encoding="utf-8"))
    assert {score["arm"] for score in results["scores"]} == {"joint", "prealign"}
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/toy/arms/**/*.safetensors")}
    second = prealign("run", "recipe.yaml")
    assert "unchanged, skipped: blocks, align, pretrain, evaluate" in second.output
    assert {path: path.stat().st_mtime_ns for path in before} == before

    report = prealign("report", "runs/toy", "--markdown", "page/README.md")
    assert report.exit_code == 0
    page = (folder / "page/README.md").read_text(encoding="utf-8")
    figures = re.findall(r"\]\(([^)]+\.svg)\)", page)
    assert figures and all((folder / "page" / figure).exists() for figure in figures)


def test_the_stages_have_verbs_of_their_own(folder: Path) -> None:
    assert "coverage en-clone" in prealign("lexicon", "recipe.yaml").output
    aligned = prealign("align", "recipe.yaml")
    assert aligned.exit_code == 0 and not (folder / "runs/toy/arms/prealign/seed-0/pretrain").exists()
    assert "pretrain: not trained yet" in refused("harness", "recipe.yaml")
    assert prealign("pretrain", "recipe.yaml").exit_code == 0
    printed = prealign("harness", "recipe.yaml").output
    assert "no `knowledge`, so no tasks" in printed and "other settings" not in printed
    assert "lm_eval run --model hf" in printed and "pretrained=runs/toy/arms/prealign/seed-0/pretrain" in printed
    assert "other settings" in prealign("harness", "recipe.yaml", "pretrain.steps=4").output
    assert "skipped: blocks, align, pretrain" in prealign("evaluate", "recipe.yaml").output
    assert "has no stage 'align'" in refused("align", "recipe.yaml", "--arm", "joint")
    assert "did you mean 'prealign'" in refused("align", "recipe.yaml", "--arm", "prelign")


def test_the_switched_corpus_is_written_for_other_trainers(folder: Path) -> None:
    made = prealign(
        "switch", "recipe.yaml", "pretrain.steps=5", "--arm", "prealign", "--format", "binary", "--out", "corpus"
    )
    assert made.exit_code == 0, made.output
    assert re.search(r"10 blocks of 16 tokens, 9\d\.\d% of them labels → corpus\n", made.output)
    assert not (folder / "runs/toy/arms/prealign/seed-0/align").exists()
    again = prealign("switch", "recipe.yaml", "pretrain.steps=5", "--format", "binary", "--out", "corpus")
    assert "corpus (unchanged, skipped)" in again.output
    assert "no corpus of prealign" in refused("switch", "recipe.yaml", "--out", "text")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["source.text=[nowhere]"], "no text at 'nowhere'"),
        (["switch.ratio=1.5"], "1.5 is not in 0..1"),
        (["pretrain.context=64"], "the model has only 32 positions"),
        (["lexicon.minimum_count=100000"], "no word of the lexicon"),
        (["split.test=15"], "too few to hold out"),
        (["tokenizer.vocab_size=100"], "too small"),
        (["tokenizer.path=nowhere"], "'nowhere', revision 'main': there is no such folder"),
        (["model.config=nowhere"], "'nowhere', revision 'main': there is no such folder"),
        (["arms=[joint,prelign]"], "did you mean 'prealign'"),
    ],
)
def test_a_mistake_is_one_message_before_any_training(folder: Path, settings: list[str], message: str) -> None:
    assert message in refused("run", "recipe.yaml", *settings).replace("\n", " ")
    assert not list(folder.glob("runs/*/arms/*/*/align")) and not list(folder.glob("runs/*/arms/*/*/pretrain"))


def test_bytes_that_are_not_utf8_are_named_by_file_and_offset(folder: Path) -> None:
    (folder / "text" / "00.txt").write_bytes(b"caf\xe9 noir")
    assert "00.txt: byte 3 is not UTF-8 (0xe9)" in refused("run", "recipe.yaml")


def test_empty_text_is_refused(folder: Path) -> None:
    for path in (folder / "text").iterdir():
        path.write_text("", encoding="utf-8")
    assert "every file is empty" in refused("run", "recipe.yaml")


def test_a_tokenizer_without_eos_is_refused(folder: Path) -> None:
    prealign("lexicon", "recipe.yaml")
    source = folder / "runs/toy/data/tokens/tokenizer"
    for path in source.glob("*config.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("eos_token", None)
        path.write_text(json.dumps(settings), encoding="utf-8")
    assert "has no EOS token" in refused("run", "recipe.yaml", f"tokenizer.path={source}", "--out", "other")


def test_the_folder_of_another_recipe_is_left_as_it_is(folder: Path) -> None:
    prealign("lexicon", "recipe.yaml")
    before = (folder / "runs/toy/recipe.yaml").read_bytes()
    assert "run folder of another recipe" in refused("run", "recipe.yaml", "name=other", "--out", "runs/toy")
    assert (folder / "runs/toy/recipe.yaml").read_bytes() == before
    assert "not a run folder" in refused("run", "recipe.yaml", "--out", "text")


def test_a_dictionary_of_another_language_is_refused(folder: Path) -> None:
    (folder / "xx.txt").write_text("zzz Haus\nqqq Baum\n", encoding="utf-8")
    (folder / "de.txt").write_text("\n".join("das Haus steht am alten Fluss" for _ in range(16)), encoding="utf-8")
    message = refused(
        "run",
        "recipe.yaml",
        "targets=[{language: de, text: [de.txt], documents: line}]",
        "lexicon.files=[{path: xx.txt, target: de}]",
    )
    assert "no word of the lexicon (2 words)" in message


def test_dictionaries_are_inspected_merged_and_measured(folder: Path) -> None:
    (folder / "de.tsv").write_text("house\tHaus {n}\nto speak\tsprechen\nriver\triver\n", encoding="utf-8")
    (folder / "fr.tsv").write_text("house\tla maison\nwater\teau\n", encoding="utf-8")
    inspected = prealign("lexicon", "inspect", "de.tsv", "--target", "de")
    assert inspected.exit_code == 0, inspected.output
    for part in ("(tsv): 3 lines, 2 entries kept", "line 3 'river'", "'Haus {n}' → 'Haus'", "house → de: Haus"):
        assert part in inspected.output
    merged = prealign("lexicon", "merge", "de=de.tsv", "fr=fr.tsv", "-o", "both.jsonl")
    assert "3 groups, 1 of them with all of de, fr → both.jsonl" in merged.output
    measured = prealign("lexicon", "coverage", "both.jsonl", "--text", "text")
    assert "100.0% of the source words were found" in measured.output
    assert re.search(r"coverage de: \d+\.\d% of 1,536 en words", measured.output)
    assert "most frequent without a translation" in measured.output
    assert "`de=fr.tsv`" in refused("lexicon", "merge", "fr.tsv", "-o", "x.jsonl")
    assert "did you mean `tsv`" in refused("lexicon", "inspect", "de.tsv", "--format", "tvs")
    assert "cannot read" in refused("lexicon", "coverage", "nowhere.tsv", "--text", "text")


def test_coverage_names_text_in_another_unicode_form(folder: Path) -> None:
    Path("vi.tsv").write_text("nước\twater\nnhà\thouse\n", encoding="utf-8")
    Path("vi.txt").write_text(unicodedata.normalize("NFD", "nước nhà người\n") * 10, encoding="utf-8")
    arguments = ("vi.tsv", "--source", "vi", "--target", "en", "--text", "vi.txt")
    measured = prealign("lexicon", "coverage", *arguments)
    assert "20 words of the text are in another Unicode form than the dictionary's (NFC)" in measured.output
    assert "swap the columns" not in measured.output


def test_columns_of_a_table_are_named_on_the_command_line(folder: Path) -> None:
    Path("three.csv").write_text("ladder,x1,Leiter\nkettle,x2,Kessel\nmoss,x3,Moos\n", encoding="utf-8")
    arguments = ("lexicon", "inspect", "three.csv", "--source", "en", "--target", "de")
    assert "`--columns 1,2`" in refused(*arguments)
    assert "ladder → de: Leiter" in prealign(*arguments, "--columns", "1,3").output
    assert (
        "Leiter → en: ladder" in prealign(*arguments[:3], "--source", "de", "--target", "en", "--columns", "3,1").output
    )


def test_coverage_is_of_the_words_that_a_recipe_counts(folder: Path) -> None:
    (folder / "hi.tsv").write_text("किताब\tbook\nपानी\twater\n", encoding="utf-8")
    (folder / "hi.txt").write_text("किताब, हिन्दी पानी! किताब", encoding="utf-8")
    measured = prealign("lexicon", "coverage", "hi.tsv", "--source", "hi", "--target", "en", "--text", "hi.txt")
    assert "coverage en: 75.0% of 4 hi words" in measured.output
    (folder / "en.txt").write_text("don't book well-known books", encoding="utf-8")
    arguments = ("hi.tsv", "--turned", "--target", "hi", "--text", "en.txt")
    assert "coverage hi: 16.7% of 6 en words" in prealign("lexicon", "coverage", *arguments).output
    (folder / "bo.tsv").write_text("དེབ\tbook\nཆུ\twater\n", encoding="utf-8")
    message = refused("lexicon", "coverage", "bo.tsv", "--source", "bo", "--target", "en", "--text", "hi.txt")
    assert "`bo` is written without spaces, and nothing here finds its words" in message


def test_names_and_words_are_printed_as_they_are(folder: Path) -> None:
    """Rich would print an emoji for :100:, and nothing for [bold]."""
    good = "".join(f"w{letter}\tW{letter}\n" for letter in "abcdef")
    (folder / "s:100:[bold].tsv").write_text(f":smile:\t[red]lächeln\nlonely\n{good}", encoding="utf-8")
    told = prealign("lexicon", "inspect", "s:100:[bold].tsv", "--target", "de").output
    assert "malformed: s:100:[bold].tsv:2: expected two columns" in told and ":smile: → de: lächeln" in told
    assert "x:100:[bold].tsv: cannot read" in refused("lexicon", "inspect", "x:100:[bold].tsv", "--target", "de")
    (folder / "recipe.yaml").rename(folder / "r:100:[bold].yaml")
    told = prealign("validate", "r:100:[bold].yaml", "sustain.groups=8").output
    assert "r:100:[bold].yaml: fine" in told and "warning" in told
    with wide.capture() as shown:
        print_tables([Table(":100:", ("[b]",), (("[red]:smile:",),), note="[/b]")])
    assert all(text in shown.get() for text in (":100:", "[/b]", "[b]", "[red]:smile:"))


def test_an_arm_of_any_name_has_its_bar() -> None:
    screen = io.StringIO()
    with Watch(plain_console(file=screen, force_terminal=True, width=200)) as watch:
        watch.show(Event("a[/b]:100:", 0, Progress("align", 1, 2)))
    assert "a[/b]:100: seed 0 · align" in screen.getvalue()


def test_text_that_is_no_json_of_ours_is_one_message(folder: Path) -> None:
    (folder / "de.tsv").write_text("house\tHaus\n", encoding="utf-8")
    for line in ("[" * 200_000, '{"text": ' + "7" * 5000 + "}"):
        (folder / "deep.jsonl").write_text(f'{{"text": "a house"}}\n{line}\n', encoding="utf-8")
        message = refused("lexicon", "coverage", "de.tsv", "--target", "de", "--text", "deep.jsonl")
        assert "deep.jsonl:2: JSON with a number too long, or nested too deeply" in message


def test_a_place_that_cannot_be_written_is_refused_before_reading(folder: Path) -> None:
    (folder / "de.tsv").write_text("house\tHaus\n", encoding="utf-8")
    for out, named in (("text", "text"), (".", "."), ("recipe.yaml/x.jsonl", "recipe.yaml"), ("/proc/x.jsonl",) * 2):
        message = refused("lexicon", "merge", "de=nowhere.tsv", "-o", out)
        assert f"error: {named}: " in message and "nowhere" not in message


def test_a_recipe_alone_is_built_as_with_the_verb(folder: Path) -> None:
    built = prealign("lexicon", "build", "recipe.yaml").output
    assert "translation groups" in built and "Tokens a word" in built
    assert "unchanged, skipped: tokens, lexicon" in prealign("lexicon", "recipe.yaml").output


def test_building_shows_the_parallel_text_and_a_run_without_it_trains_nothing(folder: Path) -> None:
    bitext = ("pretrain.context=32", "bitext={limit: 40, max_tokens: 20}")
    built = prealign("lexicon", "build", "recipe.yaml", *bitext).output
    assert re.search(r"en-clone: [\d,]+ pairs of sentences, [\d,]+ and [\d,]+ tokens", built)
    assert re.search(r"left out: \d+ pairs with a sentence of more than 20 tokens, such as ", built)
    told = refused("validate", "recipe.yaml", "arms=[joint, parallel_text, veco]")
    assert "parallel_text trains on parallel text" in told and "veco trains on parallel text" in told
    assert "3 arms" in prealign("validate", "recipe.yaml", "arms=[joint, parallel_text, veco]", "bitext={}").output
    assert "parallel_text trains on parallel text" in refused("run", "recipe.yaml", "arms=[joint, parallel_text]")
    assert "parallel_text trains on parallel text" in refused("plan", "recipe.yaml", "arms=[joint, parallel_text]")
    assert not trained(folder)
    planned = prealign("plan", "recipe.yaml", "arms=[joint, parallel_text]", "bitext={}", "--out", "nowhere")
    assert "14 tokens a sentence of parallel text" in " ".join(planned.output.split())


def test_validate_and_env_say_what_they_found(folder: Path) -> None:
    assert "2 arms × 1 seed." in prealign("validate", "recipe.yaml").output
    assert "no effect" in prealign("validate", "recipe.yaml", "sustain.groups=8").output
    assert "precision" in prealign("env").output
    assert refused("validate", "nowhere.yaml")


def test_a_plan_needs_no_data_and_leaves_none(folder: Path) -> None:
    result = prealign("plan", "recipe.yaml", "--gpus", "8", "--gpu", "a100", "--utilisation", "0.5", "pretrain.steps=9")
    assert result.exit_code == 0, result.output
    for part in ("Plan: 8 × a100 at 50% utilisation", "assumed are 2 forms", "Memory of a device", "Optimiser"):
        assert part in " ".join(result.output.split())  # the note is as wide as its table
    assert not (folder / "runs").exists()
    prealign("lexicon", "recipe.yaml")
    assert "assumed" not in prealign("plan", "recipe.yaml").output
    assert "did you mean 'h100'" in refused("plan", "recipe.yaml", "--gpu", "h1000")
    assert "at least one device" in refused("plan", "recipe.yaml", "--gpus", "0")
    assert "40 % is written 0.4" in refused("plan", "recipe.yaml", "--utilisation", "40")


def parsed(*arguments: str) -> Any:
    """What a verb prints to standard output with --json: one JSON value."""
    result = prealign(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_verbs_print_json_and_nothing_else(folder: Path) -> None:
    (folder / "d.txt").write_text("house Haus\nwater Wasser\n", encoding="utf-8")
    inspected = parsed("lexicon", "inspect", "d.txt", "--target", "de")
    assert (inspected["words"], inspected["examples"]["house"]) == (2, {"de": ["Haus"]})
    assert parsed("lexicon", "coverage", "d.txt", "--text", "text", "--target", "de")["coverage"]["de"] > 0
    assert parsed("validate", "recipe.yaml", "sustain.groups=8")["warnings"][0].startswith("sustain.groups")
    assert {arm["arm"] for arm in parsed("plan", "recipe.yaml")["arms"]} == {"joint", "prealign"}
    assert parsed("lexicon", "build", "recipe.yaml")["lexicon"]["groups"] > 5
    assert "python" in parsed("env")
    assert {"name", "shows", "time", "data"} == set(parsed("recipes")[0])
    measured = parsed("evaluate", "recipe.yaml", "--arm", "joint")
    assert {"lm", "retrieval"} <= {score["task"] for score in measured["scores"]}
    assert "perplexity" in prealign("evaluate", "recipe.yaml", "--arm", "joint").stdout
    prealign("run", "recipe.yaml")
    assert parsed("report", "runs/toy")["tables"][0]["title"] == "Language modelling"
    assert refused("validate", "nowhere.yaml", "--json")


def test_version_short_help_and_completion(folder: Path) -> None:
    assert prealign("--version").stdout == f"prealign {__version__}\n"
    assert prealign("-h").stdout == prealign("--help").stdout
    assert "RECIPE" in prealign("run", "-h").stdout
    assert "--install-completion" in prealign("-h").stdout


def test_a_run_ends_with_what_was_found_and_what_to_do_next(folder: Path) -> None:
    ended = prealign("run", "recipe.yaml").stdout.splitlines()[-6:]
    assert [line.split(" ")[0] for line in ended] == ["finding", "results", "report", "model", "sample", "next"]
    assert (folder / ended[3].split()[1] / "model.safetensors").exists()
    assert "'seeds=[0, 1, 2]' trains two more, in about" in ended[5]


def test_a_table_wider_than_the_terminal_becomes_a_list() -> None:
    columns = ("Language", "Arm", *(f"Number {n}" for n in range(12)))
    cells = tuple(f"{n}.000 [1.000, 2.000]" for n in range(12))
    note = "A note of many words. " * 9
    table = Table("Wide", columns, (("A", "Joint", *cells), ("B", "Joint", *cells)), note, labels=2)
    assert table_width(table) > 80
    lines = narrow(table, 80)
    assert max(map(len, lines)) <= 80
    assert "A · Joint" in lines and "  Number 11  11.000 [1.000, 2.000]" in lines
    assert sum("[1.000, 2.000]" in line for line in lines) == 24, "nothing is cut"
    assert note.strip() in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(("width", "terminal", "listed"), [(80, True, True), (300, True, False), (80, False, False)])
def test_print_tables_fits_the_terminal(
    width: int, terminal: bool, listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table("T", ("Arm", *(f"Number {n}" for n in range(12))), (("a", *("1" * 9 for _ in range(12))),))
    out = io.StringIO()
    monkeypatch.setattr("prealign.cli.terminal.console", plain_console(width=width, force_terminal=terminal))
    monkeypatch.setattr("prealign.cli.terminal.wide", plain_console(width=400, file=out))
    print_tables([table])
    assert any(line.startswith("  Number 0") for line in out.getvalue().splitlines()) is listed


def test_a_folder_where_a_file_or_a_new_folder_has_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command, message in (
        (["switch", "recipe.yaml", "--out", "."], ".: is the working folder, or one above it"),
        (["report", "runs/toy", "--markdown", "."], ".: is a folder. Name the file to write, such as README.md."),
    ):
        result = CliRunner().invoke(app, command)
        assert (result.exit_code, message in result.output) == (2, True), result.output
