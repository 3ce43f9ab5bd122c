"""One arm with one seed, from blocks to scores. Stages meet only through files (`prealign.run.folder`).

1. `blocks`: the rewritten, packed training blocks of the main phase, as many as the arm's budget needs.
2. A stage for each phase of the arm's method, from the model of the phase before. PreAlign has `align` (stage 1) and
   `pretrain` (stage 2). Two arms share the result of a phase before the main one if their inputs are equal.
3. The main phase is `pretrain`: it takes the steps that match the budgets of all arms.
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

from datasets import Dataset

from prealign import __version__
from prealign.errors import RunFolderError
from prealign.evaluation.score import Score
from prealign.events import OnProgress, Progress
from prealign.files import write_json
from prealign.methods.phase import MAIN, Phase
from prealign.recipe.trainer import deciding
from prealign.run.blocks import MadeBlocks, make_blocks
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
from prealign.run.inputs import ArmInputs, plain
from prealign.run.measures.knowledge import evaluate_knowledge
from prealign.run.measures.modelling import evaluate_lm
from prealign.run.measures.parallel import ParallelTests
from prealign.run.measures.retrieval import evaluate_retrieval
from prealign.run.measures.transfer import check_task, evaluate_transfer
from prealign.run.mixture import mixture_record
from prealign.text.arrow import load_arrow
from prealign.training import launch, ranks
from prealign.training.checkpoints import any_left
from prealign.training.models import save_weights
from prealign.training.phase import train
from prealign.training.precision import device, precision
from prealign.workers import Pool


@dataclass(frozen=True)
class ArmRun(ArmInputs):
    """An arm of `base` with one seed, on the run's shared data."""

    run: RunFolder
    on_progress: OnProgress

    def folder(self, stage: str) -> Path:
        """Return the folder of one of this arm's stages."""
        return self.run.stage(self.arm, self.seed, stage)

    @property
    def trained_stages(self) -> tuple[str, ...]:
        """The stages that all processes of a launch do together."""
        return tuple(phase.name for phase in self.phases)

    @property
    def shared_stages(self) -> tuple[str, ...]:
        """Stages whose result arms with equal inputs share: those before the main one."""
        names = self.trained_stages
        return names[: names.index(MAIN)]

    @property
    def final_folder(self) -> Path:
        """Where the trained model lies."""
        return self.folder(self.phases[-1].name)

    def marks(self) -> dict[str, str]:
        """Return the fingerprint of each stage: its settings and the stages it reads."""
        own, bos = self.recipe, self.recipe.align.bos
        lexicon, context = own.lexicon.changes(), own.pretrain.context
        data: list[Any] = [__version__, self.prepared.mark, self.seed, lexicon, own.mixture.changes(), context]
        data += [self.devices] if self.devices > 1 else []  # so runs on one device keep their fingerprints
        weights = [Path(p) for p in (own.model.pretrained, own.model.config) if p]
        model: list[Any] = [
            own.model.changes(),
            deciding(own.trainer),
            precision(own.trainer),
            self.run.contents(weights),
        ]
        measured: list[Any] = [own.pretrain.validations, own.pretrain.validation_blocks]
        measured += [own.evaluate.dynamics, own.evaluate.dynamics_words, bos] if own.evaluate.dynamics else []
        main = self.main_phase
        rewriting = main.rewriting.describe() if main.rewriting else None
        bitext = [asdict(main.bitext)] if main.bitext else []
        marks = {"blocks": fingerprint(data, rewriting, main.batch_size, main.steps, *bitext)}
        before: list[str] = []
        for phase in self.phases:
            read = [marks["blocks"]] if phase is main else []
            marks[phase.name] = fingerprint(data, model, measured, phase.describe(), read, before)
            before = [marks[phase.name]]
        return marks | self._marks_of_measures(marks[self.phases[-1].name])

    def _marks_of_measures(self, trained: str) -> dict[str, str]:
        own, identity = self.recipe, self.prepared.identity["tok"]  # scores carry what they were measured on
        measured = own.evaluate.changes(without=("dynamics", "dynamics_words"))
        sentences = [Path(path) for section in own.evaluate.sentences for path in section.files.values()]
        marks = {"evaluate": fingerprint(trained, identity, measured, own.align.bos, *self.run.contents(sentences))}
        if own.knowledge:
            marks["knowledge"] = fingerprint(trained, identity, own.knowledge.changes())
        if own.transfer:
            tasks = [task.changes() for task in own.transfer]
            files = [Path(path) for task in own.transfer for path in (task.train, *task.tests.values()) if path]
            marks["transfer"] = fingerprint(trained, identity, tasks, self.run.contents(files))
        return marks

    @property
    def main_phase(self) -> Phase:
        """The phase whose steps the budget decides, and whose blocks are a stage of their own."""
        return next(phase for phase in self.phases if phase.name == MAIN)

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
        measures: dict[str, Callable[[Path], dict[str, Any]]] = {
            "blocks": self._blocks,
            "evaluate": self._evaluate,
            "knowledge": self._knowledge,
            "transfer": self._transfer,
        }
        folder = self.folder(stage)

        def work(partial: Path) -> dict[str, Any]:
            return measures[stage](partial) if stage in measures else self._train(self.phase(stage), partial)

        def checked(partial: Path) -> dict[str, Any]:
            record = work(partial)
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
            if not force and stage in self.shared_stages and self._share(stage, mark):
                return ""
            if stage not in self.trained_stages:
                run_stage(folder, mark, checked, anew=force)
                return ""
            partial = self._begin(stage, mark, force)
            if finished(partial, mark):
                end_stage(folder, mark, {})
                return ""
            return str(partial)

        partial = ranks.by_first(begin)
        if partial:
            record = work(Path(partial))
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

    def _share(self, stage: str, mark: str) -> bool:
        """Take the result of another arm whose stage has the same fingerprint, if there is one."""
        for other in self.run.stages(stage):
            if finished(other, mark):
                try:
                    share_stage(self.folder(stage), other)
                except OSError:  # another process is just replacing it
                    continue
                return True
        return False

    def _blocks(self, folder: Path) -> dict[str, Any]:
        phase = self.main_phase
        made = self._make_blocks(phase, folder)
        mixture, counts = made.mixture, made.counts
        sizes = {language: self.prepared.training_size(language) for language in mixture.tokens}
        rates = mixture_record(mixture, counts, made.known, sizes)
        switched = made.known.get(mixture.source)
        coverage = {"coverage": switched.coverage if switched else None}
        settings = {key: getattr(self.recipe.switch, key) for key in ("ratio", "mode")}
        forms = self.added_forms if switched else {}
        bitext = {"bitext": made.bitext} if made.bitext else {}
        return {**counts.record(mixture.source), **settings, **coverage, **forms, **rates, **bitext}

    def _make_blocks(self, phase: Phase, folder: Path) -> MadeBlocks:
        with Pool(self.recipe.processes) as pool:
            sizes: dict[str, Any] = {"seed": self.seed, "devices": self.devices, "spread": pool.map}
            return make_blocks(self.prepared, self.recipe, phase, folder, **sizes)

    def _blocks_of(self, phase: Phase, scratch: Path) -> Dataset:
        """Return the blocks of a phase: those of the stage `blocks`, or some that are made in its scratch folder."""
        if phase.name == MAIN:
            return load_arrow(self.folder("blocks"))

        def write(folder: Path) -> dict[str, Any]:
            made = self._make_blocks(phase, folder)
            return made.counts.record(made.mixture.source)

        # In scratch, which is of one fingerprint: an attempt that goes on finds them.
        ranks.by_first(lambda: finished(scratch / "blocks", "") or run_stage(scratch / "blocks", "", write))
        return load_arrow(scratch / "blocks")

    def _train(self, phase: Phase, folder: Path) -> dict[str, Any]:
        """Train a phase from the model that the one before it left."""
        own, scratch, place = self.recipe, folder / SCRATCH, self.phases.index(phase)
        before = self.folder(self.phases[place - 1].name) if place else None
        blocks, dynamics = self._blocks_of(phase, scratch), self.dynamics()
        model = self.model_before(phase, before)
        record = train(
            phase,
            model,
            blocks,
            self.validation(),
            seed=self.seed,
            folder=scratch,
            on_progress=self.on_progress,
            trainer=own.trainer,
            checkpoint=own.checkpoint,
            eval_batch_size=own.evaluate.batch_size,
            validations=own.pretrain.validations,
            callbacks=dynamics,
        )
        record |= {"new_rows": self.new_rows.as_dict()} if self.new_rows and phase.name == MAIN else {}
        if launch.is_first():
            save_weights(own.model, plain(model, phase), folder)
            self.prepared.tokenizer.save_pretrained(folder)
        per_step = record["tokens"] / record["steps"]
        return {**record, "dynamics": [entry for measured in dynamics for entry in measured.record(per_step)]}

    def _knowledge(self, folder: Path) -> dict[str, Any]:
        """Ask the final model about the made-up facts."""
        model = self.load(self.final_folder).to(device())
        scores, items = evaluate_knowledge(model, self.prepared, self.recipe)
        write_json(folder / "knowledge.json", items)
        return {"scores": self._own(scores)}

    def _evaluate(self, folder: Path) -> dict[str, Any]:
        """Measure the final model on test documents, and word retrieval of the model at every stage."""
        final = self.load(self.final_folder).to(device())
        true_words = self.prepared.true_lexicon(self.recipe, self.seed)
        scores, lm = evaluate_lm(final, self.prepared, self.recipe, true_words[0], self.on_progress)
        first = self.phases[0]
        models = {"init": plain(self.model_before(first, None), first)}
        models |= {phase.name: self.load(self.folder(phase.name)) for phase in self.phases[:-1]}
        models[self.phases[-1].name] = final
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
                self.final_folder,
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
