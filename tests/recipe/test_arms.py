from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prealign.errors import RecipeError
from prealign.recipe.arms import ARMS, PAPER, arm_settings, resolve_arm, with_settings
from prealign.recipe.sections import Recipe


def recipe(**sections: Any) -> Recipe:
    base = {"name": "test", "source": {"text": ["en.txt"]}, "targets": [{"language": "en-clone"}]}
    return Recipe.model_validate(base | sections)


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted keys."""
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in flat(inner, f"{at}{name}.").items()}
    return {at[:-1]: value}


def difference(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    a, b = flat(one.model_dump()), flat(other.model_dump())
    return {key: (a.get(key), b.get(key)) for key in {**a, **b} if a.get(key) != b.get(key)}


# Written from the ablations of the paper's argument, not from ARMS: what each arm changes in the paper's PreAlign.
NO_SWITCH_NO_ALIGN = {"align.steps": 0, "switch.ratio": 0}
NEXT_WORD = {
    "next_word.weight": 0.3,
    "next_word.level": "token",
    "next_word.translations": 4,
    "next_word.symmetric": True,
    "next_word.share": 1.0,
    "next_word.schedule": [],
}
TWIN_MASK = {"twin_mask.gamma": 0.1, "twin_mask.twins": 8, "twin_mask.schedule": []}
EXPECTED: dict[str, dict[str, Any]] = {
    "joint": NO_SWITCH_NO_ALIGN,
    "joint_vanilla_cs": {"align.steps": 0, "switch.mode": "vanilla"},
    "joint_input_cs": {"align.steps": 0},
    "prealign": {},
    "prealign_no_cs": {"switch.ratio": 0},
    "prealign_no_lm": {"align.lm_weight": 0},
    "prealign_embedding": {"align.layers": "embedding"},
    "prealign_output": {"align.layers": "output"},
    "prealign_vanilla_cs": {"switch.mode": "vanilla"},
    "prealign_sustained": {"sustain.weight": 0.1},
    "prealign_anchored": {"anchor.enabled": True},
    "anchored": {**NO_SWITCH_NO_ALIGN, "anchor.enabled": True},
    "prealign_sustained_anchored": {"sustain.weight": 0.1, "anchor.enabled": True},
    "joint_next_word": {**NO_SWITCH_NO_ALIGN, **NEXT_WORD},
    "joint_twin_mask": {**NO_SWITCH_NO_ALIGN, **TWIN_MASK},
    "joint_twin_adam": {**NO_SWITCH_NO_ALIGN, "twin_adam": {}},
    "merged_ids": {**NO_SWITCH_NO_ALIGN, "mixture.clone_ids": "merged"},
    "target_only": {**NO_SWITCH_NO_ALIGN, "mixture.languages": "targets"},
}


def test_the_arms_are_those_of_the_contract() -> None:
    assert set(ARMS) == set(EXPECTED)
    assert all(name == arm.name and arm.description for name, arm in ARMS.items())
    assert len({arm.description for arm in ARMS.values()}) == len(ARMS)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_arm_differs_from_prealign_in_exactly_its_settings(name: str) -> None:
    default = recipe()
    changes = difference(resolve_arm(default, "prealign"), resolve_arm(default, name))
    assert {key: after for key, (_, after) in changes.items()} == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("anchored", {"anchor.enabled"}),
        ("merged_ids", {"mixture.clone_ids"}),
        ("target_only", {"mixture.languages"}),
        ("joint_input_cs", {"switch.ratio"}),
        ("joint_vanilla_cs", {"switch.ratio", "switch.mode"}),
        ("prealign_no_cs", {"align.steps"}),
    ],
)
def test_an_arm_differs_from_joint_in_exactly_its_settings(name: str, keys: set[str]) -> None:
    assert set(difference(resolve_arm(recipe(), "joint"), resolve_arm(recipe(), name))) == keys


def test_prealign_is_the_defaults_of_the_recipe() -> None:
    assert resolve_arm(recipe(), "prealign") == recipe()


LOADED = {
    "align": {"layers": "output", "steps": 70, "lm_weight": 0.5, "temperature": 0.2},
    "switch": {"mode": "vanilla", "ratio": 0.2},
    "sustain": {"weight": 0.3, "groups": 8},
    "anchor": {"enabled": True, "em_rounds": 5},
    "mixture": {"languages": "targets", "clone_ids": "merged"},
    "method": "pull",
}


def test_prealign_stays_the_papers_in_a_recipe_that_sets_otherwise() -> None:
    loaded = recipe(**LOADED, next_word={"weight": 0.5}, twin_mask={}, twin_adam={})
    arm = resolve_arm(loaded, "prealign")
    assert {key if key in PAPER else key.split(".")[0] for key in difference(loaded, arm)} == set(PAPER)
    assert arm.next_word is None and arm.twin_mask is None and arm.twin_adam is None
    assert (arm.align.layers, arm.switch.mode, arm.sustain.weight) == ("all", "input_only", 0)
    assert (arm.align.steps, arm.align.lm_weight, arm.switch.ratio, arm.sustain.groups) == (70, 0.5, 0.2, 8)


@pytest.mark.parametrize("name", [name for name in EXPECTED if "sustained" not in name])
def test_arms_differ_in_the_same_settings_in_every_recipe(name: str) -> None:
    loaded = recipe(**LOADED)
    changes = difference(resolve_arm(loaded, "prealign"), resolve_arm(loaded, name))
    assert {key: after for key, (_, after) in changes.items()} == EXPECTED[name]


@pytest.mark.parametrize("name", ["prealign_sustained", "prealign_sustained_anchored"])
def test_sustained_arms_use_the_recipes_weight_if_it_has_one(name: str) -> None:
    assert resolve_arm(recipe(), name).sustain.weight == 0.1
    assert resolve_arm(recipe(sustain={"weight": 0.3}), name).sustain.weight == 0.3
    assert resolve_arm(recipe(sustain={"weight": 0.0}), name).sustain.weight == 0.1


def test_optional_sections_are_the_recipes_in_arms_that_turn_them_on() -> None:
    own = recipe(
        next_word={"weight": 0.5, "level": "word"},
        variants={
            "both": {"extends": "joint_next_word", "set": {"twin_mask.gamma": 0.0}},
            "kept": {"extends": "prealign_sustained_anchored", "set": {"next_word.weight": 0.2}},
            "word": {"extends": "joint", "set": {"next_word.share": 0.5}},
        },
    )
    found = {name: resolve_arm(own, name) for name in ("joint", "joint_next_word", "joint_twin_mask", *own.variants)}
    weights = {name: arm.next_word and (arm.next_word.weight, arm.next_word.level) for name, arm in found.items()}
    assert weights == {
        "joint": None,
        "joint_next_word": (0.5, "word"),
        "joint_twin_mask": None,
        "both": (0.5, "word"),
        "kept": (0.2, "word"),
        "word": (0.5, "word"),
    }
    gammas = {name: arm.twin_mask.gamma for name, arm in found.items() if arm.twin_mask}
    assert gammas == {"joint_twin_mask": 0.1, "both": 0.0}
    assert found["kept"].anchor.enabled and found["kept"].sustain.weight == 0.1
    assert own.variants["both"].set == {"twin_mask.gamma": 0.0} and ARMS["joint_twin_mask"].set["twin_mask"] == {}


@settings(deadline=None)
@given(name=st.sampled_from(sorted(EXPECTED)), ratio=st.floats(0, 1), weight=st.floats(0, 10))
def test_resolving_an_arm_twice_changes_nothing_more(name: str, ratio: float, weight: float) -> None:
    arm = resolve_arm(recipe(switch={"ratio": ratio}, sustain={"weight": weight}), name)
    assert resolve_arm(arm, name) == arm


def test_a_variant_is_its_arm_with_its_settings() -> None:
    own = recipe(variants={"strong": {"extends": "prealign_sustained", "set": {"sustain.weight": 1.0}}})
    assert difference(resolve_arm(own, "prealign_sustained"), resolve_arm(own, "strong")) == {
        "sustain.weight": (0.1, 1.0)
    }


def test_variants_chain_and_the_last_one_wins() -> None:
    own = recipe(
        variants={
            "a": {"extends": "joint", "set": {"switch.ratio": 0.1, "switch.mode": "vanilla"}},
            "b": {"extends": "a", "set": {"switch.ratio": 0.3}},
            "c": {"extends": "b", "set": {"targets.0.share": 0.5, "trainer.report_to": "none"}},
        }
    )
    arm = resolve_arm(own, "c")
    assert (arm.align.steps, arm.switch.ratio, arm.switch.mode) == (0, 0.3, "vanilla")
    assert (arm.targets[0].share, arm.trainer) == (0.5, {"report_to": "none"})
    assert arm_settings(own, "b")["switch.ratio"] == 0.3
    assert resolve_arm(own, "a").switch.ratio == 0.1


def test_unknown_arm() -> None:
    with pytest.raises(RecipeError, match="unknown arm 'prealing'; did you mean 'prealign'"):
        resolve_arm(recipe(), "prealing")


def test_a_variant_that_extends_itself() -> None:
    loop = {"a": {"extends": "b", "set": {}}, "b": {"extends": "a", "set": {}}}
    with pytest.raises(RecipeError, match="extends itself: a -> b -> a"):
        resolve_arm(recipe(variants=loop), "a")


def test_with_settings_replaces_and_validates() -> None:
    before = recipe(targets=[{"language": "en-clone"}, {"language": "de", "text": ["de.txt"]}])
    after = with_settings(before, {"targets.1.text": ["a", "b"], "pretrain.steps": "7", "split.seed": 3})
    assert difference(before, after) == {
        "targets": (before.model_dump()["targets"], after.model_dump()["targets"]),
        "pretrain.steps": (1000, 7),
        "split.seed": (0, 3),
    }
    assert after.targets[1].text == ["a", "b"]
    assert before.pretrain.steps == 1000


def test_with_settings_keeps_what_the_user_wrote() -> None:
    after = with_settings(recipe(switch={"ratio": 0.2}), {"align.steps": 3})
    assert after.switch.model_fields_set == {"ratio"}
    assert after.align.model_fields_set == {"steps"}
    assert "pretrain" not in after.model_fields_set


def test_with_settings_does_not_share_data_with_the_original() -> None:
    before = recipe(trainer={"fsdp_config": {"min_num_params": 1}})
    with_settings(before, {"trainer.fsdp_config.min_num_params": 2})
    assert before.trainer == {"fsdp_config": {"min_num_params": 1}}


def test_with_settings_reports_all_problems() -> None:
    with pytest.raises(RecipeError) as caught:
        with_settings(recipe(), {"swich.ratio": 0.1, "align.steps": -1})
    assert str(caught.value).splitlines() == [
        "align.steps: -1 is not at least 0",
        "swich: unknown key; did you mean 'switch'?",
    ]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("targets.1.share", "'1' is not an entry of the list: it has entries 0 to 0"),
        ("targets.first.share", "'first' is not an entry of the list"),
        ("name.x", "'name' has no settings inside: it is 'test'"),
    ],
)
def test_with_settings_refuses_keys_that_lead_nowhere(key: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_settings(recipe(), {key: 0.1})
