from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prealign.errors import RecipeError
from prealign.recipe.arms import resolve_arm
from prealign.recipe.checks import contradictions
from prealign.recipe.effects import ineffective
from prealign.recipe.file import dump_recipe, load_recipe
from prealign.recipe.sections import ModelSection, Recipe
from prealign.training.models import PRESETS

RECIPES = Path(__file__).parents[2] / "recipes"
DEMO = """\
name: demo
arms: [joint, prealign]
source:
  text: [en.txt]
targets:
  - language: en-clone
    share: 0.1
switch:
  ratio: 0.1
pretrain:
  steps: 20
"""


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return write(tmp_path, DEMO)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "demo.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def errors(path: Path, *overrides: str) -> list[str]:
    """Load a recipe that must fail; return the lines of the error with the folder left out."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def swapped(folder: Path, old: str, new: str) -> Path:
    assert old in DEMO
    return write(folder, DEMO.replace(old, new))


def extended(folder: Path, more: str) -> Path:
    return write(folder, DEMO + more)


def test_a_recipe_is_read(demo: Path) -> None:
    recipe = load_recipe(demo)
    assert recipe.name == "demo"
    assert (recipe.switch.ratio, recipe.targets[0].share, recipe.source.text) == (0.1, 0.1, ["en.txt"])
    assert recipe.switch.model_fields_set == {"ratio"}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_project_are_valid_and_have_no_idle_setting(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert not [warning for warning in ineffective(recipe) if "no effect" in warning]


def test_xnli_on_the_clone_asks_the_models_of_en_clone() -> None:
    one, other = (load_recipe(RECIPES / f"{name}.yaml").model_dump() for name in ("en-clone", "en-clone-xnli"))
    assert {key for key in one if one[key] != other[key]} == {"name", "arms", "transfer"}
    assert set(other["arms"]) <= set(one["arms"])


def test_all_errors_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
name: demo
arms: [joint, prealing]
source:
  text: en.txt
targets:
  - language: en-clone
    share: 5
switch:
  ratio: 1.5
  mode: vanila
pretrain:
  steps: 20
  stepz: 30
  steps: 40
evaluate: {stride: 500}
"""
    assert errors(write(tmp_path, text), "tokenizer.vocab=3", "seeds=[1, 2, 1]") == [
        "demo.yaml:2: arms.1: unknown arm 'prealing'; did you mean 'prealign'?",
        "demo.yaml:4: source.text: 'en.txt' is not a list: write it in [brackets], or one '- entry' a line",
        "demo.yaml:7: targets.0.share: 5 is not in 0..1: it is a share, 5 % is written 0.05",
        "demo.yaml:9: switch.ratio: 1.5 is not in 0..1: it is a share, 5 % is written 0.05",
        "demo.yaml:10: switch.mode: 'vanila' is not one of the allowed values; did you mean 'vanilla'?",
        "demo.yaml:13: pretrain.stepz: unknown key; did you mean 'steps'?",
        "demo.yaml:14: pretrain.steps: is set twice, first in line 12: remove one",
        "override 'tokenizer.vocab=3': tokenizer.vocab: unknown key; did you mean 'vocab_size'?",
        "override 'seeds=[1, 2, 1]': seeds.2: 1 is named twice",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pretrain.steps=0", "0 is not at least 1"),
        ("align.temperature=0", "0 is not at least 0.001 and at most 1000"),
        ("align.learning_rate=.inf", "inf is not a finite number"),
        ("lexicon.coverage=2", "2 is not above 0 and at most 1"),
        ("evaluate.stride=0", "0 is not at least 1"),
        ("pretrain.steps=many", "'many' is not a whole number"),
        ("pretrain.steps=1.5", "1.5 is not a whole number"),
        ("switch.ratio=often", "'often' is not a number"),
        ("anchor.enabled=perhaps", "'perhaps' is not true or false"),
        ("name=12", "12 is not text: put it in quotes"),
        ("name=a b", "'a b' is not a name: use only letters, digits, _ . and -"),
        ("switch=0.1", "0.1 is not a section: write one indented 'key: value' a line"),
        ("trainer=fast", "'fast' is not a section: write one indented 'key: value' a line"),
        ("switch=", "is empty: give it a value, or remove the line"),
        ("arms=[]", "is an empty list: it needs at least one entry"),
        (
            "align.layers=embeddings",
            "'embeddings' is not one of the allowed values; did you mean 'embedding'?",
        ),
        ("align.layers=7", "7 is not one of the allowed values; known: all, embedding, blocks, lower_blocks, output"),
        ("model.preset=nanno", "'nanno' is not one of the allowed values; did you mean 'nano'?"),
        ("align.depth=7", "unknown key; known: steps, until, pairs_per_batch, micro_pairs, senses, neighbours, "),
    ],
)
def test_a_wrong_value_is_said_in_plain_words(demo: Path, override: str, message: str) -> None:
    key = override.partition("=")[0]
    (line,) = errors(demo, override)
    assert line.startswith(f"override {override!r}: {key}: {message}")


