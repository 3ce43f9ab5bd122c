"""What `torchrun` and `accelerate launch` tell a process: its environment, read without importing torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_LAUNCHED = (
    *("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_"),
    *("ACCELERATE_", "FSDP_"),
)
"""How the names of variables begin that a launcher sets."""


def count() -> int:
    """Return how many processes run this together, one a device; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE") or "1")  # an empty one is none


def rank() -> int:
    """Return the number of this process among them."""
    return int(os.environ.get("RANK") or "0")


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def shards_weights() -> bool:
    """Whether `accelerate launch` was told to spread weights over devices (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def fsdp_version() -> int:
    """Return the version of FSDP that `accelerate launch` was told to use; it takes 1 if it was told none."""
    return int(os.environ.get("FSDP_VERSION") or "1")


def deepspeed_config() -> str | None:
    """Return the file with settings of DeepSpeed that `accelerate launch` was given."""
    return os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE") if _uses_deepspeed() else None


def zero_stage() -> int:
    """Return the stage of DeepSpeed that `accelerate launch` was told to use; 0 for none, or for what its file says."""
    if not _uses_deepspeed() or deepspeed_config() not in (None, "none"):
        return 0
    return int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") or "2")


def _uses_deepspeed() -> bool:
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


@contextmanager
def alone() -> Iterator[None]:
    """Let processes that are started here be launched by no one, with one device of those that are visible."""
    kept = dict(os.environ)
    local, visible = int(os.environ.get("LOCAL_RANK") or "0"), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = visible.split(",") if visible else []
    try:
        for name in kept:
            if name.startswith(_LAUNCHED):
                del os.environ[name]
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[local] if local < len(devices) else str(local)
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
