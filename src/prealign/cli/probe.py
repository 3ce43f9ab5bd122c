"""The verbs of `prealign probe`: analyses of checkpoints, without a recipe. `prealign.cli.main` registers them."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from prealign.cli.app import Json
from prealign.cli.terminal import print_tables
from prealign.errors import DataError, TokenizerError
from prealign.files import check_writable
from prealign.languages import is_clone, language_name

group = typer.Typer(no_args_is_help=True, help="Analyse checkpoints: any causal LM, from a run or from elsewhere.")

Side = Annotated[
    str, typer.Option(help="Language and file, a sentence a line, as in de=flores.de.", metavar="TAG=FILE")
]


class KernelName(str, Enum):
    """Kernels of CKA."""

    linear = "linear"
    rbf = "rbf"


def similarity(
    checkpoints: Annotated[list[Path], typer.Argument(help="Folders of checkpoints, or ids of a hub.")],
    source: Side,
    target: Annotated[
        str,
        typer.Option(
            help="As --source; line n is the same sentence. A clone has no file: en-clone.", metavar="TAG=FILE"
        ),
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Read the first so many lines.")] = None,
    kernel: Annotated[KernelName, typer.Option(help="Kernel of the similarity of sentences.")] = KernelName.linear,
    folds: Annotated[int, typer.Option(min=1, help="Disjoint parts of the sentences, for the interval.")] = 5,
    permutations: Annotated[int, typer.Option(min=1, help="Permutations of the sentences, for the null.")] = 200,
    as_json: Json = False,
) -> list[dict[str, Any]]:
    """Similarity of two languages at each layer: CKA of parallel sentences, with interval and permutation null."""
    from prealign.evaluation.probes.similarity import layer_similarities
    from prealign.report.formats import interval, number
    from prealign.report.tables.table import Table

    found, rows = [], []
    for checkpoint in checkpoints:
        states, sentences = _states(str(checkpoint), source, target, limit)
        measured = layer_similarities(*states, kernel=kernel.value, folds=folds, permutations=permutations)
        layers = [asdict(layer) for layer in measured]
        found.append({"checkpoint": str(checkpoint), "sentences": sentences, "kernel": kernel.value, "layers": layers})
        rows += [
            (
                str(checkpoint),
                str(layer.layer),
                number(layer.value) + interval(layer.low, layer.high),
                f"{layer.null_high:.3f}",
                f"{layer.p:.3f}",
            )
            for layer in measured
        ]
    note = (
        f"Debiased CKA ({kernel.value}) of {found[0]['sentences']:,} parallel sentences, mean over {folds} disjoint folds "
        f"with its 95 % interval. Null: {permutations:,} permutations of the sentences. Layer 0 is the embedding."
    )
    columns = ("Checkpoint", "Layer", "CKA", "Null, 95th percentile", "p")
    print_tables([Table("Similarity of the languages' states", columns, tuple(rows), note, labels=2)])
    return found


def _states(checkpoint: str, source: str, target: str, limit: int | None) -> tuple[tuple[Any, Any], int]:
    """Return the states of the sentences in both languages, and the number of sentences."""
    from prealign.evaluation.retrieval.sentence_files import read_sentences
    from prealign.evaluation.retrieval.sentences import SentenceRetrieval, sentence_states
    from prealign.recipe.measures import SentenceSet
    from prealign.recipe.sections import ModelSection, TokenizerSection
    from prealign.text.clone import clone_language
    from prealign.text.tokenizers import get_tokenizer
    from prealign.text.words import rows
    from prealign.training.models import load_weights
    from prealign.training.precision import device

    (language, path), (translated, other) = (_named(option) for option in (source, target))
    files = {language: path} if is_clone(translated) else {language: path, translated: other}
    read = read_sentences(SentenceSet(name="probe", files=files, limit=limit), language)
    pairs = read.get(translated, read[language])
    tokenizer = get_tokenizer(TokenizerSection(path=checkpoint), iter(()), trust_remote_code=False)
    model = load_weights(ModelSection(preset=None, pretrained=checkpoint), checkpoint).to(device())
    needed = clone_language(tokenizer).vocab_size if is_clone(translated) else rows(tokenizer)
    if (known := len(model.get_input_embeddings().weight)) < needed:
        raise TokenizerError(
            f"{checkpoint}: its tokenizer takes {needed:,} embedding rows, and the model has {known:,}: the tokenizer "
            "belongs to another model, or the model was not trained on this clone."
        )
    longest = (getattr(model.config, "max_position_embeddings", None) or 2**20) - 1
    made = SentenceRetrieval.from_texts(
        tokenizer, pairs.sources, pairs.targets, language=translated, max_tokens=longest
    )
    sides = [
        sentence_states(model, ids, separator=made.separator, batch_size=made.batch_size).numpy()
        for ids in (made.sources, made.targets)
    ]
    return (sides[0], sides[1]), len(made.sources)


def _named(option: str) -> tuple[str, str]:
    """Return language and path of `TAG=FILE`; a clone has no path. DataError for another form."""
    language, equals, path = option.partition("=")
    if not language or bool(equals and path) == is_clone(language):
        raise DataError(
            f"{option!r} is not of the form TAG=FILE, such as de=flores.de; a clone is its tag alone: en-clone."
        )
    return language, path


SHEET = ("right (y or n)", "language", "document", "line")
"""Columns of the sheet of found lines."""


def contamination(
    text: Annotated[list[str], typer.Argument(help="Files, folders, package:NAME or hub:OWNER/NAME, as in a recipe.")],
    target: Annotated[
        list[str], typer.Option(help="Language to look for; give the option once for each.", metavar="TAG")
    ],
    certainty: Annotated[float, typer.Option(min=0, max=1, help="Least probability of an identified line.")] = 0.9,
    minimum: Annotated[int, typer.Option(min=1, help="Letters of a line; shorter ones are not identified.")] = 20,
    samples: Annotated[int, typer.Option(min=1, help="Found lines on the sheet, of each language.")] = 50,
    sheet: Annotated[Path | None, typer.Option(help="Write found lines here, to be judged.")] = None,
    judged: Annotated[
        Path | None, typer.Option(help="A judged sheet of the same text: correct the rates by it.")
    ] = None,
    as_json: Json = False,
) -> list[dict[str, Any]]:
    """Other languages in a text: share of its lines with interval, words per million, and a sheet of lines to judge."""
    from prealign.evaluation.probes import contamination as probe
    from prealign.report.formats import NONE, percent
    from prealign.report.tables.table import Table
    from prealign.text.corpus import read_documents

    if clones := [tag for tag in target if is_clone(tag)]:
        raise DataError(
            f"{clones[0]}: no text holds a clone, whose tokens occur in its own text alone: 0 by construction."
        )
    if sheet:
        check_writable(sheet)
    verdicts = _verdicts(judged) if judged else {}
    settings: dict[str, Any] = {"certainty": certainty, "minimum": minimum, "samples": samples}
    found = probe.contamination(read_documents(text), target, probe.langid(), **settings)
    if sheet:
        lines = ["\t".join(SHEET), *(f"\t{one.language}\t{name}\t{line}" for one in found for name, line in one.sample)]
        sheet.write_text("\n".join(line.replace("\r", " ") for line in lines) + "\n", encoding="utf-8")
    told, rows = [], []
    for one in found:
        own = asdict(one)
        del own["sample"]
        cell = NONE
        if one.language in verdicts:
            right = verdicts[one.language]
            value = probe.corrected(one, sum(right), len(right))
            own["corrected"] = value._asdict() | {"right": sum(right), "judged": len(right)}
            cell = f"{percent(value.value)} [{percent(value.low)}, {percent(value.high)}]"
        told.append(own)
        share = f"{percent(one.rate)} [{percent(one.low)}, {percent(one.high)}]"
        rows.append((language_name(one.language), f"{one.found_lines:,}", share, f"{one.words_per_million:,.0f}", cell))
    first = found[0]
    note = (
        f"Of {first.lines:,} lines with at least {minimum} letters ({first.short:,} are shorter), identified by py3langid "
        f"with a probability of at least {certainty:g}. 95 % intervals. Judged lines correct for wrong ones, not for missed "
        "ones."
    )
    columns = ("Language", "Lines found", "Of lines", "Words per million", "Corrected")
    print_tables([Table("Other languages in the text", columns, tuple(rows), note)])
    return told


def _verdicts(sheet: Path) -> dict[str, list[bool]]:
    """Return whether each judged line of a sheet was right, by language. DataError for a file that is no sheet."""
    try:
        lines = sheet.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{sheet}: cannot be read: {error}") from None
    verdicts: dict[str, list[bool]] = {}
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if len(cells) < len(SHEET) or (number == 1) != (tuple(cells) == SHEET):
            raise DataError(f"{sheet}:{number}: not a line of a sheet that --sheet wrote: {line[:60]!r}")
        verdict = cells[0].strip().lower()
        if number > 1 and verdict not in ("y", "n", ""):
            raise DataError(
                f"{sheet}:{number}: {cells[0]!r} is neither y nor n; leave lines that you do not judge empty."
            )
        if verdict in ("y", "n"):
            verdicts.setdefault(cells[1], []).append(verdict == "y")
    return verdicts
