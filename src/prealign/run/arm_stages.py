"""The stages of one arm with one seed: their folders, their fingerprints, and which stage reads which.

1. The fingerprint of a stage holds its settings, its input files, and the fingerprints of the stages it reads.
2. Blocks come before the phases, but after those whose early end decides how many blocks there are.
3. Measures read the models of all phases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prealign import __version__
from prealign.methods.phase import MAIN, Phase
from prealign.recipe.trainer import deciding
from prealign.run.divergence import INITIAL
from prealign.run.folder import RunFolder, fingerprint
from prealign.run.inputs import ArmInputs
from prealign.training.precision import precision


@dataclass(frozen=True)
class ArmStages(ArmInputs):
    """The stages of one arm of the recipe `base` with one seed in the folder of a run."""

    run: RunFolder

    def folder(self, stage: str) -> Path:
        """Return the folder of a stage of this arm."""
        return self.run.stage(self.arm, self.seed, stage)

    @property
    def trained_stages(self) -> tuple[str, ...]:
        """The names of the training stages; under a launcher all processes run them together."""
        return tuple(phase.name for phase in self.phases)

    @property
    def shared_stages(self) -> tuple[str, ...]:
        """The stages whose result arms with equal inputs share: the phases before the main phase."""
        names = self.trained_stages
        return names[: names.index(MAIN)]

    @property
    def final_folder(self) -> Path:
        """The folder of the final model."""
        return self.folder(self.phases[-1].name)

    def marks(self) -> dict[str, str]:
        """Return the fingerprint of each stage, from its settings and the stages it reads."""
        recipe, bos = self.recipe, self.recipe.align.bos
        lexicon, context = recipe.lexicon.changes(), recipe.pretrain.context
        data: list[Any] = [__version__, self.prepared.mark, self.seed, lexicon, recipe.mixture.changes(), context]
        data += [self.devices] if self.devices > 1 else []  # runs on one device keep their fingerprints
        data += [self.shares] if recipe.mixture.passes else []  # they follow from the steps of the main phase
        weights = [Path(p) for p in (recipe.model.pretrained, recipe.model.config) if p]
        model: list[Any] = [
            recipe.model.changes(),
            deciding(recipe.trainer),
            precision(recipe.trainer),
            self.run.contents(weights),
        ]
        measured: list[Any] = [recipe.pretrain.validations, recipe.pretrain.validation_blocks]
        measured += [recipe.evaluate.dynamics, recipe.evaluate.dynamics_words, bos] if recipe.evaluate.dynamics else []
        main = self.main_phase
        rewriting = main.rewriting.describe() if main.rewriting else None
        bitext = [asdict(main.bitext)] if main.bitext else []
        marks: dict[str, str] = {}
        before: list[str] = []
        for place, phase in enumerate(self.phases):
            # Blocks are made first, but after the phases whose early end decides how many they are.
            if "blocks" not in marks and not any(later.ends_early for later in self.phases[place:]):
                marks["blocks"] = fingerprint(data, rewriting, main.batch_size, main.steps, *bitext, *before)
            read = [marks["blocks"]] if phase is main else []
            marks[phase.name] = fingerprint(data, model, measured, phase.describe(), read, before)
            before = [marks[phase.name]]
        return marks | self._marks_of_measures(marks[self.phases[-1].name])

    def _marks_of_measures(self, trained: str) -> dict[str, str]:
        recipe, identity = self.recipe, self.prepared.identity["tok"]  # part of the signatures of scores
        measured = recipe.evaluate.changes(without=("dynamics", "dynamics_words"))
        sentences = [Path(path) for section in recipe.evaluate.sentences for path in section.files.values()]
        contents = self.run.contents(sentences)
        before = [INITIAL] if recipe.model.pretrained else []  # the perplexity of that model is measured too
        marks = {"evaluate": fingerprint(trained, identity, measured, recipe.align.bos, *contents, *before)}
        if recipe.knowledge:
            marks["knowledge"] = fingerprint(trained, identity, recipe.knowledge.changes())
        if recipe.transfer:
            tasks = [task.changes() for task in recipe.transfer]
            files = [Path(path) for task in recipe.transfer for path in (task.train, *task.tests.values()) if path]
            marks["transfer"] = fingerprint(trained, identity, tasks, self.run.contents(files))
        return marks

    @property
    def main_phase(self) -> Phase:
        """The main phase: the budget decides its steps, and its blocks are a separate stage."""
        return next(phase for phase in self.phases if phase.name == MAIN)

    def reads(self, stages: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the stages of this arm that each of `stages` reads."""
        trained = self.trained_stages
        found: dict[str, tuple[str, ...]] = dict.fromkeys(stages, trained) | {"blocks": ()}
        for place, stage in enumerate(trained):
            found[stage] = (*trained[max(0, place - 1) : place], *(["blocks"] if stage == MAIN else []))
        return found
