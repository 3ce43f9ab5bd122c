"""The recipe section of parallel text."""

from __future__ import annotations

from pydantic import Field, model_validator

from prealign.recipe.section import Positive, Section


class BitextFile(Section):
    """Parallel text of the source language and `target`: two files, a sentence a line, or one file that has both."""

    target: str
    """Target language of the parallel text: one of `targets`."""
    source_file: str | None = None
    """File of the source's sentences, with `target_file`."""
    target_file: str | None = None
    """Line n of `target_file` translates line n of `source_file` (Moses, OPUS)."""
    path: str | None = None
    """One file: TMX; JSONL with a text for each language tag, also inside `translation`; or two tab-separated columns, the
    source's first. Recognised from the content."""

    @model_validator(mode="after")
    def _one_file_or_two(self) -> BitextFile:
        two = (self.source_file, self.target_file)
        if self.path and any(two):
            raise ValueError("has `path` and another file: set either `path`, or `source_file` and `target_file`")
        if not self.path and not all(two):
            raise ValueError("has no text: set `path` (one file), or both `source_file` and `target_file`")
        if self.source_file and self.source_file == self.target_file:
            raise ValueError(f"{self.source_file!r} is both sides: name two files")
        return self

    @property
    def paths(self) -> list[str]:
        """The file, or the source's and the target's."""
        return [path for path in (self.path, self.source_file, self.target_file) if path]


class BitextSection(Section):
    """Parallel text, for the methods that train on it. Sentences of the tests and of held-out documents are left out.

    A clone target makes its own: sentences of the source's training text and their twin ids.
    """

    files: list[BitextFile] = Field(default=[])
    limit: Positive | None = None
    """At most this many pairs of sentences a target language, the first ones; None: all."""
    max_tokens: Positive | None = None
    """Pairs with a longer sentence are left out and counted; None: pretrain.context - 2, which leaves room for BOS, EOS."""

    def longest(self, context: int) -> int:
        """Return the tokens of the longest sentence that is kept."""
        return self.max_tokens or context - 2