def test_a_missing_key_stands_at_its_section(tmp_path: Path) -> None:
    path = swapped(tmp_path, "  text: [en.txt]", "  language: en")
    assert errors(path) == ["demo.yaml:3: source.text: is missing"]
    path = swapped(tmp_path, "source:\n  text: [en.txt]\n", "")
    assert errors(path) == ["demo.yaml:1: source: is missing"]


def test_a_real_target_without_text(tmp_path: Path) -> None:
    assert errors(swapped(tmp_path, "en-clone", "de")) == ["demo.yaml:6: targets.0: `text` is missing"]


def test_the_line_of_an_entry_in_a_list(tmp_path: Path) -> None:
    path = swapped(tmp_path, "arms: [joint, prealign]", "arms:\n  - joint\n  - jont")
    assert errors(path) == ["demo.yaml:4: arms.1: unknown arm 'jont'; did you mean 'joint'?"]


# What is no recipe at all


def test_a_missing_file(tmp_path: Path) -> None:
    assert errors(tmp_path / "no.yaml") == ["no.yaml: cannot be read: No such file or directory"]
    assert "cannot be read: it is a folder, not a file" in errors(tmp_path)[0]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: demo\narms: [joint\n", 3, "this is not YAML: expected ',' or ']'"),
        ("name: demo\n  arms: 3\n", 2, "this is not YAML: mapping values are not allowed here"),
        ("name: demo\n---\nname: other\n", 2, "this is not YAML: but found another document"),
        ("name: demo\nseeds: !!python/tuple [1]\n", 2, "this is not YAML: could not determine a constructor"),
        ("name: demo\ntrainer: &x {inner: *x}\n", 2, "this is not YAML: a value that contains itself"),
        ("name: demo\n? [a]\n: 1\n", 2, "this is not YAML: found unhashable key"),
        ("name: \0\n", 1, "this is not YAML: unacceptable character"),
        ("seeds: !!int many\n", 1, "this is not YAML: invalid literal for int()"),
        ("- name: demo\n", 1, "no recipe"),
        ("demo\n", 1, "no recipe"),
        ("", 1, "no recipe"),
        ("# all commented out\n", 1, "no recipe"),
        (b"name: demo\n# caf\xe9\n", 2, "byte 0xe9 is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str | bytes, line: int, message: str) -> None:
    (found,) = errors(write(tmp_path, text))
    assert found.startswith(f"demo.yaml:{line}: {message}")


def aliases(count: int) -> str:
    """Return YAML of nine aliases a line, which stand for 9 ** count values."""
    lines = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]" for i in range(count)]
    return "\n".join(lines) + "\n"


def test_aliases_cannot_stand_for_more_values_than_memory_holds(tmp_path: Path) -> None:
    text = DEMO + aliases(20)
    (found,) = errors(write(tmp_path, text))
    assert found.startswith("demo.yaml:17: a5: more than 100,000 values. Aliases")
    (found,) = errors(write(tmp_path, DEMO), "trainer={" + ", ".join(aliases(20).splitlines()) + "}")
    assert "trainer: a5: more than 100,000 values. Aliases" in found
    few = load_recipe(write(tmp_path, DEMO + "trainer: {fsdp_config: &a {x: 1}, accelerator_config: *a}\n"))
    assert few.trainer == {"fsdp_config": {"x": 1}, "accelerator_config": {"x": 1}}


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "seeds: " + "[" * 51 + "]" * 51])
def test_deep_nesting_is_one_message(tmp_path: Path, text: str) -> None:
    assert errors(write(tmp_path, text)) == ["demo.yaml:1: lists or sections are nested too deeply: write fewer levels"]
    assert "nested too deeply" in errors(write(tmp_path, DEMO), f"trainer={text}")[0]


def test_keys_set_twice(tmp_path: Path) -> None:
    text = DEMO + "switch: {ratio: 0.2}\ntrainer: {fsdp_config: {a: 1, b: 2, a: 3}}\n"
    assert errors(write(tmp_path, text)) == [
        "demo.yaml:12: switch: is set twice, first in line 8: remove one",
        "demo.yaml:13: trainer.fsdp_config.a: is set twice, first in line 13: remove one",
    ]


# The traps of YAML 1.1


def test_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    assert yaml.safe_load("5e-4") == "5e-4"  # the trap
    path = extended(tmp_path, "  learning_rate: 5e-4\ntrainer: {adam_epsilon: 1e-8}\n")
    recipe = load_recipe(path, ["align.learning_rate=2E3", "pretrain.weight_decay='1e-2'"])
    assert (recipe.pretrain.learning_rate, recipe.align.learning_rate) == (0.0005, 2000.0)
    assert recipe.pretrain.weight_decay == 0.01
    assert recipe.trainer["adam_epsilon"] == 1e-8


