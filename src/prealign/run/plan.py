"""Cost estimate of the arms of a recipe, without data or devices: steps, FLOPs, hours, memory and disk.

1. Shapes: build the model of the recipe on the meta device, with the embedding rows that the vocabulary needs.
2. Words: take them from the run's data folder if it is fresh. Otherwise assume forms and tokens per group, and say so.
3. Steps: match each arm to the FLOPs of PreAlign, as a run does. Batch sizes are per device, so N devices read N times
   as many tokens in a step. The similarities of L_align grow with N, because every device scores the joined batch.
4. Hours: FLOPs of a device / (its peak · utilisation). Similarities are float32 even in bf16 training, so the float32
   peak counts for them.
5. Memory: that of the stage that takes most (`prealign.methods.memory`). A frozen body has weights only.
6. Disk: one float32 checkpoint per stage, and blocks of int32 ids and labels: 4 · parameters · stages + 8 · tokens of
   stage 2.

Evaluation and fine-tuning are not counted. Numbers are for one seed; the last row is the sum over arms and seeds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from prealign.errors import CorpusError, RecipeError
from prealign.methods.alignment.words import WordSizes, word_forms
from prealign.methods.budget import budget_of, settled
from prealign.methods.memory import FLOAT, Memory, fused_loss_memory, parameter_memory, text_memory
from prealign.methods.phase import MAIN, Cost, Phase
from prealign.recipe.arms import resolve_arm
from prealign.recipe.sections import Recipe
from prealign.recipe.validate import did_you_mean
from prealign.run.data import Prepared
from prealign.run.folder import RunFolder
from prealign.run.inputs import REFERENCE
from prealign.run.planned import TOKENS_PER_FORM, assumed_words, planned_phases, sentence_tokens
from prealign.run.preparation.prepare import data_marks
from prealign.run.reading import Reading, main_reading, many_passes, text_tokens
from prealign.run.revisions import pinned, recorded_commits
from prealign.text.bitext import TokenPairs
from prealign.text.tokenizers import get_tokenizer
from prealign.text.words import rows
from prealign.training.forward import fused_loss
from prealign.training.models import freeze_body, frozen_share, model_shapes
from prealign.training.precision import precision

GIB = 2**30
_BLOCK_BYTES = 8  # per token of a block: id and label, int32 each


@dataclass(frozen=True)
class Device:
    """A kind of device: peak dense FLOP/s in bf16 (accumulated in float32) and in float32, and memory in bytes."""

    bf16: float
    fp32: float
    memory: float


DEVICES: dict[str, Device] = {
    # from the vendors' data sheets, without sparsity and TF32; memory as reported by the driver
    "a100": Device(312e12, 19.5e12, 80 * GIB),
    "h100": Device(989e12, 67e12, 80 * GIB),
    "h200": Device(989e12, 67e12, 140 * GIB),
    "l40s": Device(362e12, 91.6e12, 45 * GIB),
    "rtx4090": Device(165e12, 82.6e12, 24 * GIB),
    "mi300x": Device(1307e12, 163e12, 192 * GIB),
}


@dataclass(frozen=True)
class Devices:
    """`number` devices of one kind. utilisation: share of the peak FLOP/s that training reaches."""

    name: str
    number: int
    device: Device
    utilisation: float


@dataclass(frozen=True)
class Plan:
    """The cost of one seed of an arm over all devices. steps: by phase. memory: of one device, by phase. disk: bytes.

    reading: by language, what the main phase reads; empty if neither the sizes of the texts nor weights are known.
    early: the phases that may end before their steps; the main phase then has more.
    """

    arm: str
    seeds: int
    steps: dict[str, int]
    tokens: float
    flops: float
    seconds: float
    memory: dict[str, Memory]
    disk: float
    reading: dict[str, Reading]
    early: tuple[str, ...] = ()

    @property
    def peak(self) -> tuple[str, Memory]:
        """The phase that takes most memory, and its memory."""
        return max(self.memory.items(), key=lambda item: item[1].total)


def use_devices(name: str, number: int, utilisation: float, flops: float | None = None) -> Devices:
    """Return the devices with this name; flops: their peak FLOP/s, required for "cpu". RecipeError for invalid values."""
    if number < 1:
        raise RecipeError(f"--gpus {number}: a plan needs at least one device.")
    if not 0 < utilisation <= 1:
        raise RecipeError(f"--utilisation {utilisation:g} is not a share above 0 and at most 1; 40 % is written 0.4.")
    if flops is not None and not 0 < flops < math.inf:
        raise RecipeError(f"--flops {flops:g} is not a number of operations per second: write 2e12, for example.")
    if name not in {*DEVICES, "cpu"}:
        raise RecipeError(f"unknown --gpu {name!r}{did_you_mean(name, [*DEVICES, 'cpu'])}")
    if name == "cpu" and flops is None:
        raise RecipeError("--gpu cpu: processors differ too much for a table. Give the peak FLOP/s: --flops 2e12.")
    device = DEVICES.get(name, Device(0, 0, math.inf))
    if flops is not None:
        device = replace(device, bf16=flops, fp32=flops)
    return Devices(name, number, device, utilisation)


def plan_recipe(recipe: Recipe, devices: Devices, run: Path) -> tuple[list[Plan], Devices, list[str]]:
    """Return a plan for each arm, the devices, and notes on assumptions. run: run folder, which need not exist."""
    prepared = _prepared(recipe, run)
    assumed: list[str] = []
    if prepared is None:
        vocabulary, words, assumed = _assume(recipe)
        by_arm = dict.fromkeys([*recipe.arms, REFERENCE], words)
    else:
        vocabulary, by_arm = prepared.vocab_size, _words(recipe, prepared)
    section = recipe.model
    if section.attention == "flash_attention_2":
        # FlashAttention can be imported only with a GPU; sdpa saves the same tensors.
        section = section.model_copy(update={"attention": "sdpa"})
    model = model_shapes(section, vocab_size=vocabulary, context=recipe.pretrain.context, eos_token_id=0)
    notes = [
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {vocabulary:,} rows of the vocabulary",
        *assumed,
        *_frozen_bodies(recipe, model),
        *_not_modelled(recipe),
    ]
    sizes = prepared.training_sizes if prepared else {}
    bitext = prepared.bitext if prepared else None
    plans = [plan_arm(recipe, arm, model, by_arm, devices, sizes, bitext) for arm in recipe.arms]
    return plans, devices, [*notes, *many_passes({plan.arm: plan.reading for plan in plans})]


def plan_arm(
    base: Recipe,
    arm: str,
    model: Any,
    words: Mapping[str, WordSizes],
    devices: Devices,
    sizes: Mapping[str, int] | None = None,
    bitext: Mapping[str, TokenPairs] | None = None,
) -> Plan:
    """Return the plan of one seed of an arm of the recipe `base`. `model` is on the meta device.

    words: those of this arm and of the reference arm, by arm. sizes: the number of tokens in each language's training text,
    if it is known. bitext: the parallel text, if it is known.
    """
    recipe, reference, ranks = resolve_arm(base, arm), resolve_arm(base, REFERENCE), devices.number
    budget = budget_of(planned_phases(reference, words[REFERENCE]), model, reference.pretrain.steps, ranks)
    phases = settled(planned_phases(recipe, words[arm], sizes, bitext), model, budget, ranks, arm=arm)
    total = Cost()
    for phase in phases:
        phase.check(model)
        total += phase.total(model, ranks)
    device = devices.device
    rate = device.bf16 if _bf16(recipe, devices) else device.fp32
    seconds = ((total.flops - total.float32_flops) / rate + total.float32_flops / device.fp32) / devices.utilisation
    parameters = sum(p.numel() for p in model.parameters())
    main = next(phase for phase in phases if phase.name == MAIN)
    blocks = _BLOCK_BYTES * ranks * _steps(main) * main.batch_size * main.context
    return Plan(
        arm=arm,
        seeds=len(base.seeds),
        steps={phase.name: _steps(phase) for phase in phases},
        tokens=ranks * total.tokens,
        flops=ranks * total.flops,
        seconds=seconds,
        memory={phase.name: phase_memory(phase, recipe, model, devices) for phase in phases},
        disk=FLOAT * parameters * len(phases) + blocks,
        reading=main_reading(recipe, sizes or {}, text_tokens(main, ranks)),
        early=tuple(phase.name for phase in phases if phase.ends_early),
    )


def _steps(phase: Phase) -> int:
    assert phase.steps is not None, "call `settled` first: the phase has no number of steps"
    return phase.steps


def phase_memory(phase: Phase, recipe: Recipe, whole: Any, devices: Devices) -> Memory:
    """Return the memory of a phase on one device. recipe: the arm's. whole: the unfrozen model, on the meta device."""
    shards = devices.number if recipe.trainer.get("fsdp") else 1
    bf16, model = _bf16(recipe, devices), _frozen(whole) if phase.freeze_body else whole
    activations = logits = 0.0
    if phase.lm_weight:
        stock = bool(recipe.trainer.get("fp16"))
        activations, logits = text_memory(model, phase.batch_size, phase.context, bf16=bf16, stock=stock)
        if fused_loss(recipe.trainer):
            rows, width = model.get_output_embeddings().weight.shape
            logits = fused_loss_memory(phase.text_tokens, width, rows)
    activations += sum(initialisation.memory(model) for initialisation in phase.initialisations)
    objectives = sum(term.objective.memory(model, devices.number, bf16=bf16) for term in phase.terms)
    parameters = parameter_memory(model, shards)
    return replace(parameters, activations=activations, logits=logits, objectives=objectives)


