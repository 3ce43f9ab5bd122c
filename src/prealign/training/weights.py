"""Load the weights of a causal LM, all or nothing: no weight is made up, left out or repaired.

1. `AutoModelForCausalLM.from_pretrained` loads the folder or hub id and reports how its weights fit the config. It would
   start a missing weight at random. A weight that is tied to another one is not missing.
2. Weights that are missing, unexpected or of another shape, and weights with NaN or infinity, are named and refused.
3. A file that cannot be read is refused with the reason. Pickles are read as tensors alone: code in them never runs.

The Trainer loads a checkpoint of a stage itself, and only warns of weights that do not fit: `check_checkpoint` refuses them
before it resumes.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM

from prealign.errors import WeightsError

_SHOWN = 3
_REMEDY = (
    "Download or copy the model again; if a run wrote it, remove the folder and run the command again. A model without all "
    "its weights would train on random ones."
)


def load_causal_lm(path: str, **settings: Any) -> Any:
    """Return the causal LM of a folder or hub id in float32.

    settings: other arguments of `from_pretrained`, such as `attn_implementation`. Raises WeightsError, with the path, if the
    weights do not fit the config, are not finite, or cannot be read.
    """
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            **{"dtype": torch.float32} | settings,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported like missing weights, and refused below
        )
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: its weights are a pickle (.bin) with more than tensors. It is not read: that could run its code. "
            f"Write the weights as safetensors where they were made, `model.save_pretrained({str(path)!r})`, and remove "
            "the .bin."
        ) from None
    except (SafetensorError, EOFError) as error:
        raise WeightsError(f"{path}: a file of its weights is damaged ({error}). {_REMEDY}") from None
    except ImportError as error:
        raise WeightsError(f"{path}: cannot be loaded here: {error}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: cannot be loaded ({error}). {_REMEDY}") from None
    if faults := [*_misfits(report), *not_finite(model)]:
        raise WeightsError(f"{path}: {'; '.join(faults)}. {_REMEDY}")
    return model


def distinct(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights without other names of the same tensor (tied embeddings): the first name stays."""
    names: dict[Any, str] = {}
    for name, weight in weights.items():
        names.setdefault((weight.data_ptr(), weight.shape) if weight.numel() else name, name)
    return {name: weights[name] for name in names.values()}


def check_checkpoint(folder: Path, model: Any) -> None:
    """Raise WeightsError if the checkpoint of a stage has other weights than the model that is to resume from it."""
    file = folder / "model.safetensors"
    if not file.exists():  # sharded training writes other files, which its own loader checks
        return
    with safe_open(file, framework="pt") as stored:
        found = set(stored.keys())
    due = set(distinct(model.state_dict()))
    faults = [*_named("are missing", sorted(due - found)), *_named("are unexpected", sorted(found - due))]
    if faults:
        raise WeightsError(
            f"{folder}: {'; '.join(faults)}. The checkpoint is of another model or of another version of a library: "
            "use --force to train the stage anew."
        )


def not_finite(model: Any) -> list[str]:
    """Return a list with one sentence part that names the weights with NaN or infinity; empty if all are finite."""
    broken = [name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    return _named("are not finite (NaN or infinity)", broken)


def _misfits(report: dict[str, Any]) -> list[str]:
    """Return what the loading report says against the weights, a sentence part for each kind."""
    shapes = sorted(report["mismatched_keys"])
    other = [f"{name} (is {tuple(found)}, should be {tuple(due)})" for name, found, due in shapes]
    return [
        *_named("are missing", sorted(report["missing_keys"])),
        *_named("have another shape than the config says", other),
        *_named("are not in a model of this config", sorted(report["unexpected_keys"])),
        *report["error_msgs"],
    ]


def _named(what: str, names: Iterable[str]) -> list[str]:
    found = list(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [f"weights {what}: {', '.join(found[:_SHOWN])}{more}"] if found else []