def test_norwegian_is_a_language(tmp_path: Path) -> None:
    assert yaml.safe_load("no") is False  # the trap
    more = "  - {language: no, text: [no.txt]}\nlexicon: {files: [{path: no.tsv, target: no}]}\n"
    path = write(tmp_path, DEMO.replace("switch:", more + "switch:"))
    recipe = load_recipe(path)
    assert [target.language for target in recipe.targets] == ["en-clone", "no"]
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe
    assert "language: 'no'" in dump_recipe(recipe)


def test_switches_may_be_written_as_words(demo: Path) -> None:
    for word, value in {"yes": True, "on": True, "true": True, "no": False, "off": False}.items():
        assert load_recipe(demo, [f"model.tie_embeddings={word}"]).model.tie_embeddings is value


def test_dates_clock_times_and_zeros_in_front_stay_text(demo: Path) -> None:
    for text in ("2024-01-31", "12.30-1", "007"):
        assert load_recipe(demo, [f"name={text}"]).name == text
    assert load_recipe(demo, ["trainer.run_name=12:30"]).trainer["run_name"] == "12:30"
    assert load_recipe(demo, ["pretrain.steps=1_000"]).pretrain.steps == 1000


def test_null_drops_a_default(demo: Path) -> None:
    recipe = load_recipe(demo, ["model.preset=null", "model.config=configs/llama"])
    assert (recipe.model.preset, recipe.model.config) == (None, "configs/llama")


# Overrides


def test_overrides_win_over_the_file(demo: Path) -> None:
    recipe = load_recipe(
        demo,
        [
            "switch.ratio=0.3",
            "targets.0.share=0.2",
            "seeds=[0, 1, 2]",
            "align.layers = output",
            "switch.ratio=0.4",
        ],
    )
    assert (recipe.switch.ratio, recipe.targets[0].share, recipe.seeds) == (0.4, 0.2, [0, 1, 2])
    assert recipe.align.layers == "output"
    assert recipe.align.model_fields_set == {"layers"}


def test_an_override_mends_an_error_of_the_file(tmp_path: Path) -> None:
    path = swapped(tmp_path, "ratio: 0.1", "ratio: 2")
    assert load_recipe(path, ["switch.ratio=0.2"]).switch.ratio == 0.2


def test_an_override_reaches_into_a_variant(demo: Path) -> None:
    start = ["variants.mine.extends=joint", "variants.mine.set.switch.ratio=0.2", "arms=[joint, mine]"]
    assert load_recipe(demo, start).variants["mine"].set == {"switch.ratio": 0.2}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("switch.ratio", "an override is written key=value, as in switch.ratio=0.1"),
        ("=3", "an override is written key=value, as in switch.ratio=0.1"),
        ("arms=[joint", "arms: this is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("switch={ratio: 0.1, ratio: 0.2}", "switch.ratio: is set twice: remove one"),
        ("targets.3.share=0.1", "targets.3.share: '3' is not an entry of the list: it has entries 0 to 0"),
        ("targets.de.share=0.1", "targets.de.share: 'de' is not an entry of the list: it has entries 0 to 0"),
        ("switch.ratio.x=1", "switch.ratio.x: 'ratio' has no settings inside: it is 0.1"),
        ("swich.ratio=0.1", "swich: unknown key; did you mean 'switch'?"),
        ("pretrain={steps: 0}", "pretrain.steps: 0 is not at least 1"),
    ],
)
def test_a_wrong_override_is_named(demo: Path, override: str, message: str) -> None:
    assert errors(demo, override) == [f"override {override!r}: {message}"]


# Settings that contradict each other


VARIANTS = """
variants:
  ok:
    extends: prealign
    set: {switch.ratio: 0.2}
  mine:
    extends: prealine
    set: {switch.ratio: 0.2}
  child: {extends: mine, set: {}}
  round: {extends: turn, set: {}}
  turn: {extends: round, set: {}}
  joint: {extends: prealign, set: {}}
  a.b: {extends: prealign, set: {}}
  wrong:
    extends: ok
    set:
      switch.ration: 0.2
      switch.ratio: 2
      align: {steps: 3}
      seeds: [1]
      name.x: 3
      targets.7.share: 0.1
  crossed:
    extends: ok
    set:
      evaluate.stride: 999
      trainer.max_steps: 3
"""


