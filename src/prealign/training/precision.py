"""Where this process computes, and in what precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def device() -> torch.device:
    """Return where this process trains and measures: its accelerator, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def bf16_available() -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def precision(trainer: Mapping[str, Any]) -> str:
    """Return what the stages compute in: "bf16 autocast" where the processor has it, unless the recipe says otherwise."""
    if trainer.get("fp16"):
        return "fp16 autocast"
    return "bf16 autocast" if trainer.get("bf16", bf16_available()) else "fp32"


def autocast(trainer: Mapping[str, Any], device: torch.device) -> torch.autocast:
    """Return the context of a forward pass in the precision of training, for measuring what was trained."""
    name = precision(trainer)
    dtype = torch.float16 if name.startswith("fp16") else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=name != "fp32")
