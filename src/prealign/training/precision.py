"""The device of this process and the precision of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


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
    """Return the precision of training: "bf16 autocast", "fp16 autocast" or "fp32".

    The default is bf16 if the device has it in hardware, else fp32. `bf16` and `fp16` in the recipe's `trainer`
    override it.
    """
    if trainer.get("fp16"):
        return "fp16 autocast"
    return "bf16 autocast" if trainer.get("bf16", bf16_available()) else "fp32"


def autocast(trainer: Mapping[str, Any], device: torch.device) -> torch.autocast:
    """Return the autocast context with the precision of training, for measuring a trained model."""
    name = precision(trainer)
    dtype = torch.float16 if name.startswith("fp16") else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=name != "fp32")