def test_variants_are_checked(tmp_path: Path) -> None:
    first = DEMO.count("\n") + 1
    share = "it is a share, 5 % is written 0.05"
    found = errors(extended(tmp_path, VARIANTS))
    assert found == [
        f"demo.yaml:{first + line}: variants.{message}"
        for line, message in [
            (6, "mine.extends: unknown arm 'prealine'; did you mean 'prealign'?"),
            (9, "round.extends: extends itself: round -> turn -> round"),
            (10, "turn.extends: extends itself: turn -> round -> turn"),
            (11, "joint: this name is taken by a built-in arm: choose another"),
            (12, "a.b: a variant's name has no dot: dots part the keys of settings"),
            (16, "wrong.set.switch.ration: unknown key; did you mean 'ratio'?"),
            (17, f"wrong.set.switch.ratio: 2 is not in 0..1: {share}"),
            (18, "wrong.set.align: this is a section: set its keys one by one, as in 'align.steps'"),
            (19, "wrong.set.seeds: an arm cannot change `seeds`, which belongs to the whole experiment"),
            (20, "wrong.set.name.x: 'name' has no settings inside: it is 'demo'"),
            (20, "wrong.set.name.x: an arm cannot change `name`, which belongs to the whole experiment"),
            (
                21,
                "wrong.set.targets.7.share: '7' is not an entry of the list: it has entries 0 to 0",
            ),
            (
                21,
                "wrong.set.targets.7.share: all arms share `targets`, or they would not be comparable; "
                "write a separate recipe",
            ),
            (24, "crossed.set: evaluate.stride: 999 is above pretrain.context, 128: it would skip tokens"),
            (
                24,
                "crossed.set: trainer.max_steps: cannot be set here: stages are counted in steps; "
                "set pretrain.steps or align.steps",
            ),
        ]
    ]


REAL = """\
name: real
source: {text: [en.txt]}
targets:
  - {language: de, text: [de.txt]}
lexicon:
  files:
    - {path: de.tsv, target: de}
"""


def test_languages_and_dictionaries_must_fit(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, REAL)).targets[0].language == "de"
    text = """\
name: real
source: {text: [en.txt]}
targets:
  - {language: deu, text: [de.txt]}
  - {language: fr-clone}
  - {language: en, text: [en.txt]}
  - {language: fr, text: [fr.txt]}
  - {language: fr, text: [fr.txt]}
lexicon:
  files:
    - {path: de.tsv, target: de}
    - {path: fr.tsv, target: fr}
"""
    assert errors(write(tmp_path, text)) == [
        "demo.yaml:4: targets.0.language: no dictionary for 'deu': add one to lexicon.files",
        "demo.yaml:5: targets.1.language: only the source language has a clone: write 'en-clone'",
        "demo.yaml:6: targets.2.language: 'en' is the source language",
        "demo.yaml:8: targets.4.language: 'fr' is named twice",
        "demo.yaml:11: lexicon.files.0.target: 'de' is not a language of `targets`; did you mean 'deu'?",
    ]


def test_merged_ids_needs_a_clone(tmp_path: Path) -> None:
    path = write(tmp_path, REAL + "arms: [joint, merged_ids]\n")
    assert errors(path) == ["demo.yaml:8: arms.1: merged_ids needs the target 'en-clone'"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["arms=[joint, prealign, joint]"], "arms.2: 'joint' is named twice"),
        (["baseline=prealing"], "baseline: unknown arm 'prealing'; did you mean 'prealign'?"),
        (
            ["evaluate.stride=129"],
            "evaluate.stride: 129 is above pretrain.context, 128: it would skip tokens",
        ),
        (["model.preset=null"], "model: has no model: set one of preset, config, pretrained"),
        (
            ["tokenizer.path=y", "model={preset: null, config: x, pretrained: y}"],
            "model: has config and pretrained: leave one",
        ),
        (
            ["trainer.lerning_rate=1"],
            "trainer.lerning_rate: not a field of TrainingArguments; did you mean 'learning_rate'?",
        ),
        (
            ["trainer.dataloader_workers=1"],
            "trainer.dataloader_workers: not a field of TrainingArguments; did you mean 'dataloader_num_workers'?",
        ),
        (
            ["trainer.report_to=kubeflow"],
            "trainer.report_to: the package of 'kubeflow' is not installed: install it, or leave the setting out",
        ),
        (
            ["trainer.report_to=[none, tensorbord]"],
            "trainer.report_to: 'tensorbord' is unknown; did you mean 'tensorboard'?",
        ),
        (
            ["trainer.learning_rate=1"],
            "trainer.learning_rate: cannot be set here: set pretrain.learning_rate or align.learning_rate",
        ),
        (
            ["trainer.use_cpu=true"],
            "trainer.use_cpu: cannot be set here: hide devices from all stages alike, with CUDA_VISIBLE_DEVICES=''",
        ),
        (
            ["trainer.bf16_full_eval=true"],
            "trainer.bf16_full_eval: cannot be set here: validation has the precision of training",
        ),
        (
            ["trainer.logging_nan_inf_filter=true"],
            "trainer.logging_nan_inf_filter: cannot be set here: it hides losses that are not finite",
        ),
        (
            ["trainer.dataloader_drop_last=true"],
            "trainer.dataloader_drop_last: cannot be set here: validation would leave out its last blocks",
        ),
        (
            ["trainer.gradient_accumulation_steps=4"],
            "trainer.gradient_accumulation_steps: cannot be set here: in-batch negatives are not additive, "
            "so accumulated batches are not one bigger batch; "
            "set pretrain.batch_size or align.pairs_per_batch",
        ),
    ],
)
def test_a_contradiction_is_named(demo: Path, overrides: list[str], message: str) -> None:
    assert errors(demo, *overrides) == [f"override {overrides[-1]!r}: {message}"]


