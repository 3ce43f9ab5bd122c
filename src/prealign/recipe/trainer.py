"""The recipe's `trainer`: arguments for `transformers.TrainingArguments`, and the arguments that the recipe decides."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prealign.files import read_json
from prealign.recipe.sections import Recipe
from prealign.recipe.validate import Key, Problem, did_you_mean

_SECRET = re.compile(r"(?:.*_)?(?:token|api_?key|password|passwd|secret)", re.IGNORECASE)
"""Keys whose text values are secrets."""
_SECRET_VALUE = re.compile(r"((?:token|api_?key|password|passwd|secret)['\"]?\s*[:=]\s*)[^\s,}]+", re.IGNORECASE)
_FILES = ("deepspeed", "fsdp_config", "accelerator_config")
"""Arguments that may name a JSON file."""


_NO_RESULT = (
    *("ddp_timeout", "disable_tqdm", "report_to", "run_name", "project", "trackio_", "log", "push_to_hub", "hub_"),
    *(f"dataloader_{name}" for name in ("num_workers", "pin_memory", "prefetch_factor", "persistent_workers")),
)
"""Prefixes of arguments for logging and data loading, which change neither weights nor measurements."""


def settings_in(value: Any) -> dict[str, Any]:
    """Return a dict of settings, or read it from the JSON file named by `value`. Anything else gives an empty dict.

    The Trainer rejects wrong values itself.
    """
    if isinstance(value, str) and Path(value).is_file():
        value = read_json(Path(value))
    return value if isinstance(value, dict) else {}


def deciding(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that results depend on, for fingerprints. A file is replaced by its content."""
    return {
        name: (name in _FILES and settings_in(value)) or value
        for name, value in trainer.items()
        if not name.startswith(_NO_RESULT)
    }


def secrets_in(value: Any, key: Key = ()) -> Iterator[Key]:
    """Yield the key of each secret in nested settings. A recipe is copied into the run folder, results and report."""
    if isinstance(value, dict):
        for name, own in value.items():
            if isinstance(own, str) and own and _SECRET.fullmatch(str(name)):
                yield (*key, name)
            yield from secrets_in(own, (*key, name))
    elif isinstance(value, list):
        for i, own in enumerate(value):
            yield from secrets_in(own, (*key, i))


def masked(override: str) -> str:
    """Return an override for a message, without the values of secrets."""
    return _SECRET_VALUE.sub(r"\1***", override)


_SET_BY_PROJECT = {
    # fields of TrainingArguments: the advice for the user
    ("max_steps", "num_train_epochs"): "stages are counted in steps; set pretrain.steps or align.steps",
    ("per_device_train_batch_size", "auto_find_batch_size"): "set pretrain.batch_size, align.pairs_per_batch",
    ("gradient_accumulation_steps",): "in-batch negatives are not additive, so accumulated batches are "
    "not one bigger batch; set pretrain.batch_size or align.pairs_per_batch",
    ("per_device_eval_batch_size",): "set evaluate.batch_size",
    ("learning_rate",): "set pretrain.learning_rate or align.learning_rate",
    ("weight_decay",): "set pretrain.weight_decay or align.weight_decay",
    ("warmup_ratio", "warmup_steps"): "set pretrain.warmup or align.warmup, each a share of the steps",
    ("output_dir",): "choose the run folder with --out",
    ("seed", "data_seed", "train_sampling_strategy"): "the recipe's `seeds` decide it",
    ("eval_strategy", "eval_steps", "eval_on_start"): "set pretrain.validations",
    ("load_best_model_at_end",): "a stage ends with the weights of its last step, and its budget counts all steps",
    ("save_strategy", "save_steps", "save_total_limit"): "set checkpoint.every and checkpoint.keep",
    (
        *("save_only_model", "resume_from_checkpoint", "ignore_data_skip", "restore_callback_states_from_checkpoint"),
        "enable_jit_checkpoint",
    ): "a stage that was killed resumes automatically, with the same final weights; set checkpoint.every",
    ("logging_nan_inf_filter",): "it hides losses that are not finite",
    (
        "bf16_full_eval",
        "fp16_full_eval",
    ): "validation has the precision of training",
    ("use_cpu",): "hide devices from all stages alike, with CUDA_VISIBLE_DEVICES=''",
    ("dataloader_drop_last",): "validation would leave out its last blocks",
    ("remove_unused_columns", "label_names"): "the columns of a batch are fixed",
    ("liger_kernel_config",): "use_liger_kernel turns on the fused loss only, no other kernels",
}


_NO_SECRET = (
    "is a secret, which every reader of the run folder, results and report would see: remove it, log in by "
    "`hf auth login`, or set the environment variable of the service, such as HF_TOKEN"
)


def _trainer(recipe: Recipe) -> Iterator[Problem]:
    if not recipe.trainer:
        return
    from transformers import TrainingArguments  # imported here: it takes seconds, and few recipes set `trainer`

    ours = {name: instead for names, instead in _SET_BY_PROJECT.items() for name in names}
    fields = {field.name for field in dataclasses.fields(TrainingArguments)} | ours.keys()
    for name in recipe.trainer:
        if name in ours:
            yield ("trainer", name), f"cannot be set here: {ours[name]}"
        elif name not in fields:
            yield ("trainer", name), f"not a field of TrainingArguments{did_you_mean(name, sorted(fields))}"
    read = {name: (name in _FILES and settings_in(value)) or value for name, value in recipe.trainer.items()}
    yield from ((("trainer", *key), _NO_SECRET) for key in secrets_in(read))
    yield from _report_to(recipe.trainer.get("report_to"))


def _report_to(setting: Any) -> Iterator[Problem]:
    """Yield a problem for each service of `report_to` that is unknown or whose package is not installed."""
    if setting is None:
        return
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    names = setting if isinstance(setting, list) else [setting]
    known = [*INTEGRATION_TO_CALLBACK, "all", "none"]
    for name in names:
        if name not in known:
            yield ("trainer", "report_to"), f"{name!r} is unknown{did_you_mean(name, known)}"
        elif name not in ("all", "none", *get_available_reporting_integrations()):
            yield (
                ("trainer", "report_to"),
                f"the package of {name!r} is not installed: install it, or leave the setting out",
            )
