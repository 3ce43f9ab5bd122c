"""The device of this process and the precision of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import DistributedType

from prealign.errors import RecipeError


def device() -> torch.device:
    """Return the device for training and measuring: the accelerator of this process, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def bf16_available() -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def precision(trainer: Mapping[str, Any]) -> str:
    """Return the precision of training: "bf16 autocast", "fp16 autocast", "fp32" or "fp32 with TF32 products".

    The default is bf16 if the device has it in hardware, else fp32. `bf16`, `fp16` and `tf32` in the recipe's `trainer`
    override it.
    """
    if trainer.get("fp16"):
        return "fp16 autocast"
    if trainer.get("bf16", bf16_available()):
        return "bf16 autocast"
    return "fp32 with TF32 products" if trainer.get("tf32") else "fp32"


def check_precision(accelerator: Any, trainer: Any) -> None:
    """Raise RecipeError unless Accelerate trains in the precision of these `TrainingArguments`.

    Accelerate trains in float32, without a word, where it has no autocast for the device.
    """
    asked = "fp16" if trainer.fp16 else "bf16" if trainer.bf16 else "no"
    sharded_by_deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED  # converts the weights itself
    done = accelerator.mixed_precision if accelerator.native_amp or sharded_by_deepspeed else "no"
    if done != asked:
        names = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}
        raise RecipeError(
            f"trainer: this device would train in {names.get(done, done)}, and the recipe says {names[asked]}. Remove "
            "trainer.fp16 and trainer.bf16, or train on a device that has it."
        )


def measure_in_float32() -> None:
    """Turn TF32 off after training with it: states are measured in float32, whichever process measures them."""
    torch.backends.cuda.matmul.allow_tf32 = False


def autocast(trainer: Mapping[str, Any], device: torch.device) -> torch.autocast:
    """Return the autocast context with the precision of training, for measuring a trained model."""
    name = precision(trainer)
    dtype = torch.float16 if name.startswith("fp16") else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=name.endswith("autocast"))
