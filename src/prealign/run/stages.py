"""The stages of one arm with one seed, from blocks to scores. Stages meet only through files (`prealign.run.folder`).

1. `blocks`: the rewritten, packed training blocks of the main phase, as many as the arm's budget needs.
2. One stage for each phase of the arm's method, starting from the model of the previous phase. PreAlign has `align`
   (stage 1) and `pretrain` (stage 2). Arms share the result of a phase before the main phase if their inputs are equal.
3. The main phase is `pretrain`. Its number of steps matches the budgets of all arms. If a phase before it may end early
   (`align.until`), its blocks are made after that phase.
4. `evaluate`: perplexity on test documents; retrieval per layer before and after each phase.
5. `knowledge`, if the recipe has made-up facts: questions about them.
6. `transfer`, if the recipe has transfer tasks: fine-tune on source-language labels, test in every language.

Under a launcher all processes run the training stages, and the first one runs the others (`prealign.training.ranks`). A
training stage that was killed resumes from its newest checkpoint (`prealign.training.checkpoints`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from prealign.errors import RunFolderError
from prealign.evaluation.score import Score
from prealign.events import OnProgress, notes
from prealign.faults import disk_errors
from prealign.files import write_json
from prealign.methods.phase import MAIN, Phase
from prealign.run.arm_stages import ArmStages
from prealign.run.blocks import MadeBlocks, make_blocks
from prealign.run.divergence import INITIAL, of_model, remedy, start_of
from prealign.run.due import Stage, due_stages
from prealign.run.folder import (
    SCRATCH,
    begin_stage,
    end_stage,
    finished,
    run_stage,
    share_stage,
)
from prealign.run.goals import GoalWatch, trained_phase
from prealign.run.inputs import earlier_stage, plain
from prealign.run.locks import alone_in
from prealign.run.measures.knowledge import evaluate_knowledge
from prealign.run.measures.modelling import evaluate_lm
from prealign.run.measures.parallel import ParallelTests
from prealign.run.measures.retrieval import evaluate_retrieval
from prealign.run.measures.transfer import check_task, evaluate_transfer
from prealign.run.mixture import mixture_record
from prealign.run.provenance import changed_settings, with_origin
from prealign.text.arrow import load_arrow
from prealign.training import launch, ranks
from prealign.training.models import save_weights
from prealign.training.phase import train
from prealign.training.precision import device
from prealign.workers import Pool


@dataclass(frozen=True)
class ArmRun(ArmStages):
    """The stages of one arm of the recipe `base` with one seed, on the shared data of the run.

    command: the command line that makes them, for their provenance.
    """

    on_progress: OnProgress
    command: str = field(default="", kw_only=True)

    def execute(
        self, *, last: str | None = None, only: Collection[str] | None = None, force: bool = False
    ) -> dict[str, bool]:
        """Run every stage that is not fresh, up to `last` (None: all). Returns the stages, and whether each ran now.

        only: run no other stages than these. force: run fresh stages, too. Raises RunFolderError if another process
        works on this arm and seed, DivergedError (in all processes) if a number of this arm is not finite.
        """
        marks = ranks.by_first(self.marks)
        stages = list(marks)[: list(marks).index(last) + 1 if last else None]
        chosen = [stage for stage in stages if only is None or stage in only]
        if last is None and "blocks" in chosen:
            ranks.by_first(lambda: self._check_labels(marks, force))
        with ExitStack() as held:

            def enter() -> None:
                held.enter_context(alone_in(self.folder("blocks").parent, patient=False))

            ranks.by_first(enter)  # if another command holds the folder, all processes get the error
            due = chosen if force else ranks.by_first(lambda: self._due(stages, chosen, marks))
            return {stage: stage in due and self._execute(stage, marks[stage], force) for stage in chosen}

    def _due(self, stages: list[str], chosen: list[str], marks: dict[str, str]) -> list[str]:
        """Return the chosen stages that are due, and tell why. RunFolderError if one that they read is due, too."""
        reads = self.reads(marks)
        measures = marks.keys() - {"blocks", *self.trained_stages}

        def changes(stage: str, folder: Path) -> str:
            return changed_settings(folder, self.recipe, measures=stage in measures)

        chain = {stage: Stage(self.folder(stage), marks[stage], reads[stage]) for stage in stages}
        due = due_stages(chain, measures | {stages[-1]}, changes)  # read by results.json, and by the user
        now = {stage: reason for stage, reason in due.items() if stage in chosen}
        for stage in {before for late in now for before in reads[late]} & (due.keys() - now.keys()):
            raise RunFolderError(f"{self.folder(stage)}: {due[stage] or 'missing'}. Run the same command again.")
        for reason, stage in {reason: stage for stage, reason in reversed(now.items()) if reason}.items():
            notes(stage, self.on_progress)(reason)  # a setting that outdates several stages is told once
        return list(now)

    def _check_data(self) -> None:
        """Raise RunFolderError if another command has replaced the data: they no longer belong to this recipe."""
        if not self.prepared.is_current():
            raise RunFolderError(
                f"{self.run.data}: another command has replaced the data of this run, with those of other settings. "
                "Wait for it to end and run again, or choose another "
                "run folder (--out; of `prealign switch`: --run)."
            )

    def _check_labels(self, marks: dict[str, str], force: bool) -> None:
        """Check the data of due transfer tasks: a damaged file must fail before hours of training."""
        if "transfer" in marks and (force or finished(self.folder("transfer"), marks["transfer"]) is None):
            for task in self.recipe.transfer:
                check_task(task, self.prepared, self.recipe, self.seed)

    def _execute(self, stage: str, mark: str, force: bool) -> bool:
        """Run a stage, or share the stage of another arm. Returns True."""
        measures: dict[str, Callable[[Path], dict[str, Any]]] = {
            "blocks": self._blocks,
            "evaluate": self._evaluate,
            "knowledge": self._knowledge,
            "transfer": self._transfer,
        }
        folder, tell = self.folder(stage), notes(stage, self.on_progress)

        def work(partial: Path) -> dict[str, Any]:
            return (
                measures[stage](partial)
                if stage in measures
                else self._train(trained_phase(self, stage, self.folder), partial)
            )

        def signed(record: dict[str, Any], partial: Path) -> dict[str, Any]:
            self._check_data()
            return with_origin(record, partial, self.recipe, self.command)

        def begin() -> str | None:
            """Return the folder to train in, None if the stage is done now."""
            self._check_data()
            if not force and stage in self.shared_stages and self._share(stage, mark):
                return None
            if stage not in self.trained_stages:
                run_stage(folder, mark, lambda partial: signed(work(partial), partial), anew=force, tell=tell)
                return None
            partial = begin_stage(folder, mark, anew=force, tell=tell)
            if finished(partial, mark):
                end_stage(folder, mark, {}, tell=tell)
                return None
            return str(partial)

        with disk_errors(folder):
            if partial := ranks.by_first(begin):
                record = work(Path(partial))
                ranks.by_first(lambda: end_stage(folder, mark, signed(record, Path(partial)), tell=tell))
        return True

    def _share(self, stage: str, mark: str) -> bool:
        """Share the stage of another arm that has the same fingerprint. Returns whether there is one."""
        for other in self.run.stages(stage):
            if finished(other, mark, read=None):
                try:
                    share_stage(self.folder(stage), other, mark, tell=notes(stage, self.on_progress))
                except OSError:  # another process is replacing it
                    continue
                return True
        return False

    def _blocks(self, folder: Path) -> dict[str, Any]:
        phase = trained_phase(self, MAIN, self.folder)
        made = self._make_blocks(phase, folder)
        mixture, counts = made.mixture, made.counts
        sizes = {language: self.prepared.training_size(language) for language in mixture.tokens}
        rates = mixture_record(mixture, counts, made.known, sizes)
        forms = self.added_forms if mixture.source in made.known else {}
        bitext = {"bitext": made.bitext} if made.bitext else {}
        return {**counts.record(mixture.source), **forms, **rates, **bitext}

    def _make_blocks(self, phase: Phase, folder: Path) -> MadeBlocks:
        with Pool(self.recipe.processes, folder) as pool:
            sizes: dict[str, Any] = {"seed": self.seed, "devices": self.devices, "spread": pool.map}
            return make_blocks(self.prepared, self.recipe, phase, folder, shares=self.shares, **sizes)

    def _blocks_of(self, phase: Phase, scratch: Path) -> Dataset:
        """Return the blocks of a phase: from the stage `blocks` for the main phase, else written into `scratch`."""
        if phase.name == MAIN:
            return load_arrow(self.folder("blocks"))

        def write(folder: Path) -> dict[str, Any]:
            made = self._make_blocks(phase, folder)
            return made.counts.record(made.mixture.source)

        # Scratch belongs to one fingerprint, so a resumed attempt can use these blocks.
        own = scratch / "blocks"
        ranks.by_first(lambda: finished(own, "", read=None) or run_stage(own, "", write))
        return load_arrow(own)

    def _train(self, phase: Phase, folder: Path) -> dict[str, Any]:
        """Train a phase, starting from the model of the previous phase. Returns its record."""
        recipe, scratch, place = self.recipe, folder / SCRATCH, self.trained_stages.index(phase.name)
        before = self.folder(self.phases[place - 1].name) if place else None
        blocks, dynamics = self._blocks_of(phase, scratch), self.dynamics()
        model, goal = self.model_before(phase, before), GoalWatch.of(self, phase, self.on_progress)
        record = train(
            phase,
            model,
            blocks,
            self.validation(),
            seed=self.seed,
            folder=scratch,
            on_progress=self.on_progress,
            trainer=recipe.trainer,
            checkpoint=recipe.checkpoint,
            eval_batch_size=recipe.evaluate.batch_size,
            validations=recipe.pretrain.validations,
            callbacks=[*dynamics, *(goal.callbacks if goal else ())],
            at_start=remedy(start_of(phase, self.phases), recipe.model),
        )
        record = goal.finish(record, model, self.on_progress) if goal else record
        record |= self.start_record(phase)
        if launch.is_first():
            save_weights(recipe.model, plain(model, phase), folder)
            self.prepared.tokenizer.save_pretrained(folder)
        per_step = record["tokens"] / record["steps"]
        return {**record, "dynamics": [entry for measured in dynamics for entry in measured.record(per_step)]}

    def _knowledge(self, folder: Path) -> dict[str, Any]:
        """Ask the final model the questions about made-up facts."""
        model = self.load(self.final_folder).to(device())
        with of_model(MAIN, self.recipe.model):
            scores, items = evaluate_knowledge(model, self.prepared, self.recipe)
        write_json(folder / "knowledge.json", items)
        return {"scores": self._labelled(scores)}

    def _evaluate(self, folder: Path) -> dict[str, Any]:
        """Measure the final model on test documents, and retrieval of the model before and after each phase."""
        final = self.load(self.final_folder).to(device())
        true_words = self.prepared.true_lexicon(self.recipe, self.seed)
        with of_model(MAIN, self.recipe.model):
            scores, lm = evaluate_lm(final, self.prepared, self.recipe, true_words[0], self.on_progress)
        first = self.phases[0]
        models = {INITIAL: plain(self.model_before(first, None), first)}
        models |= {earlier_stage(phase): self.load(self.folder(phase.name)) for phase in self.phases[:-1]}
        models[MAIN] = final
        retrieval, parallel, tests = {}, {}, ParallelTests(self.prepared, self.recipe)
        for stage, model in models.items():
            with of_model(stage, self.recipe.model):
                words, retrieval[stage] = evaluate_retrieval(
                    model.to(device()), self.prepared, self.recipe, *true_words, stage=stage, seed=self.seed
                )
                unseen, parallel[stage] = tests.measure(model, stage=stage)
                if stage == INITIAL and self.recipe.model.pretrained:
                    measured = evaluate_lm(model, self.prepared, self.recipe, true_words[0], self.on_progress)
                    scores.extend(replace(score, stage=INITIAL) for score in measured.scores)
            scores.extend([*words, *unseen])
            model.cpu()  # free the device for the next model
        write_json(folder / "lm.json", lm)
        write_json(folder / "retrieval.json", retrieval)
        write_json(folder / "parallel.json", parallel)
        return {"scores": self._labelled(scores)}

    def _labelled(self, scores: list[Score]) -> list[dict[str, Any]]:
        return [asdict(replace(score, arm=self.arm, seed=self.seed)) for score in scores]

    def _transfer(self, folder: Path) -> dict[str, Any]:
        """Fine-tune the final model on each task, each time from the same checkpoint."""
        scores, answers, tasks = [], {}, {}
        for task in self.recipe.transfer:
            task_scores, answers[task.name], tasks[task.name] = evaluate_transfer(
                self.final_folder,
                task,
                self.prepared,
                self.recipe,
                seed=self.seed,
                folder=folder / SCRATCH,
                on_progress=self.on_progress,
            )
            scores += task_scores
        write_json(folder / "transfer.json", answers)
        return {
            "scores": self._labelled(scores),
            "seconds": sum(task["seconds"] for task in tasks.values()),
            "flops": sum(task["flops"] for task in tasks.values()),
            "tasks": tasks,
        }