@lru_cache(maxsize=1)
def _frozen(model: Any) -> Any:
    """Return a copy of the model with its body frozen."""
    frozen = copy.deepcopy(model)
    freeze_body(frozen)
    return frozen


def _frozen_bodies(recipe: Recipe, model: Any) -> Iterator[str]:
    frozen: dict[str, list[str]] = {}
    for arm in recipe.arms:
        for phase in planned_phases(resolve_arm(recipe, arm)):
            if phase.freeze_body:
                frozen.setdefault(phase.name, []).append(arm)
    for name, arms in frozen.items():
        share = frozen_share(_frozen(model))
        yield f"{name}.freeze_body: {share:.1%} of the parameters do not train in that stage, in {', '.join(arms)}"


def _bf16(recipe: Recipe, devices: Devices) -> bool:
    """Whether training uses 16-bit autocast: on a GPU unless the recipe turns it off, on a CPU if this machine does."""
    if devices.name == "cpu":
        return precision(recipe.trainer).endswith("autocast")
    return bool(recipe.trainer.get("bf16", True) or recipe.trainer.get("fp16"))


def _prepared(recipe: Recipe, run: Path) -> Prepared | None:
    """Return the run's data if they are fresh, else None, also if the text does not exist yet."""
    folder = RunFolder(run)
    if not (folder.data / "tokens").exists():
        return None
    try:
        return Prepared.read(folder.data, data_marks(pinned(recipe, recorded_commits(folder)), folder.contents))
    except CorpusError:
        return None


