"""The training blocks of a phase: its rewritten mixture, and parallel text where the phase reads some.

1. Write the blocks of the mixture, with the phase's rewriters.
2. If the phase has a share of parallel text (`BitextShare`), join each pair of sentences into a document. Write blocks of
   these documents, as a mixture of their target languages.
3. Put the blocks in the order in which training reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, concatenate_datasets

from prealign.languages import is_clone
from prealign.methods.phase import BitextShare, Phase
from prealign.methods.switching.switch import Known
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import SCRATCH
from prealign.run.mixture import rewritten_mixture
from prealign.text.arrow import arrow_from_tables, parts
from prealign.text.bitext import write_documents
from prealign.text.blocks import BLOCKS, Mixture, MixtureCounts, write_blocks
from prealign.text.clone import clone_language
from prealign.workers import Spread


@dataclass(frozen=True)
class MadeBlocks:
    """What went into the blocks of a phase. known: by language, what a rewriter that replaces words knows of its text.

    bitext: blocks and documents of parallel text, as JSON; None if the phase reads none.
    """

    mixture: Mixture
    counts: MixtureCounts
    known: dict[str, Known]
    bitext: dict[str, Any] | None = None


def make_blocks(
    prepared: Prepared,
    recipe: Recipe,
    phase: Phase,
    folder: Path,
    *,
    shares: Mapping[str, float] | None,
    seed: int,
    devices: int,
    spread: Spread,
) -> MadeBlocks:
    """Write the blocks of a phase, whose steps are known, to the folder of a stage. shares: of tokens, by language."""
    assert phase.steps is not None
    per_step = phase.batch_size * devices
    blocks = phase.text_steps * per_step
    settings: dict[str, Any] = {"context": phase.context, "seed": seed, "spread": spread}
    mixture, known = rewritten_mixture(prepared.mixture(recipe, shares), phase.rewriting, spread)
    if phase.bitext is None:
        _, counts = write_blocks(mixture, folder, blocks=blocks, **settings)
        return MadeBlocks(mixture, counts, known)
    positions, scratch = phase.bitext.positions(phase.steps, per_step), folder / SCRATCH
    documents = _bitext_mixture(prepared, scratch)
    parallel, read = write_blocks(documents, scratch / "bitext", blocks=len(positions), **settings)
    counts, sources = MixtureCounts(), [parallel]
    if rest := blocks - len(positions):
        text, counts = write_blocks(mixture, scratch / "mixture", blocks=rest, **settings)
        sources.append(text)
    _write_in_order(sources, positions, folder)
    return MadeBlocks(mixture, counts, known, _bitext_record(phase.bitext, read))


def _bitext_mixture(prepared: Prepared, scratch: Path) -> Mixture:
    """Return the pairs of all target languages as documents, each as often as the others."""
    newline = np.array(prepared.tokenizer.encode("\n", add_special_tokens=False), dtype=np.int64)
    tokens = {}
    for language, pairs in prepared.bitext.items():
        own = clone_language(prepared.tokenizer).map(newline) if is_clone(language) else newline
        tokens[language] = write_documents(pairs, (newline, own), scratch / "documents" / language)
    return Mixture(tokens=tokens, source=prepared.languages[0], eos=prepared.eos, bos=prepared.bos)


def _write_in_order(sources: list[Dataset], positions: np.ndarray, folder: Path) -> None:
    """Write blocks of one dataset, or of two: those of the first at `positions`, those of the second between."""
    joined = concatenate_datasets(sources)
    order = np.empty(len(joined), dtype=np.int64)
    between = np.ones(len(joined), dtype=bool)
    between[positions] = False
    order[positions] = np.arange(len(positions))
    order[between] = np.arange(len(positions), len(joined))

    def tables() -> Iterator[pa.Table]:
        blocks = joined.with_format("arrow")
        for rows in parts(joined):
            yield blocks[order[rows.start : rows.stop]].cast(BLOCKS.arrow_schema)

    arrow_from_tables(tables, BLOCKS, folder)


def _bitext_record(share: BitextShare, read: MixtureCounts) -> dict[str, Any]:
    languages = {
        language: {"documents": own.documents, "tokens": own.tokens, "passes": own.passes}
        for language, own in read.languages.items()
    }
    return {**asdict(share), "blocks": read.blocks, "languages": languages}
