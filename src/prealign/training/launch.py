"""The environment variables of `torchrun` and `accelerate launch`, read without importing torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_LAUNCHED = (
    *("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_"),
    *("ACCELERATE_", "FSDP_"),
)
"""Prefixes of the environment variables that launchers set."""


def count() -> int:
    """Return the number of processes of this run, one per device; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE") or "1")  # an empty variable counts as unset


def rank() -> int:
    """Return the rank of this process: 0 .. `count()` - 1."""
    return int(os.environ.get("RANK") or "0")


def is_first() -> bool:
    """Whether this is rank 0, the process that writes and prints."""
    return rank() == 0


def shards_weights() -> bool:
    """Whether `accelerate launch` is configured to shard weights over devices (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def fsdp_version() -> int:
    """Return the FSDP version that `accelerate launch` uses; 1 if none is configured."""
    return int(os.environ.get("FSDP_VERSION") or "1")


def deepspeed_config() -> str | None:
    """Return the DeepSpeed configuration file of `accelerate launch`; None without one."""
    return os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE") if _uses_deepspeed() else None


def zero_stage() -> int:
    """Return the ZeRO stage that `accelerate launch` is configured with; 0 without DeepSpeed or with a DeepSpeed file."""
    if not _uses_deepspeed() or deepspeed_config() not in (None, "none"):
        return 0
    return int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") or "2")


def _uses_deepspeed() -> bool:
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


@contextmanager
def alone() -> Iterator[None]:
    """Within the context, start child processes without a launcher's variables, on the one device of this process."""
    saved = dict(os.environ)
    local, visible = int(os.environ.get("LOCAL_RANK") or "0"), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = visible.split(",") if visible else []
    try:
        for name in saved:
            if name.startswith(_LAUNCHED):
                del os.environ[name]
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[local] if local < len(devices) else str(local)
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