def _words(recipe: Recipe, prepared: Prepared) -> dict[str, WordSizes]:
    """Return the word forms of the first seed of each arm, and of the reference. Equal lexicon settings share them."""
    known: dict[str, WordSizes] = {}
    by_arm = {}
    for arm in (*recipe.arms, REFERENCE):
        arm_recipe = resolve_arm(recipe, arm)
        part = arm_recipe.lexicon.model_dump_json()
        if part not in known:
            known[part] = word_forms(prepared.training_lexicon(arm_recipe, recipe.seeds[0])[0], prepared.tokenizer)
        by_arm[arm] = known[part]
    return by_arm


def _assume(recipe: Recipe) -> tuple[int, WordSizes, list[str]]:
    """Return assumed vocabulary rows and word sizes for a recipe without prepared data, and notes on the assumptions."""
    forms = 1 + len(recipe.targets)
    words = assumed_words(forms)
    vocabulary = recipe.tokenizer.vocab_size
    if recipe.tokenizer.path is not None:
        trust = recipe.model.trust_remote_code
        tokenizer = get_tokenizer(recipe.tokenizer, iter(()), trust_remote_code=trust)
        vocabulary = rows(tokenizer) + recipe.tokenizer.extend
    if any(target.is_clone for target in recipe.targets):
        vocabulary = 2 * vocabulary - 1  # a twin of every token except the separator
    note = (
        f"no prepared data (`prealign lexicon RECIPE` makes them): assumed are {forms} forms per translation group, one per "
        f"language, {TOKENS_PER_FORM} tokens per form, and a full batch of groups"
    )
    if recipe.bitext:
        note += f"; {sentence_tokens(recipe.bitext, recipe.pretrain.context)} tokens a sentence of parallel text"
    return vocabulary, words, [note]


def _not_modelled(recipe: Recipe) -> Iterator[str]:
    if recipe.align.micro_pairs is not None:
        yield "align.micro_pairs: encoding words takes a third more FLOPs; not counted, as they are recomputed work"
    if recipe.trainer.get("torch_compile"):
        yield "trainer.torch_compile: its memory is unknown; activations and logits are estimated without it"
    if recipe.trainer.get("gradient_checkpointing"):
        yield "trainer.gradient_checkpointing: not counted; activations will be far smaller, FLOPs a third higher"
    if recipe.trainer.get("deepspeed"):
        yield "trainer.deepspeed: its sharding is not counted; weights, gradients and optimiser are those of one device"