TWO = """\
name: two
arms: [joint, prealign]
source: {text: [en.txt]}
targets:
  - {language: de, text: [de.txt]}
  - {language: nl, text: [nl.txt]}
lexicon:
  files: [{path: en-de.tsv, target: de}, {path: en-nl.tsv, target: nl}]
switch: {targets: {de: 2}, target_ratio: 0.1}
mixture: {weights: {en: 8, de: 1, nl: 1}}
evaluate:
  candidates: 100
  dictionaries: [{path: test-de.tsv, target: de}]
  sentences: [{name: flores, files: {en: en.dev, de: de.dev}}]
"""


def test_settings_of_several_targets_and_of_test_data_are_read(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, TWO))
    assert ineffective(recipe) == []
    assert recipe.evaluate.sentences[0].files == {"en": "en.dev", "de": "de.dev"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.dictionaries.0.target=ru", "evaluate.dictionaries.0.target: 'ru' is no target with a dictionary"),
        ("evaluate.dictionaries.0.path=en-nl.tsv", "evaluate.dictionaries.0.path: 'en-nl.tsv' is in lexicon.files too"),
        ("evaluate.sentences.0.files={de: de.dev}", "evaluate.sentences.0.files: the source language has no file"),
        ("evaluate.sentences.0.files.ru=x", "evaluate.sentences.0.files.ru: 'ru' is not a language of this recipe"),
        ("evaluate.sentences.0.files.en-clone=x", "is made from the source's sentences: remove it"),
        (
            "evaluate.sentences=[{name: a, files: {en: x}}, {name: a, files: {en: y}}]",
            "evaluate.sentences.1.name: 'a' is named twice",
        ),
        ("mixture.weights={en: 1, de: 1}", "mixture.weights: has no weight for nl: name every language, or none"),
        ("mixture.weights.ru=1", "mixture.weights.ru: 'ru' is not a language of this recipe; known: en, de, nl"),
        ("mixture.weights.nl=0", "mixture.weights.nl: 0 is not above 0"),
        (
            "mixture.temperature=2",
            "mixture: weights and temperature each decide the shares of languages: keep one of them",
        ),
        ("mixture.passes.de=8", "mixture: weights and passes each decide the shares of languages: keep one of them"),
        (
            "mixture={passes: {dee: 8}}",
            "mixture.passes.dee: 'dee' is not a language of this recipe; did you mean 'de'?",
        ),
        ("mixture={passes: {de: 0}}", "mixture.passes.de: 0 is not above 0"),
        (
            "mixture={passes: {en: 1, de: 1, nl: 1}}",
            "mixture.passes: names every language: leave one out, such as en, which fills up the steps",
        ),
        ("mixture.temperature=0.5", "mixture.temperature: 0.5 is not at least 1"),
        ("switch.targets={de: 0, nl: 0}", "switch.targets: every target has the weight 0"),
        ("switch.targets.en=1", "switch.targets.en: 'en' is not a target of this recipe"),
        ("variants.x={extends: joint, set: {evaluate.dictionaries: []}}", "all arms share `evaluate`"),
        ("variants.x={extends: joint, set: {tokenizer.extend: 9}}", "all arms share `tokenizer`"),
        ("tokenizer.extend=9", "tokenizer.extend: there is no tokenizer to extend: set tokenizer.path"),
        ("tokenizer.temperature=0.9", "tokenizer.temperature: 0.9 is not at least 1"),
    ],
)
def test_what_is_wrong_with_several_targets_and_test_data(tmp_path: Path, override: str, message: str) -> None:
    (line,) = errors(write(tmp_path, TWO), override)
    assert message in line


def test_what_holds_together(demo: Path) -> None:
    for overrides in (
        ["baseline=prealign"],
        ["arms=[prealign]"],  # one arm needs no baseline
        ["evaluate.stride=128"],
        ["model={preset: null, pretrained: gpt2}", "tokenizer.path=gpt2"],
        ["trainer={bf16: true, report_to: none, dataloader_num_workers: 2}"],
    ):
        assert contradictions(load_recipe(demo, overrides)) == []


def test_a_clone_has_no_text_to_learn_new_tokens_on(demo: Path) -> None:
    (found,) = errors(demo, "tokenizer={path: x, extend: 9}")
    assert "tokenizer.extend: every target is a clone, without text to learn new tokens on: remove it" in found


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["tokenizer={path: x, temperature: 3}"], "the tokenizer of tokenizer.path learns no tokens"),
        (["tokenizer={path: x, temperature: 3, extend: 9}"], None),
        (["tokenizer.temperature=3"], None),
    ],
)
def test_what_the_balance_of_the_tokenizers_text_needs(tmp_path: Path, overrides: list[str], why: str | None) -> None:
    found = [
        warning for warning in ineffective(load_recipe(write(tmp_path, TWO), overrides)) if "temperature" in warning
    ]
    assert found == ([f"tokenizer.temperature: has no effect: {why}"] if why else [])


