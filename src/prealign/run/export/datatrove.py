"""Preparation of text on many machines: steps of datatrove pipelines (`pip install 'prealign[cluster]'`).

A pipeline runs as a number of tasks on any machines. datatrove marks complete tasks, and runs the others when it is
started again. Task r writes shard r into a temporary folder and renames it. All shards in order equal the output of one
machine:

1. `ReadText` (or any reader of datatrove) reads the files of a task. `Tokenise` writes them as token ids.
2. `CountWords` counts the words of a shard. `joined_counts` adds up the counts of all shards, for a lexicon.
3. `SwitchAndPack` switches the documents of a shard and packs them into blocks. A document's number is its row among
   all shards, so all shards of step 1 must be complete.

Each step calls the functions that also run on one machine. This module only handles files and tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import concatenate_datasets
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from transformers import AutoTokenizer

from prealign.durable import remove
from prealign.errors import CorpusError, RunFolderError
from prealign.files import read_json, write_json
from prealign.lexicon import Lexicon
from prealign.methods.switching.switch import CodeSwitcher
from prealign.run.folder import STAGE_FILE, recorded, run_stage
from prealign.seals import damage
from prealign.text.arrow import TEXT, arrow_from_tables, load_arrow, text_tables
from prealign.text.blocks import BLOCKS, Mixture, MixtureCounts, block_table, cut_blocks
from prealign.text.corpus import count_words, frequent_first, read_documents, tokenise
from prealign.text.hub import PREFIX
from prealign.text.sources import source_files
from prealign.text.tokenizers import document_start


def shard(folder: str | Path, number: int) -> Path:
    """Return the folder of a task's shard. `prealign.text.arrow.load_arrow` reads it."""
    return Path(folder) / f"{number:05}"


def joined_counts(tokens: str | Path) -> dict[str, int]:
    """Return the word counts of all shards with `words.json` (see `CountWords`), in the form of `count_words`."""
    totals: Counter[str] = Counter()
    for path in sorted(Path(tokens).glob("*/words.json")):
        totals.update(read_json(path))
    return frequent_first(totals)


class ReadText(PipelineStep):
    """Read a task's share of the files. sources, documents: as `text` and `documents` in a recipe. Shares are contiguous."""

    type, name = "READER", "prealign: text"

    def __init__(self, sources: list[str], documents: str = "file") -> None:
        super().__init__()
        self.sources, self.documents = sources, documents

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yield the documents of the task."""
        yield from data or ()
        if any(source.startswith(PREFIX) for source in self.sources):
            raise CorpusError(
                "a source hub:… cannot be split into tasks: use datatrove's HuggingFaceDatasetReader instead of ReadText."
            )
        files = source_files(self.sources, logger.info)
        first, last = (len(files) * task // world_size for task in (rank, rank + 1))
        for document, text in read_documents(map(str, files[first:last]), self.documents, logger.info):
            self.stat_update("documents")
            yield Document(text=text, id=document)


class Tokenise(PipelineStep):
    """Write documents as a shard of token ids. tokenizer: folder or hub id. tokens: folder of the shards."""

    type, name = "TOKENIZER", "prealign: tokens"

    def __init__(self, tokenizer: str, tokens: str) -> None:
        super().__init__()
        self.tokenizer, self.tokens = tokenizer, tokens

    def run(self, data: Iterable[Document], rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Write the shard of the task. Yields no documents."""

        def write(partial: Path) -> dict[str, Any]:
            rows = ((document.id, document.text) for document in data)
            text = arrow_from_tables(lambda: text_tables(rows), TEXT, partial / "text")
            rows_written = tokenise(text, AutoTokenizer.from_pretrained(self.tokenizer), partial)
            remove(partial / "text")
            return {"documents": len(rows_written), "tasks": world_size}

        record = run_stage(shard(self.tokens, rank), "", write, anew=True)
        self.stat_update("documents", value=record["documents"])
        yield from ()


