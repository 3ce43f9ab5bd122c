"""One arm with one seed, from blocks to scores. Stages meet only through files (`prealign.runfolder`).

1. `blocks`: the switched, packed training blocks of stage 2, as many as the arm's budget needs.
2. `align`: stage 1, unless the arm has none. Two arms with equal inputs share one result.
3. `pretrain`: stage 2 from the aligned (or the initial) model, for the steps that match the budgets of all arms.
4. `evaluate`: perplexity on test documents; word retrieval per layer before and after each stage.
5. `knowledge`, if the recipe has made-up facts: questions about them.
6. `transfer`, if the recipe has such tasks: fine-tuned on source-language labels, tested in every language.

The budget is that of PreAlign: `align.steps` of stage 1 and `pretrain.steps` of stage 2, in FLOPs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from prealign import __version__
from prealign.alignment.anchored import (
    anchor_vocabulary,
    anchored_languages,
    estimate_anchors,
    export_plain,
    word_pairs,
)
from prealign.alignment.stage import align
from prealign.alignment.trainer import layer_slice
from prealign.alignment.words import WordForms, word_forms
from prealign.arms import resolve_arm
from prealign.errors import RecipeError
from prealign.evaluation.checkpoint import evaluate_lm, evaluate_retrieval
from prealign.evaluation.dynamics import Dynamics
from prealign.evaluation.knowledge import evaluate_knowledge
from prealign.evaluation.pairs import draw_pairs
from prealign.evaluation.parallel import evaluate_parallel
from prealign.evaluation.score import Score, Stage
from prealign.evaluation.task_data import check_task
from prealign.evaluation.transfer import evaluate_transfer
from prealign.lexicon import Lexicon
from prealign.mixing import mixture_record, switched_mixture
from prealign.models import build_model, load_weights, model_shapes
from prealign.packing import text_blocks, write_blocks
from prealign.preparation import Prepared
from prealign.pretraining import budgeted_steps, pretrain
from prealign.recipe import Recipe
from prealign.runfolder import RunFolder, file_stats, fingerprint, finished, run_stage, share_stage, write_json
from prealign.text.corpus import load_arrow
from prealign.training import OnProgress, precision


@dataclass(frozen=True)
class ArmRun:
    """An arm of `base` with one seed, on the run's shared data."""

    arm: str
    seed: int
    base: Recipe
    prepared: Prepared
    run: RunFolder
    on_progress: OnProgress

    @cached_property
    def recipe(self) -> Recipe:
        """The arm's own recipe."""
        return resolve_arm(self.base, self.arm)

    @cached_property
    def lexicons(self) -> tuple[Lexicon, Lexicon]:
        """Words for training and words held out, by seed."""
        return self.prepared.training_lexicon(self.recipe, self.seed)

    @cached_property
    def words(self) -> WordForms:
        """The training words in tokens."""
        return word_forms(self.lexicons[0], self.prepared.tokenizer)

    @cached_property
    def steps(self) -> int:
        """Steps of stage 2 that bring this arm to the budget of PreAlign."""
        reference, own = resolve_arm(self.base, "prealign"), self.recipe
        # Of an arm with a lexicon of its own the budget is that of the others all the same.
        shared = reference.lexicon == own.lexicon
        lexicon = None if shared else self.prepared.training_lexicon(reference, self.seed)[0]
        words = self.words if lexicon is None else word_forms(lexicon, self.prepared.tokenizer)
        model = model_shapes(own.model, **self._model_needs)
        if own.align.steps or own.sustain.weight:
            layer_slice(own.align.layers, model)  # what the model has no layer for shows before any training
        return budgeted_steps(reference, own, model, words, self.words)

    def folder(self, stage: str) -> Path:
        """Return the folder of one of this arm's stages."""
        return self.run.stage(self.arm, self.seed, stage)

    def marks(self) -> dict[str, str]:
        """Return the fingerprint of each stage: its settings and the stages it reads."""
        own, bos = self.recipe, self.recipe.align.bos
        lexicon = own.lexicon.changes()
        data = [__version__, self.prepared.mark, self.seed, lexicon, own.mixture.changes(), own.pretrain.context]
        weights = [Path(p) for p in (own.model.pretrained, own.model.config) if p]
        anchored = own.anchor.changes() if own.anchor.enabled else None
        model: list[Any] = [own.model.changes(), anchored, own.trainer, own.pretrain.validations]
        model += [precision(own), file_stats(weights)]
        dynamics = [own.evaluate.dynamics, own.evaluate.dynamics_words, bos] if own.evaluate.dynamics else []
        marks = {"blocks": fingerprint(data, own.switch.changes(), own.pretrain.batch_size, self.steps)}
        if own.align.steps:
            marks["align"] = fingerprint(data, model, own.align.changes(), own.pretrain.validation_blocks, *dynamics)
        sustained = [own.sustain.changes(), own.align.changes()] if own.sustain.weight else []
        marks["pretrain"] = fingerprint(marks, model, own.pretrain.changes(), sustained, *dynamics)
        measured = own.evaluate.changes(without=("dynamics", "dynamics_words"))
        sentences = [Path(path) for section in own.evaluate.sentences for path in section.files.values()]
        marks["evaluate"] = fingerprint(marks["pretrain"], measured, bos, *file_stats(sentences))
        if own.knowledge:
            marks["knowledge"] = fingerprint(marks["pretrain"], own.knowledge.changes())
        if own.transfer:
            tasks = [task.changes() for task in own.transfer]
            files = [Path(path) for task in own.transfer for path in (task.train, *task.tests.values()) if path]
            marks["transfer"] = fingerprint(marks["pretrain"], tasks, file_stats(files))
        return marks

    def execute(self, *, last: str | None = None, force: bool = False) -> dict[str, bool]:
        """Run every stage up to `last` (None: all) that is not fresh. Returns the stages, and whether each was run now."""
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 or torch.cuda.device_count() > 1:
            raise RecipeError(
                "a run trains each arm on one device, and here are several. Show it one (CUDA_VISIBLE_DEVICES=0, without "
                "torchrun); `jobs` runs several arms side by side."
            )
        work: dict[str, Callable[[Path], dict[str, Any]]] = {
            "blocks": self._blocks,
            "align": self._align,
            "pretrain": self._pretrain,
            "evaluate": self._evaluate,
            "knowledge": self._knowledge,
            "transfer": self._transfer,
        }
        ran = {}
        marks = self.marks()
        if last is None and "transfer" in marks and (force or not finished(self.folder("transfer"), marks["transfer"])):
            # Here, not when it is read for its stage: a damaged row must show before hours of training, and once a run.
            for task in self.recipe.transfer:
                check_task(task, self.prepared, self.recipe, self.seed)
        for stage, mark in marks.items():
            ran[stage] = force or finished(self.folder(stage), mark) is None
            if ran[stage] and (force or stage != "align" or not self._share_alignment(mark)):
                run_stage(self.folder(stage), mark, work[stage])
            if stage == last:
                break
        return ran

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
        mixture, known, forms = switched_mixture(self.prepared, own, self.lexicons[0], self.seed)
        blocks = self.steps * own.pretrain.batch_size
        _, counts = write_blocks(mixture, folder, blocks=blocks, context=own.pretrain.context, seed=self.seed)
        sizes = {language: self.prepared.training_size(language) for language in mixture.tokens}
        coverage = known[mixture.source].coverage if mixture.switcher else None
        rates = mixture_record(mixture, counts, known, sizes)
        settings = {"ratio": own.switch.ratio, "mode": own.switch.mode, "coverage": coverage}
        return {**counts.as_dict(), **settings, **forms, **rates}

    def _align(self, folder: Path) -> dict[str, Any]:
        own = self.recipe
        blocks, _ = write_blocks(
            self.prepared.mixture(own),
            folder / "blocks",
            blocks=own.align.steps * own.align.lm_batch_size,
            context=own.pretrain.context,
            seed=self.seed,
        )
        model, dynamics = self._start(), self._dynamics()
        record = align(
            model,
            self.prepared.tokenizer,
            self.words,
            blocks,
            self._validation(),
            own,
            self.seed,
            folder / "trainer",
            self.on_progress,
            dynamics,
        )
        shutil.rmtree(folder / "blocks")
        self._save(model, folder)
        return _with_dynamics(record, dynamics)

    def _pretrain(self, folder: Path) -> dict[str, Any]:
        aligned = bool(self.recipe.align.steps)
        model = self._anchor(self._load(self.folder("align")), fresh=False) if aligned else self._start()
        dynamics = self._dynamics()
        record = pretrain(
            model,
            self.prepared.tokenizer,
            self.words,
            load_arrow(self.folder("blocks")),
            self._validation(),
            self.recipe,
            self.steps,
            self.seed,
            folder / "trainer",
            self.on_progress,
            dynamics,
        )
        self._save(model, folder)
        return _with_dynamics(record, dynamics)

    def _knowledge(self, folder: Path) -> dict[str, Any]:
        """Ask the final model about the made-up facts."""
        scores, items = evaluate_knowledge(self._load(self.folder("pretrain")), self.prepared, self.recipe)
        write_json(folder / "knowledge.json", items)
        return {"scores": self._own(scores)}

    def _evaluate(self, folder: Path) -> dict[str, Any]:
        """Measure the final model on test documents, and word retrieval of the model at every stage."""
        final = self._load(self.folder("pretrain"))
        true_words = self.prepared.true_lexicon(self.recipe, self.seed)
        scores, lm = evaluate_lm(final, self.prepared, self.recipe, true_words[0], self.on_progress)
        start = self._start()
        models: dict[Stage, Any] = {"init": export_plain(start) if self.recipe.anchor.enabled else start}
        if self.recipe.align.steps:
            models["align"] = self._load(self.folder("align"))
        models["pretrain"] = final
        retrieval, parallel = {}, {}
        for stage, model in models.items():
            found, retrieval[stage] = evaluate_retrieval(
                model, self.prepared, self.recipe, *true_words, stage=stage, seed=self.seed
            )
            unseen, parallel[stage] = evaluate_parallel(model, self.prepared, self.recipe, stage=stage)
            scores.extend([*found, *unseen])
        write_json(folder / "lm.json", lm)
        write_json(folder / "retrieval.json", retrieval)
        write_json(folder / "parallel.json", parallel)
        return {"scores": self._own(scores)}

    def _own(self, scores: list[Score]) -> list[dict[str, Any]]:
        return [replace(score, arm=self.arm, seed=self.seed).as_dict() for score in scores]

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
                folder=folder / "trainer",
                on_progress=self.on_progress,
            )
            scores += found
        shutil.rmtree(folder / "trainer", ignore_errors=True)
        write_json(folder / "transfer.json", answers)
        return {
            "scores": self._own(scores),
            "seconds": sum(task["seconds"] for task in tasks.values()),
            "flops": sum(task["flops"] for task in tasks.values()),
            "tasks": tasks,
        }

    def _dynamics(self) -> list[Dynamics]:
        """What measures alignment over a stage; nothing without `evaluate.dynamics`, or for a merged clone."""
        own, section = self.recipe, self.recipe.evaluate
        if not section.dynamics or own.mixture.clone_ids == "merged":
            return []
        words = self.prepared.true_lexicon(own, self.seed)
        drawn = [draw_pairs(*words, language, section.dynamics_words, self.seed) for language in words[0].targets]
        pairs = [own_pairs for own_pairs in drawn if own_pairs.sources]
        return [Dynamics(self.prepared.tokenizer, pairs, section.dynamics, bos=own.align.bos)]

    @property
    def _model_needs(self) -> dict[str, int]:
        prepared, context = self.prepared, self.recipe.pretrain.context
        return {"vocab_size": prepared.vocab_size, "context": context, "eos_token_id": prepared.eos}

    def _start(self) -> Any:
        """Return the model that training starts from, its vocabulary anchored if the arm says so."""
        model = build_model(self.recipe.model, seed=self.seed, **self._model_needs)
        return self._anchor(model, fresh=not self.recipe.model.pretrained)

    def _load(self, folder: Path) -> Any:
        return load_weights(self.recipe.model, str(folder))

    def _anchor(self, model: Any, *, fresh: bool) -> Any:
        anchor = self.recipe.anchor
        if not anchor.enabled:
            return model
        source, *targets = self.prepared.languages
        counts = {language: self.prepared.token_counts(language) for language in (source, *targets)}
        language = anchored_languages(
            counts[source], np.stack([counts[target] for target in targets]), anchor.frequency_ratio
        )
        anchors = estimate_anchors(
            word_pairs(self.words), language >= 0, rounds=anchor.em_rounds, sources_per_row=anchor.sources_per_row
        )
        return anchor_vocabulary(model, anchors, language, rate=anchor.residual_rate, fresh=fresh)

    def _validation(self) -> dict[str, Dataset]:
        """Blocks of validation text by language, for the perplexity curves."""
        own, prepared = self.recipe, self.prepared
        merged = own.mixture.clone_ids == "merged"
        return {
            language: text_blocks(
                prepared.tokens(language, "validation", merged=merged),
                blocks=own.pretrain.validation_blocks,
                context=own.pretrain.context,
                eos=prepared.eos,
            )
            for language in prepared.languages
        }

    def _save(self, model: Any, folder: Path) -> None:
        shutil.rmtree(folder / "trainer", ignore_errors=True)
        if self.recipe.anchor.enabled:
            export_plain(model)
        model.save_pretrained(folder)
        self.prepared.tokenizer.save_pretrained(folder)


def _with_dynamics(record: dict[str, Any], dynamics: list[Dynamics]) -> dict[str, Any]:
    """Add what was measured over a stage to its record."""
    per_step = record["tokens"] / record["steps"]
    return {**record, "dynamics": [entry for measured in dynamics for entry in measured.record(per_step)]}