def test_a_baseline_that_is_not_run_is_warned_of_where_something_could_be_compared(demo: Path) -> None:
    def warned(arms: str) -> bool:
        return any(warning.startswith("baseline: 'joint'") for warning in ineffective(load_recipe(demo, [arms])))

    assert warned("arms=[prealign, prealign_no_cs]")
    assert not warned("arms=[prealign, joint]")
    assert not warned("arms=[prealign]")


def test_a_broken_section_does_not_hide_contradictions_of_others(demo: Path) -> None:
    assert errors(demo, "source.text=[]", "evaluate.stride=999", "trainer.seed=3") == [
        "override 'source.text=[]': source.text: is an empty list: it needs at least one entry",
        "override 'evaluate.stride=999': evaluate.stride: 999 is above pretrain.context, 128: it would skip tokens",
        "override 'trainer.seed=3': trainer.seed: cannot be set here: the recipe's `seeds` decide it",
    ]


def test_a_broken_section_causes_no_second_error(demo: Path) -> None:
    """With `arms` unreadable it is unknown whether the baseline is among them; and so on."""
    assert len(errors(demo, "arms=prealign", "baseline=prealign")) == 1
    assert len(errors(demo, "targets.0.language=en-klone", "lexicon.files=[{path: x, target: de}]")) == 1
    assert len(errors(demo, "pretrain.context=4", "evaluate.stride=5000")) == 1


def test_presets_are_those_that_can_be_built() -> None:
    literal, _ = get_args(ModelSection.model_fields["preset"].annotation)
    assert list(get_args(literal)) == list(PRESETS)


# Settings without effect


@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        (
            ["evaluate.dynamics_words=50"],
            "evaluate.dynamics_words: 50 has no effect: no arm of this recipe has evaluate.dynamics",
        ),
        (["sustain.groups=8"], "sustain.groups: 8 has no effect: no arm of this recipe has sustain.weight"),
        (
            ["sustain.weight=0.2"],
            "sustain.weight: 0.2 has no effect on the arms of this recipe, "
            "only on prealign_sustained, prealign_sustained_anchored",
        ),
        (
            ["anchor.enabled=true"],
            "anchor.enabled: True has no effect on the arms of this recipe, "
            "only on prealign_anchored, anchored, prealign_sustained_anchored",
        ),
        (
            ["anchor.em_rounds=1"],
            "anchor.em_rounds: 1 has no effect: no arm of this recipe has anchor.enabled or next_word or twin_mask or "
            "twin_adam or align.start",
        ),
        (["next_word={}"], "next_word: has no effect on the arms of this recipe, only on joint_next_word"),
        (["twin_mask.gamma=0.5"], "twin_mask: has no effect on the arms of this recipe, only on joint_twin_mask"),
        (
            ["arms=[joint, joint_input_cs]", "align.weight=2"],
            "align.weight: 2.0 has no effect: no arm of this recipe has align.steps",
        ),
        (
            ["arms=[joint, joint_input_cs]", "align.bos=true"],
            "align.bos: True has no effect: no arm of this recipe has align.steps or sustain.weight",
        ),
        (
            ["arms=[joint, joint_input_cs]", "align.micro_pairs=8"],
            "align.micro_pairs: 8 has no effect: no arm of this recipe has align.steps or sustain.weight",
        ),
        (
            ["align={pairs_per_batch: 128, micro_pairs: 128}"],
            "align.micro_pairs: 128 has no effect: no batch has more than 128 pairs",
        ),
        (
            ["arms=[joint, joint_vanilla_cs]", "switch.mode=vanilla", "switch.ratio=0"],
            "switch.mode: 'vanilla' has no effect: no arm of this recipe has switch.ratio",
        ),
        (
            ["tokenizer={path: x, vocab_size: 9}"],
            "tokenizer.vocab_size: has no effect: the vocabulary comes with the tokenizer of tokenizer.path",
        ),
        (
            ["model.preset=null", "model.config=gpt2", "model.tie_embeddings=true"],
            "model.tie_embeddings: has no effect: the config of model.config or model.pretrained decides it",
        ),
        (["tokenizer.temperature=2"], "tokenizer.temperature: has no effect: tokens are learned on one language"),
        (
            ["arms=[joint, joint_input_cs]", "align.freeze_body=true"],
            "align.freeze_body: True has no effect: no arm of this recipe has align.steps",
        ),
        (
            ["arms=[joint]", "baseline=joint", "lexicon.inflect=true", "switch.ratio=0"],
            "lexicon.inflect: True has no effect: no arm of this recipe has switch.ratio",
        ),
        (
            ["lexicon.normalise=arabic"],
            "lexicon.normalise: 'arabic' has no effect: no language of this recipe is Arabic",
        ),
        (["switch.targets.en-clone=2"], "switch.targets: {'en-clone': 2.0} has no effect: there is one target"),
        (["lexicon.case=text"], "lexicon.case: 'text' has no effect: a clone is written as the source"),
        (
            ["evaluate.candidates=50"],
            "evaluate.candidates: 50 has no effect: no arm of this recipe has evaluate.dictionaries",
        ),
        (
            ["targets.0.segmenter=icu"],
            "targets.0.segmenter: 'icu' has no effect: a clone has the words of its source",
        ),
        (
            ["lexicon.files=[{path: x.tsv, target: en-clone}]"],
            "lexicon.files.0: 'x.tsv' is not read: a clone's dictionary is made from the corpus",
        ),
        (
            ["arms=[prealign]", "baseline=anchored"],
            "baseline: 'anchored' is not among `arms`, so nothing is compared: add it, or `prealign merge` the results with "
            "results that have it",
        ),
        (
            ["switch.ratio=0.0"],
            "arms.1: 'prealign' trains exactly like 'prealign_no_cs' with the settings of this recipe",
        ),
        (
            ["variants.mine={extends: prealign, set: {align.layers: all}}", "arms=[joint, mine]"],
            "arms.1: 'mine' trains exactly like 'prealign' with the settings of this recipe",
        ),
    ],
)
def test_a_setting_without_effect_is_warned_of(demo: Path, overrides: list[str], warning: str) -> None:
    assert warning in ineffective(load_recipe(demo, overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["sustain.groups=64"],  # the default, written out
        ["sustain.weight=0.0"],
        ["sustain.weight=0.2", "sustain.groups=8", "arms=[joint, prealign_sustained]"],
        ["anchor={enabled: true, em_rounds: 1}", "arms=[joint, anchored]"],
        ["next_word.weight=0.2", "arms=[joint, joint_next_word]", "anchor.em_rounds=1"],
        ["align.layers=output", "arms=[joint, prealign_output]"],
        ["align.temperature=0.2"],
        ["align={pairs_per_batch: 128, micro_pairs: 127}"],
        ["variants.s={extends: joint, set: {sustain.weight: 1}}", "arms=[joint, s]", "align.bos=true"],
        ["tokenizer.path=x"],
        ["tokenizer.vocab_size=9"],
    ],
)
def test_no_warning_where_a_setting_has_an_effect(demo: Path, overrides: list[str]) -> None:
    overrides = [*overrides, "switch.ratio=0.05"]  # the default, so that no arm need switch
    assert ineffective(load_recipe(demo, overrides)) == []


