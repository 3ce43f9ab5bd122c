"""Export of an arm's code-switched, packed stage 2 corpus, for other trainers.

1. Take the blocks that the arm's stage `blocks` has written. They are copied without further switching or packing.
2. Write them as an Arrow dataset (`datasets.load_from_disk`), or as flat binary shards of whole blocks in training
   order: little-endian ids of 2 bytes (4 if the vocabulary needs it), and labels of the same shape, 4 bytes each.
3. Write the tokenizer and `index.json`, a description of the files, beside them.
4. Everything is written into a temporary folder, which is then renamed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset

from prealign import __version__
from prealign.errors import RecipeError, RunFolderError
from prealign.files import read_json, write_json
from prealign.methods.switching.switch import IGNORE
from prealign.recipe.validate import did_you_mean
from prealign.run.folder import STAGE_FILE, Tell, fingerprint, finished, run_stage, silent
from prealign.run.locks import alone_in
from prealign.run.stages import ArmRun
from prealign.seals import damage
from prealign.text.arrow import load_arrow

FORMATS = ("arrow", "binary")
INDEX = "index.json"

_COLUMNS = ("input_ids", "labels")
_BATCH = 2**20  # tokens in memory at once


def check_target(out: Path, form: str) -> None:
    """Raise RecipeError for an unknown format, RunFolderError for a folder that an export must not replace."""
    if form not in FORMATS:
        raise RecipeError(f"there is no format {form!r}{did_you_mean(form, FORMATS)}")
    if Path.cwd().is_relative_to(out.resolve()):
        raise RunFolderError(
            f"{out}: is the working folder, or one above it, and an export replaces its folder. Name a new one with --out."
        )
    if out.exists() and not (out.is_dir() and ((out / INDEX).exists() or not any(out.iterdir()))):
        raise RunFolderError(f"{out} is not empty and no corpus of prealign. Choose another folder with --out.")


def export_blocks(
    arm: ArmRun, out: Path, *, form: str, shards: int, tell: Tell = silent
) -> tuple[dict[str, Any], bool]:
    """Copy the blocks of the arm to the folder `out`. Returns its index, and whether it was written now.

    form: one of FORMATS. tell: gets a note if an older export is damaged. Raises the errors of `check_target`, and
    RecipeError for more shards than blocks.
    """
    check_target(out, form)
    folder = arm.folder("blocks")
    blocks, record = load_arrow(folder), read_json(folder / STAGE_FILE)
    if shards > len(blocks):
        raise RecipeError(f"--shards {shards}: there are only {len(blocks)} blocks, and a shard has at least one.")
    mark = fingerprint(record["fingerprint"], form, shards)

    def write(partial: Path) -> dict[str, Any]:
        arm.prepared.tokenizer.save_pretrained(partial / "tokenizer")
        content = _arrow(blocks, partial, shards) if form == "arrow" else _binary(blocks, partial, shards, arm)
        write_json(partial / INDEX, _index(arm, blocks, record) | content)
        return {}

    with alone_in(out, patient=False):
        fresh = finished(out, mark, read=None) is not None
        if out.exists() and (damaged := damage(out, read=None)):
            tell(f"damaged: {damaged}; the corpus is written again")
        if not fresh:
            run_stage(out, mark, write)
    return read_json(out / INDEX), not fresh


def _index(arm: ArmRun, blocks: Dataset, record: dict[str, Any]) -> dict[str, Any]:
    context = arm.recipe.pretrain.context
    supervised = sum(int((part["labels"] != IGNORE).sum()) for part in _batches(blocks, context))
    return {
        "prealign": __version__,
        "recipe": arm.base.name,
        "arm": arm.arm,
        "seed": arm.seed,
        "fingerprint": record["fingerprint"],
        "tokenizer": {"folder": "tokenizer", "fingerprint": arm.prepared.mark},
        "vocab_size": arm.prepared.vocab_size,
        "eos": arm.prepared.eos,
        "context": context,
        "blocks": len(blocks),
        "tokens": len(blocks) * context,
        "supervised": supervised,
        "ignore": IGNORE,
        "record": record,
    }


def _arrow(blocks: Dataset, folder: Path, shards: int) -> dict[str, Any]:
    blocks.save_to_disk(folder, num_shards=shards)
    return {"format": "arrow"}


def _binary(blocks: Dataset, folder: Path, shards: int, arm: ArmRun) -> dict[str, Any]:
    dtype = {"input_ids": "<u2" if arm.prepared.vocab_size <= 2**16 else "<u4", "labels": "<i4"}
    written = []
    for number in range(shards):
        shard = blocks.shard(shards, number, contiguous=True)
        names = {column: f"{column}-{number:05}-of-{shards:05}.bin" for column in _COLUMNS}
        for column, name in names.items():
            with (folder / name).open("wb") as file:
                for part in _batches(shard, arm.recipe.pretrain.context):
                    file.write(part[column].astype(dtype[column]).tobytes())
        written.append({**names, "blocks": len(shard)})
    return {"format": "binary", "dtype": dtype, "shards": written}


def _batches(blocks: Dataset, context: int) -> Any:
    return blocks.with_format("numpy").iter(max(1, _BATCH // context))