class CountWords(PipelineStep):
    """Count the words of a shard of `Tokenise`, and write them into its folder as `words.json`."""

    type, name = "STATS", "prealign: words"

    def __init__(self, tokenizer: str, tokens: str) -> None:
        super().__init__()
        self.tokenizer, self.tokens = tokenizer, tokens

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Pass the documents on, then count the words of the shard."""
        yield from data or ()
        folder = shard(self.tokens, rank)
        counts = count_words(load_arrow(folder), AutoTokenizer.from_pretrained(self.tokenizer))
        write_json(folder / "words.json", counts)


class SwitchAndPack(PipelineStep):
    """Switch the documents of a shard and write them as blocks of `context` tokens, in the order of the text.

    lexicon: path of a lexicon.jsonl; None does not switch. switcher: settings of `CodeSwitcher`. epoch: number of the
    pass over the text; each pass switches other words. The remainder of each shard, less than a block, is left out and
    counted in its record.
    """

    type, name = "WRITER", "prealign: blocks"

    def __init__(
        self,
        tokenizer: str,
        tokens: str,
        blocks: str,
        *,
        context: int,
        lexicon: str | None = None,
        epoch: int = 0,
        **switcher: Any,
    ) -> None:
        super().__init__()
        self.tokenizer, self.tokens, self.blocks = tokenizer, tokens, blocks
        self.context, self.lexicon, self.epoch, self.switcher = context, lexicon, epoch, switcher

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Pass the documents on, then write the blocks of the shard."""
        yield from data or ()
        record = run_stage(
            shard(self.blocks, rank), "", lambda partial: self._write(partial, rank, world_size), anew=True
        )
        self.stat_update("blocks", value=record["blocks"])
        self.stat_update("words", value=record["source_words"])
        self.stat_update("switched words", value=record["switched_words"])

    def _write(self, folder: Path, rank: int, world_size: int) -> dict[str, Any]:
        self._check_tokens(rank, world_size)
        shards = [load_arrow(shard(self.tokens, task)) for task in range(world_size)]
        tokenizer = AutoTokenizer.from_pretrained(self.tokenizer)
        lexicon = Lexicon.load(self.lexicon) if self.lexicon else None
        switcher = CodeSwitcher(tokenizer, lexicon, source=lexicon.source, **self.switcher) if lexicon else None
        language = lexicon.source if lexicon else "text"
        rewriters = {language: switcher} if switcher else {}
        bos = document_start(tokenizer, None)
        mixture = Mixture(
            {language: concatenate_datasets(shards)}, language, tokenizer.eos_token_id, rewriters, bos=bos
        )
        first = sum(map(len, shards[:rank]))
        counts, left = MixtureCounts(), 0

        def tables() -> Iterator[pa.Table]:
            nonlocal left
            documents = np.arange(first, first + len(shards[rank]))
            for stretch in cut_blocks([mixture.documents(self.epoch, documents, counts)], self.context):
                if stretch[0].shape[1] < self.context:  # the remainder at the end
                    left = stretch[0].size
                else:
                    counts.blocks += len(stretch[0])
                    yield block_table(stretch)

        arrow_from_tables(tables, BLOCKS, folder)
        return {**counts.record(language), "left_out_tokens": left}

    def _check_tokens(self, rank: int, world_size: int) -> None:
        """Raise RunFolderError if shards of tokens are missing, damaged, or from another number of tasks.

        Each task compares the contents of its own shard with the seal, and only the sizes of the others.
        """
        for task in range(world_size):
            folder = shard(self.tokens, task)
            record = folder / STAGE_FILE
            if not record.exists() or recorded(folder).get("tasks", world_size) != world_size:
                raise RunFolderError(
                    f"{self.tokens}: the shards are not those of {world_size} tasks that are all complete (see {record}). "
                    "Run Tokenise to its end first, with the same number of tasks, into a separate folder."
                )
            if damaged := damage(folder, read=None if task == rank else {STAGE_FILE}):
                raise RunFolderError(f"damaged: {damaged}. Remove {folder}, and run Tokenise for task {task} again.")