def test_the_share_of_a_real_target_is_warned_of(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, REAL), ["targets.0.share=0.5"])
    assert ineffective(recipe) == ["targets.0.share: 0.5 has no effect: only a clone takes a share"]


# Writing


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "no",
        "NO",
        "yes",
        "on",
        "null",
        "~",
        "",
        "5e-4",
        "1e3",
        ".5",
        "010",
        "1_0",
        "12:30",
        "2024-01-31",
        "- a",
        "<<",
    ]
)
NUMBER = st.floats(allow_nan=False) | st.integers()
VALUE = st.recursive(TEXT | NUMBER | st.booleans() | st.none(), lambda v: st.lists(v, max_size=3))
VALUES = st.dictionaries(TEXT, VALUE, max_size=3)


@settings(deadline=None)
@given(
    path=TEXT,
    ratio=st.floats(0, 1),
    rate=st.floats(0, exclude_min=True, allow_infinity=False),
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, unique=True, max_size=4),
    stage_1=st.fixed_dictionaries({}, optional={"steps": st.integers(0, 9), "bos": st.booleans()}),
    passed_on=VALUES,
)
def test_a_dump_loads_back_equal(
    path: str, ratio: float, rate: float, seeds: list[int], stage_1: dict[str, Any], passed_on: dict[str, Any]
) -> None:
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "seeds": seeds,
            "source": {"text": [path]},
            "targets": [{"language": "en-clone", "share": ratio}],
            "align": {**stage_1, "learning_rate": rate},
            "variants": {"mine": {"extends": "prealign", "set": {"trainer.fsdp_config": passed_on}}},
            "trainer": {"fsdp_config": passed_on},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        again = load_recipe(write(Path(folder), dump_recipe(recipe)))
    assert again == recipe
    assert repr(again) == repr(recipe)  # the types too: 1 is not 1.0, True is not 1


