"""Warnings: settings in a recipe that have no effect, and arms that train exactly like another arm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prealign.languages import CLONE_SUFFIX
from prealign.recipe.arms import ARMS, OPTIONAL, resolve_arm
from prealign.recipe.presets import FAR, PRESET_SETTINGS
from prealign.recipe.section import Section
from prealign.recipe.sections import Recipe, TargetText, TokenizerSection

_SWITCHED_BY: dict[str, tuple[str, ...]] = {
    # section or setting: it has an effect only in arms where one of these is neither 0, false nor absent
    "align": ("align.steps",),
    "align.temperature": ("align.steps", "sustain.weight"),
    "align.bos": ("align.steps", "sustain.weight"),
    "align.senses": ("align.steps", "sustain.weight"),
    "align.neighbours": ("align.steps", "sustain.weight"),
    "align.micro_pairs": ("align.steps", "sustain.weight"),
    "switch": ("switch.ratio",),
    "lexicon.inflect": ("switch.ratio",),
    "sustain": ("sustain.weight",),
    "anchor": ("anchor.enabled",),
    "anchor.frequency_ratio": ("anchor.enabled", "next_word", "twin_mask", "twin_adam", "align.start"),
    "anchor.em_rounds": ("anchor.enabled", "next_word", "twin_mask", "twin_adam", "align.start"),
    "anchor.sources_per_row": ("anchor.enabled", "align.start"),
    "evaluate.dynamics_words": ("evaluate.dynamics",),
    "checkpoint.keep": ("checkpoint.every",),
    "checkpoint.minutes": ("checkpoint.every",),
    "evaluate.candidates": ("evaluate.dictionaries",),
    "evaluate.strict": ("evaluate.dictionaries",),
}


def ineffective(recipe: Recipe) -> list[str]:
    """Return a warning for each setting in the recipe that differs from its default and has no effect."""
    trained = {name: resolve_arm(recipe, name) for name in dict.fromkeys([*ARMS, *recipe.variants, *recipe.arms])}
    arms, warnings = [trained[name] for name in recipe.arms], []
    off = [key for key in OPTIONAL if getattr(recipe, key) is not None and not any(getattr(arm, key) for arm in arms)]
    for section in off:
        having = ", ".join(name for name, arm in trained.items() if getattr(arm, section))
        warnings.append(f"{section}: has no effect on the arms of this recipe, only on {having}")
    for key, value in _written(recipe):
        if key.split(".")[0] in off:
            continue
        needs = _SWITCHED_BY.get(key) or _SWITCHED_BY.get(key.split(".")[0], ())
        if all(_value(arm, key) != value for arm in arms):
            having = ", ".join(name for name, arm in trained.items() if _value(arm, key) == value)
            warnings.append(f"{key}: {value!r} has no effect on the arms of this recipe, only on {having}")
        elif needs and not any(_value(arm, need) for arm in arms for need in needs):
            warnings.append(f"{key}: {value!r} has no effect: no arm of this recipe has {' or '.join(needs)}")
    if recipe.baseline not in recipe.arms and ("baseline" in recipe.model_fields_set or len(recipe.arms) > 1):
        warnings.append(
            f"baseline: {recipe.baseline!r} is not among `arms`, so nothing is compared: add it, or `prealign merge` the "
            "results with results that have it"
        )
    if "method" in recipe.model_fields_set:
        warnings.append(f"method: {recipe.method!r} has no effect: each arm sets its method; name the method in `arms`")
    used = {arm.method for arm in arms}
    for name in recipe.methods:
        if name not in used:
            warnings.append(
                f"methods.{name}: has no effect: no arm of this recipe uses the method; add {name!r} to `arms`"
            )
    return [
        *warnings,
        *_unused(recipe),
        *_of_stage_1(recipe, arms),
        *_far_off(recipe),
        *_whole_batches(recipe, arms),
        *_same_arms(recipe.arms, trained),
    ]


def _value(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name, None)  # a section may be absent
    return value


def _unused(recipe: Recipe) -> Iterator[str]:
    vocabulary = TokenizerSection.model_fields["vocab_size"].default
    if recipe.tokenizer.path is not None and recipe.tokenizer.vocab_size != vocabulary:
        yield "tokenizer.vocab_size: has no effect: the vocabulary comes with the tokenizer of tokenizer.path"
    with_text = sum(not target.is_clone for target in recipe.targets)
    learned = with_text if recipe.tokenizer.path else 1 + with_text  # languages that tokens are learned on
    if recipe.tokenizer.temperature != 1.0 and recipe.tokenizer.path and not recipe.tokenizer.extend:
        yield "tokenizer.temperature: has no effect: the tokenizer of tokenizer.path learns no tokens"
    elif recipe.tokenizer.temperature != 1.0 and learned == 1:
        yield "tokenizer.temperature: has no effect: tokens are learned on one language"
    if recipe.tokenizer.revision and not recipe.tokenizer.path:
        yield "tokenizer.revision: has no effect: there is no tokenizer.path"
    if recipe.model.revision and not (recipe.model.pretrained or recipe.model.config):
        yield "model.revision: has no effect: there is no model.pretrained or model.config"
    for i, target in enumerate(recipe.targets):
        if not target.is_clone and target.share != TargetText.model_fields["share"].default:
            yield f"targets.{i}.share: {target.share} has no effect: only a clone takes a share"
        if target.is_clone and target.segmenter != TargetText.model_fields["segmenter"].default:
            yield f"targets.{i}.segmenter: {target.segmenter!r} has no effect: a clone has the words of its source"
    if recipe.model.tie_embeddings and recipe.model.preset is None:
        yield "model.tie_embeddings: has no effect: the config of model.config or model.pretrained decides it"
    languages = [recipe.source.language, *(target.language for target in recipe.targets)]
    if len(recipe.targets) == 1 and recipe.switch.targets:
        yield f"switch.targets: {recipe.switch.targets} has no effect: there is one target"
    if recipe.lexicon.case == "text" and all(target.is_clone for target in recipe.targets):
        yield "lexicon.case: 'text' has no effect: a clone is written as the source"
    if recipe.lexicon.normalise == "arabic" and not any(tag.split("-")[0] == "ar" for tag in languages):
        yield "lexicon.normalise: 'arabic' has no effect: no language of this recipe is Arabic"
    for i, file in enumerate(recipe.lexicon.files):
        if file.target.endswith(CLONE_SUFFIX):
            yield f"lexicon.files.{i}: {file.path!r} is not read: a clone's dictionary is made from the corpus"


def _of_stage_1(recipe: Recipe, arms: Sequence[Recipe]) -> Iterator[str]:
    aligned = [arm for arm in arms if arm.align.steps]
    if not aligned:
        return
    given = [key for key in ("lr_scheduler_type", "lr_scheduler_kwargs") if key in recipe.trainer]
    if given and any(arm.align.until is not None for arm in aligned):
        yield f"trainer.{given[0]}: has no effect on stage 1, whose schedule follows from align.until"
    if recipe.align.until is not None and all(arm.mixture.clone_in_source_ids for arm in aligned):
        yield f"align.until: {recipe.align.until:g} has no effect: a clone with the source's ids has the source's words"
    if recipe.align.start and all(arm.anchor.enabled for arm in aligned):
        yield f"align.start: {recipe.align.start!r} has no effect: anchored rows start as their translations' rows"
    if recipe.align.lm_every > 1 and not any(arm.align.lm_weight for arm in aligned):
        yield f"align.lm_every: {recipe.align.lm_every} has no effect: align.lm_weight is 0"


def _far_off(recipe: Recipe) -> Iterator[str]:
    """Warn of rates and batch sizes far from what trains the preset well."""
    preset = recipe.model.preset
    if preset is None:
        return
    for name, key in (("pretrain", "learning_rate"), ("pretrain", "batch_size"), ("align", "learning_rate")):
        section = getattr(recipe, name)
        found = PRESET_SETTINGS.get(preset, {}).get(name, {}).get(key, type(section).model_fields[key].default)
        value = getattr(section, key)
        if not found / FAR < value < found * FAR:
            yield f"{name}.{key}: {value:g} is far from {found:g}, which was found for the preset {preset}"


def _whole_batches(recipe: Recipe, arms: Sequence[Recipe]) -> Iterator[str]:
    aligned = [arm.align.pairs_per_batch for arm in arms if arm.align.steps]
    sizes = [*aligned, *(arm.sustain.groups for arm in arms if arm.sustain.weight)]
    micro = recipe.align.micro_pairs
    if micro is not None and sizes and micro >= max(sizes):
        yield f"align.micro_pairs: {micro} has no effect: no batch has more than {max(sizes)} pairs"


def _written(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of each section setting that the user set to another value than its default."""
    for name, section in recipe:
        for key, field in type(section).model_fields.items() if isinstance(section, Section) else ():
            value = getattr(section, key)
            if key in section.model_fields_set and value != field.get_default(call_default_factory=True):
                yield f"{name}.{key}", value


def _same_arms(names: Sequence[str], trained: Mapping[str, Recipe]) -> Iterator[str]:
    """Warn of arms that train exactly like another arm, in the recipe or not: different names promise a difference."""
    for i, name in enumerate(names):
        for other in trained:
            if other not in names[: i + 1] and trained[other] == trained[name]:
                yield f"arms.{i}: {name!r} trains exactly like {other!r} with the settings of this recipe"
