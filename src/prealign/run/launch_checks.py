"""Checks of a recipe against its launcher and devices, before any work.

1. Refuse arms that cannot be trained with this recipe.
2. Refuse one process on a machine with several visible devices, and liger-kernel, float16 or flash attention without
   their device.
3. Refuse sharding whose weights could not be saved whole: FSDP 1 and DeepSpeed stage 3.
4. Refuse settings that several processes or sharded weights do not support.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available

from prealign.errors import RecipeError
from prealign.recipe.arms import resolve_arm
from prealign.recipe.sections import Recipe
from prealign.recipe.trainer import settings_in
from prealign.run.planned import check_phases, planned_phases
from prealign.training import launch
from prealign.training.forward import check_fused_loss, fused_loss
from prealign.training.precision import device


def check_launch(recipe: Recipe) -> None:
    """Raise RecipeError if the recipe cannot run on these processes and devices."""
    check_phases(recipe)
    if launch.count() == 1 and (devices := torch.cuda.device_count()) > 1:
        raise RecipeError(
            f"here are {devices} devices, and one process. Start one process per device: "
            f"`torchrun --nproc-per-node {devices} -m prealign run RECIPE`, or make one device visible: "
            "CUDA_VISIBLE_DEVICES=0."
        )
    for arm in recipe.arms if fused_loss(recipe.trainer) else ():
        for phase in planned_phases(resolve_arm(recipe, arm)):
            check_fused_loss([term.objective for term in phase.terms], recipe.trainer)
    if fused_loss(recipe.trainer) and not (is_liger_kernel_available() and torch.cuda.is_available()):
        raise RecipeError(
            "trainer.use_liger_kernel needs a GPU and a package: `pip install 'prealign[liger]'`, or leave it out."
        )
    _check_numbers(recipe)
    _check_sharding(recipe)
    if launch.count() > 1 and recipe.jobs > 1:
        raise RecipeError(
            f"jobs is {recipe.jobs}, and {launch.count()} processes were launched: under a launcher all processes train one "
            "arm after another. Add jobs=1, or run without a launcher."
        )
    if launch.shards_weights() or recipe.trainer.get("fsdp"):
        for arm in recipe.arms:
            for phase in planned_phases(resolve_arm(recipe, arm)):
                if phase.unshardable:
                    raise RecipeError(
                        f"the arm {arm!r} {phase.unshardable}. Leave it out, or launch with torchrun or the "
                        "configuration ddp."
                    )
                if phase.ends_early:
                    raise RecipeError(
                        f"align.until (arm {arm!r}) needs whole weights while stage 1 trains, and FSDP spreads them over "
                        "devices. Leave it out, or launch with torchrun or the configuration ddp."
                    )
        if recipe.evaluate.dynamics:
            raise RecipeError(
                "evaluate.dynamics needs whole weights, and FSDP spreads them over devices. Set evaluate.dynamics=0, "
                "or launch with torchrun or the configuration ddp."
            )


def _check_numbers(recipe: Recipe) -> None:
    """Raise RecipeError for a precision or an attention that these devices do not have."""
    if recipe.trainer.get("fp16") and device().type == "cpu":
        raise RecipeError(
            "trainer.fp16: a CPU does not train in float16. Remove it; trainer.bf16=true trains in bfloat16 on any CPU."
        )
    flash = any(resolve_arm(recipe, arm).model.attention == "flash_attention_2" for arm in recipe.arms)
    if flash and not is_flash_attn_2_available():
        raise RecipeError(
            "model.attention: 'flash_attention_2' needs a GPU and the package flash-attn. Install it, or set sdpa."
        )


def _check_sharding(recipe: Recipe) -> None:
    """Raise RecipeError for sharding that `ranks.gather_weights` cannot undo: the weights would be lost."""
    in_recipe = recipe.trainer.get("fsdp")
    if launch.shards_weights() or in_recipe:
        config = settings_in(recipe.trainer.get("fsdp_config")) if in_recipe else {}
        version = config.get("version", config.get("fsdp_version", 2)) if in_recipe else launch.fsdp_version()
        if int(version) != 2:
            raise RecipeError(
                f"FSDP of version {version} saves shards as if they were whole. Launch with `prealign accelerate-config "
                "fsdp2`, or set fsdp_version (in a recipe: trainer.fsdp_config.version) to 2."
            )
    configs = settings_in(recipe.trainer.get("deepspeed")), settings_in(launch.deepspeed_config())
    if 3 in (*map(_zero_stage, configs), launch.zero_stage()):
        raise RecipeError(
            "DeepSpeed of stage 3 spreads weights over devices, and their shards would be saved as if they were whole. "
            "Launch with `prealign accelerate-config fsdp2`, or with stage 2: `prealign accelerate-config deepspeed_zero2`."
        )


def _zero_stage(config: dict[str, Any]) -> int:
    return int(config.get("zero_optimization", {}).get("stage", 0))