def test_a_dump_is_whole_and_any_yaml_reader_reads_it(demo: Path) -> None:
    recipe = load_recipe(demo, ["targets.0.share=0.5", "trainer.run_name='5e-4'", "align.learning_rate=1e-30"])
    plain = yaml.safe_load(dump_recipe(recipe))
    assert plain == recipe.model_dump()
    assert math.isclose(plain["align"]["learning_rate"], 1e-30)
    assert list(plain) == list(Recipe.model_fields)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("variants={v: {extends: joint, set: {targets.0.share: 0.5}}}", "all arms share `targets`"),
        ("variants={v: {extends: joint, set: {model.preset: mini}}}", "all arms share `model`"),
        ("variants={v: {extends: prealign, set: {lexicon.minimum_count: 2}}}", "all arms share `lexicon`"),
        ("variants={v: {extends: prealign, set: {pretrain.steps: 2}}}", "follow from the budget"),
        ("source.language=zh", "written without spaces"),
        ("targets=[{language: th, text: [b.txt], segmenter: rjieba}]", "rjieba knows Chinese only"),
        ("targets=[{language: th, text: [b.txt], segmenter: jieba}]", "segmenter"),
        ("lexicon.normalise=arab", "did you mean 'arabic'"),
        ("model={preset: null, pretrained: gpt2}", "set tokenizer.path"),
        ("seeds=[-1]", "-1"),
    ],
)
def test_what_would_mislead_is_refused(tmp_path: Path, setting: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: r\nsource: {text: [a.txt]}\ntargets: [{language: en-clone}]\n", encoding="utf-8")
    with pytest.raises(RecipeError) as refused:
        load_recipe(path, [setting])
    assert message in str(refused.value)


def test_inflections_are_english(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\nsource: {language: de, text: [a.txt]}\ntargets: [{language: de-clone}]\n", encoding="utf-8"
    )
    load_recipe(path)
    with pytest.raises(RecipeError, match=r"lexicon\.inflect.*the source is 'de'"):
        load_recipe(path, ["lexicon.inflect=true"])


def test_a_variant_may_take_its_own_share_of_the_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: r\nsource: {text: [a.txt]}\ntargets: [{language: en-clone}]\n", encoding="utf-8")
    recipe = load_recipe(path, ["variants={v: {extends: prealign, set: {lexicon.coverage: 0.5}}}"])
    assert resolve_arm(recipe, "v").lexicon.coverage == 0.5


FILES = "transfer:\n- {name: nli, train: t.tsv, tests: {en: e.tsv}, columns: [premise, label], text: premise}\n"
ERAS = "transfer:\n- {name: eras, passages: {classes: '(?P<old>17)|(?P<new>19)', tokens: 32}}\n"


@pytest.mark.parametrize("more", [FILES, ERAS, FILES + ERAS.partition("\n")[2]])
def test_transfer_tasks_of_both_kinds_are_read(tmp_path: Path, more: str) -> None:
    recipe = load_recipe(extended(tmp_path, more))
    assert [task.name for task in recipe.transfer] == [name for name in ("nli", "eras") if name in more]
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe
    assert ineffective(recipe) == []


@pytest.mark.parametrize(
    ("more", "override", "message"),
    [
        (FILES + FILES.partition("\n")[2], "seeds=[0]", "demo.yaml:14: transfer.1.name: 'nli' is named twice"),
        (FILES, "transfer.0.tests={de: d}", "transfer.0.tests: the source language has no test: add 'en: FILE'"),
        (FILES, "transfer.0.tests.fr=x", "transfer.0.tests.fr: 'fr' is not a language of this recipe; known: en"),
        (FILES, "transfer.0.tests.en-clone=x", "a clone's test is made from the source's: remove 'en-clone'"),
        (FILES, "transfer.0.text=sentence", "transfer.0.columns: 'sentence' is not among them"),
        (FILES, "transfer.0.pair=premise", "text, pair and label are different columns, and 'premise' is two of them"),
        (FILES, "transfer.0.columns=[premise, label, label]", "transfer.0.columns.2: 'label' is named twice"),
        (FILES, "transfer.0.max_tokens=500", "transfer.0.max_tokens: 500 is above pretrain.context, 128"),
        (FILES, "transfer.0.train=null", "transfer.0: has no data, or two kinds"),
        (FILES, "transfer.0.epochs=0", "transfer.0.epochs: 0 is not at least 1"),
        (ERAS, "transfer.0.train=x", "transfer.0: has no data, or two kinds"),
        (ERAS, "transfer.0.limit=5", "transfer.0: limit: for files only, and this task has passages"),
        (ERAS, "transfer.0.max_tokens=16", "transfer.0.passages.tokens: 32 is above max_tokens, 16"),
        (ERAS, "pretrain.context=16", "transfer.0.passages.tokens: 32 is above pretrain.context, 16"),
        (ERAS, "transfer.0.passages.classes='17|19'", "transfer.0.passages.classes: needs a named group for each"),
        (
            ERAS,
            "transfer.0.passages.classes='(?P<a>'",
            "transfer.0.passages.classes: '(?P<a>' is not a regular expression",
        ),
    ],
)
def test_what_is_wrong_with_a_transfer_task(tmp_path: Path, more: str, override: str, message: str) -> None:
    assert any(message in line for line in errors(extended(tmp_path, more), override))


def test_a_variant_cannot_change_the_tasks(tmp_path: Path) -> None:
    more = ERAS + "variants:\n  other: {extends: prealign, set: {transfer.0.epochs: 3}}\n"
    assert any("an arm cannot change `transfer`" in line for line in errors(extended(tmp_path, more)))
