"""What the benchmarks work on: the demo's recipe, text, words and training blocks, prepared in a temporary folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from prealign.methods.switching.switch import CodeSwitcher
from prealign.recipe.file import load_recipe
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import RunFolder
from prealign.run.preparation.prepare import prepare
from prealign.text.blocks import write_blocks
from prealign.training.models import build_model

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "recipes" / "demo.yaml"
SEED = 0


@dataclass(frozen=True)
class Material:
    """The demo's recipe with settings changed, prepared under `folder`."""

    folder: Path
    overrides: tuple[str, ...] = ()

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe."""
        return load_recipe(DEMO, self.overrides)

    @cached_property
    def prepared(self) -> Prepared:
        """Tokenizer, tokenised text, lexicon."""
        return prepare(self.recipe, RunFolder(self.folder), lambda _: None)[0]

    @cached_property
    def documents(self) -> list[np.ndarray]:
        """The source's training documents as token ids, int32 as they lie on disk."""
        tokens = self.prepared.tokens(self.recipe.source.language, "train").with_format("numpy")
        return [row["input_ids"].astype(np.int32) for row in tokens]

    @cached_property
    def switcher(self) -> CodeSwitcher:
        """The switcher of stage 2."""
        own = self.recipe.switch
        lexicon, _ = self.prepared.training_lexicon(self.recipe, SEED)
        return CodeSwitcher(self.prepared.tokenizer, lexicon, ratio=own.ratio, mode=own.mode, seed=SEED)

    def blocks(self, name: str, steps: int, *, switched: bool) -> Dataset:
        """Write the training blocks of this many steps of stage 2."""
        mixture = self.prepared.mixture(self.recipe, None)
        if switched:
            mixture = replace(mixture, switcher=self.switcher)
        size, context = steps * self.recipe.pretrain.batch_size, self.recipe.pretrain.context
        return write_blocks(mixture, self.folder / name, blocks=size, context=context, seed=SEED)[0]

    def model(self, preset: str | None = None, rows: int | None = None) -> Any:
        """Return a fresh model: the recipe's, or another preset, or with more rows of embeddings."""
        section = self.recipe.model.model_copy(update={"preset": preset} if preset else {})
        return build_model(
            section,
            vocab_size=rows or self.prepared.vocab_size,
            context=self.recipe.pretrain.context,
            seed=SEED,
            eos_token_id=self.prepared.eos,
        )
