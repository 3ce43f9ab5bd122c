"""One arm with one seed, from blocks to scores. Stages meet only through files (`prealign.run.folder`).

1. `blocks`: the switched, packed training blocks of stage 2, as many as the arm's budget needs.
2. `align`: stage 1, unless the arm has none. Two arms with equal inputs share one result.
3. `pretrain`: stage 2 from the aligned (or the initial) model, for the steps that match the budgets of all arms.
4. `evaluate`: perplexity on test documents; word retrieval per layer before and after each stage.
5. `knowledge`, if the recipe has made-up facts: questions about them.
6. `transfer`, if the recipe has such tasks: fine-tuned on source-language labels, tested in every language.

Stages that train run on all processes of a launch, the others on the first (`prealign.training.ranks`). One that was
killed while it trained goes on from its newest checkpoint (`prealign.training.checkpoints`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prealign import __version__
from prealign.errors import RunFolderError
from prealign.evaluation.retrieval.dynamics import Dynamics
from prealign.evaluation.score import Score, Stage
from prealign.events import OnProgress, Progress
from prealign.files import write_json
from prealign.methods.vocabulary.anchored import export_plain
from prealign.recipe.trainer import deciding
from prealign.run.folder import (
    SCRATCH,
    RunFolder,
    alone_in,
    begin_stage,
    end_stage,
    fingerprint,
    finished,
    partial_folder,
    run_stage,
    share_stage,
)
from prealign.run.inputs import ArmInputs
from prealign.run.measures.knowledge import evaluate_knowledge
from prealign.run.measures.modelling import evaluate_lm
from prealign.run.measures.parallel import ParallelTests
from prealign.run.measures.retrieval import evaluate_retrieval
from prealign.run.measures.transfer import check_task, evaluate_transfer
from prealign.run.mixture import mixture_record, switched_mixture
from prealign.text.arrow import load_arrow
from prealign.text.blocks import write_blocks
from prealign.training import launch, ranks
from prealign.training.align import align
from prealign.training.checkpoints import any_left
from prealign.training.models import save_weights
from prealign.training.precision import device, precision
from prealign.training.pretrain import pretrain
from prealign.workers import Pool

TRAINED = ("align", "pretrain")
"""The stages that all processes of a launch do together."""


@dataclass(frozen=True)
class ArmRun(ArmInputs):
    """An arm of `base` with one seed, on the run's shared data."""

    run: RunFolder
    on_progress: OnProgress

    def folder(self, stage: str) -> Path:
        """Return the folder of one of this arm's stages."""
        return self.run.stage(self.arm, self.seed, stage)

    def marks(self) -> dict[str, str]:
        """Return the fingerprint of each stage: its settings and the stages it reads."""
        own, bos = self.recipe, self.recipe.align.bos
        lexicon = own.lexicon.changes()
        data = [__version__, self.prepared.mark, self.seed, lexicon, own.mixture.changes(), own.pretrain.context]
        data += [self.devices] if self.devices > 1 else []  # so runs on one device keep their fingerprints
        weights = [Path(p) for p in (own.model.pretrained, own.model.config) if p]
        anchored = own.anchor.changes() if own.anchor.enabled else None
        model: list[Any] = [own.model.changes(), anchored, deciding(own.trainer), own.pretrain.validations]
        model += [precision(own.trainer), self.run.contents(weights)]
        dynamics = [own.evaluate.dynamics, own.evaluate.dynamics_words, bos] if own.evaluate.dynamics else []
        marks = {"blocks": fingerprint(data, own.switch.changes(), own.pretrain.batch_size, self.steps)}
        if own.align.steps:
            marks["align"] = fingerprint(data, model, own.align.changes(), own.pretrain.validation_blocks, *dynamics)
        sustained = [own.sustain.changes(), own.align.changes()] if own.sustain.weight else []
        marks["pretrain"] = fingerprint(marks, model, own.pretrain.changes(), sustained, *dynamics)
        # Scores carry what they were measured on.
        identity = self.prepared.identity["tok"]
        measured = own.evaluate.changes(without=("dynamics", "dynamics_words"))
        sentences = [Path(path) for section in own.evaluate.sentences for path in section.files.values()]
        marks["evaluate"] = fingerprint(marks["pretrain"], identity, measured, bos, *self.run.contents(sentences))
        if own.knowledge:
            marks["knowledge"] = fingerprint(marks["pretrain"], identity, own.knowledge.changes())
        if own.transfer:
            tasks = [task.changes() for task in own.transfer]
            files = [Path(path) for task in own.transfer for path in (task.train, *task.tests.values()) if path]
            marks["transfer"] = fingerprint(marks["pretrain"], identity, tasks, self.run.contents(files))
        return marks

    def execute(
        self, *, last: str | None = None, only: Collection[str] | None = None, force: bool = False
    ) -> dict[str, bool]:
        """Run every stage that is not fresh, up to `last` (None: all). Returns the stages, and whether each was run now.

        only: leave out the others; force: run them though they are fresh.
        """
        marks = ranks.by_first(self.marks)
        stages = list(marks)[: list(marks).index(last) + 1 if last else None]
        stages = [stage for stage in stages if only is None or stage in only]
        if last is None and "blocks" in stages:
            ranks.by_first(lambda: self._check_labels(marks, force))
        with ExitStack() as held:

            def enter() -> None:
                held.enter_context(alone_in(self.folder("blocks").parent, patient=False))

            ranks.by_first(enter)  # so that all processes hear of it if another command has the folder
            return {stage: self._execute(stage, marks[stage], force) for stage in stages}

    def _check_data(self) -> None:
        """RunFolderError if another command has replaced the data: what reads them now is not of this recipe."""
        if not self.prepared.is_current():
            raise RunFolderError(
                f"{self.run.data}: another command has replaced the data of this run, with those of other settings. "
                "Wait for it to end and run again, or choose another run folder with --out."
            )

    def _check_labels(self, marks: dict[str, str], force: bool) -> None:
        """Read the labelled rows of tasks to come: a damaged one must show before hours of training, and once a run."""
        if "transfer" in marks and self._is_due(self.folder("transfer"), marks["transfer"], force):
            for task in self.recipe.transfer:
                check_task(task, self.prepared, self.recipe, self.seed)

    def _execute(self, stage: str, mark: str, force: bool) -> bool:
        """Run a stage that is not fresh, or share that of another arm; return whether it was not fresh."""
        work: dict[str, Callable[[Path], dict[str, Any]]] = {
            "blocks": self._blocks,
            "align": self._align,
            "pretrain": self._pretrain,
            "evaluate": self._evaluate,
            "knowledge": self._knowledge,
            "transfer": self._transfer,
        }
        folder = self.folder(stage)

        def checked(partial: Path) -> dict[str, Any]:
            record = work[stage](partial)
            self._check_data()
            return record

        def end() -> None:
            self._check_data()
            end_stage(folder, mark, record)

        def begin() -> str | None:
            """Return the folder to work in, "" if nothing is left to do there, None if the stage is fresh."""
            if not self._is_due(folder, mark, force):
                return None
            self._check_data()
            if not force and stage == "align" and self._share_alignment(mark):
                return ""
            if stage not in TRAINED:
                run_stage(folder, mark, checked, anew=force)
                return ""
            partial = self._begin(stage, mark, force)
            if finished(partial, mark):
                end_stage(folder, mark, {})
                return ""
            return str(partial)

        partial = ranks.by_first(begin)
        if partial:
            record = work[stage](Path(partial))
            ranks.by_first(end)
        return partial is not None

    def _begin(self, stage: str, mark: str, force: bool) -> Path:
        """Begin a stage that trains; tell if that removes checkpoints."""
        partial = partial_folder(self.folder(stage))
        left = any_left(partial / SCRATCH)
        begin_stage(self.folder(stage), mark, anew=force)
        if left and not any_left(partial / SCRATCH) and not finished(partial, mark):
            note = "checkpoints of other settings (or, with --force, of the same) are removed: starts anew"
            self.on_progress(Progress(stage, 0, 1, note=note))
        return partial

    @staticmethod
    def _is_due(folder: Path, mark: str, force: bool) -> bool:
        return force or finished(folder, mark) is None

    def _share_alignment(self, mark: str) -> bool:
        for other in self.run.stages("align"):
            if finished(other, mark):
                try:
                    share_stage(self.folder("align"), other)
                except OSError:  # another process is just replacing it
                    continue
                return True
        return False

    def _blocks(self, folder: Path) -> dict[str, Any]:
        own = self.recipe
        blocks = self.steps * own.pretrain.batch_size * self.devices
        size: dict[str, int] = {"blocks": blocks, "context": own.pretrain.context, "seed": self.seed}
        with Pool(own.processes) as pool:
            mixture, known, forms = switched_mixture(self.prepared, own, self.lexicons[0], self.seed, pool.map)
            _, counts = write_blocks(mixture, folder, **size, spread=pool.map)
        sizes = {language: self.prepared.training_size(language) for language in mixture.tokens}
        coverage = known[mixture.source].coverage if mixture.switcher else None
        rates = mixture_record(mixture, counts, known, sizes)
        settings = {"ratio": own.switch.ratio, "mode": own.switch.mode, "coverage": coverage}
        return {**counts.record(mixture.source), **settings, **forms, **rates}

    def _align(self, folder: Path) -> dict[str, Any]:
        own, scratch = self.recipe, folder / SCRATCH

        def write(blocks: Path) -> dict[str, Any]:
            number = own.align.steps * own.align.lm_batch_size * self.devices
            mixture = self.prepared.mixture(own)
            size: dict[str, int] = {"blocks": number, "context": own.pretrain.context, "seed": self.seed}
            with Pool(own.processes) as pool:
                _, counts = write_blocks(mixture, blocks, **size, spread=pool.map)
            return counts.record(mixture.source)

        # In scratch, which is of one fingerprint: an attempt that goes on finds them.
        ranks.by_first(lambda: finished(scratch / "blocks", "") or run_stage(scratch / "blocks", "", write))
        model, blocks, dynamics = self.start(), load_arrow(scratch / "blocks"), self.dynamics()
        text = (self.prepared.tokenizer, self.words, blocks, self.validation())
        record = align(model, *text, own, self.seed, scratch, self.on_progress, dynamics)
        return self._trained(model, folder, record, dynamics)

    def _pretrain(self, folder: Path) -> dict[str, Any]:
        aligned = bool(self.recipe.align.steps)
        model = self.anchored(self.load(self.folder("align")), fresh=False) if aligned else self.start()
        blocks, dynamics, scratch = load_arrow(self.folder("blocks")), self.dynamics(), folder / SCRATCH
        text = (self.prepared.tokenizer, self.words, blocks, self.validation())
        record = pretrain(model, *text, self.recipe, self.steps, self.seed, scratch, self.on_progress, dynamics)
        record |= {"new_rows": self.new_rows.as_dict()} if self.new_rows else {}
        return self._trained(model, folder, record, dynamics)

    def _knowledge(self, folder: Path) -> dict[str, Any]:
        """Ask the final model about the made-up facts."""
        model = self.load(self.folder("pretrain")).to(device())
        scores, items = evaluate_knowledge(model, self.prepared, self.recipe)
        write_json(folder / "knowledge.json", items)
        return {"scores": self._own(scores)}

    def _evaluate(self, folder: Path) -> dict[str, Any]:
        """Measure the final model on test documents, and word retrieval of the model at every stage."""
        final = self.load(self.folder("pretrain")).to(device())
        true_words = self.prepared.true_lexicon(self.recipe, self.seed)
        scores, lm = evaluate_lm(final, self.prepared, self.recipe, true_words[0], self.on_progress)
        start = self.start()
        models: dict[Stage, Any] = {"init": export_plain(start) if self.recipe.anchor.enabled else start}
        if self.recipe.align.steps:
            models["align"] = self.load(self.folder("align"))
        models["pretrain"] = final
        retrieval, parallel, tests = {}, {}, ParallelTests(self.prepared, self.recipe)
        for stage, model in models.items():
            found, retrieval[stage] = evaluate_retrieval(
                model.to(device()), self.prepared, self.recipe, *true_words, stage=stage, seed=self.seed
            )
            unseen, parallel[stage] = tests.measure(model, stage=stage)
            scores.extend([*found, *unseen])
            model.cpu()  # room for the next
        write_json(folder / "lm.json", lm)
        write_json(folder / "retrieval.json", retrieval)
        write_json(folder / "parallel.json", parallel)
        return {"scores": self._own(scores)}

    def _own(self, scores: list[Score]) -> list[dict[str, Any]]:
        return [asdict(replace(score, arm=self.arm, seed=self.seed)) for score in scores]

    def _transfer(self, folder: Path) -> dict[str, Any]:
        """Fine-tune the final model on each task, every time from the same checkpoint."""
        scores, answers, tasks = [], {}, {}
        for task in self.recipe.transfer:
            found, answers[task.name], tasks[task.name] = evaluate_transfer(
                self.folder("pretrain"),
                task,
                self.prepared,
                self.recipe,
                seed=self.seed,
                folder=folder / SCRATCH,
                on_progress=self.on_progress,
            )
            scores += found
        write_json(folder / "transfer.json", answers)
        return {
            "scores": self._own(scores),
            "seconds": sum(task["seconds"] for task in tasks.values()),
            "flops": sum(task["flops"] for task in tasks.values()),
            "tasks": tasks,
        }

    def _trained(self, model: Any, folder: Path, record: dict[str, Any], dynamics: list[Dynamics]) -> dict[str, Any]:
        """Save what a stage trained; return its record with what was measured over it."""
        if launch.is_first():
            if self.recipe.anchor.enabled:
                export_plain(model)
            save_weights(self.recipe.model, model, folder)
            self.prepared.tokenizer.save_pretrained(folder)
        per_step = record["tokens"] / record["steps"]
        return {**record, "dynamics": [entry for measured in dynamics for entry in measured.record(per_step)]}
