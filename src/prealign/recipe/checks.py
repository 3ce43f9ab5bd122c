"""Contradictions between valid sections of a recipe, found without reading its data.

1. Run each check of `_CHECKS` whose sections are valid on the recipe.
2. Run the checks on each variant with its settings applied; report only problems that the recipe itself does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from prealign.errors import RecipeError
from prealign.languages import CLONE_SUFFIX, UNSPACED_LANGUAGES
from prealign.recipe.arms import arm_problems, resolve_arm, variant_problems
from prealign.recipe.measures import KnowledgeSection, TransferTask
from prealign.recipe.registry import settings_problems
from prealign.recipe.sections import Recipe
from prealign.recipe.trainer import _trainer
from prealign.recipe.validate import Key, Problem, did_you_mean, repeated, show


def contradictions(recipe: Recipe, unread: Collection[str] = ()) -> list[Problem]:
    """Return the contradictions in a valid recipe and in its variants.

    unread: sections that are stand-ins for invalid ones. Checks that read one of them do not run.
    """
    checks = [check for sections, check in _CHECKS if not set(sections) & set(unread)]
    problems = [problem for check in checks for problem in check(recipe)]
    known = set(problems)
    if not {"variants", "source", "targets", "lexicon"} & set(unread):
        for name in recipe.variants:
            problems += variant_problems(recipe, name) or _variant_contradictions(recipe, name, checks, known)
    return problems


def _variant_contradictions(
    recipe: Recipe, name: str, checks: Sequence[_Check], known: Collection[Problem]
) -> list[Problem]:
    try:
        changed = resolve_arm(recipe, name)
    except RecipeError:  # an invalid base is reported at the base
        return []
    added = [problem for check in checks for problem in check(changed) if problem not in known]
    return [(("variants", name, "set"), f"{show(key)}: {message}") for key, message in added]


def _languages(recipe: Recipe) -> Iterator[Problem]:
    languages = [target.language for target in recipe.targets]
    clone = recipe.source.language + CLONE_SUFFIX
    translated = {file.target for file in recipe.lexicon.files}
    for i in repeated(languages):
        yield ("targets", i, "language"), f"{languages[i]!r} is named twice"
    if recipe.source.language.split("-")[0] in UNSPACED_LANGUAGES:
        yield ("source", "language"), f"{recipe.source.language!r} is written without spaces: it can be a target only"
    for i, target in enumerate(recipe.targets):
        if target.is_clone and target.language != clone:
            yield ("targets", i, "language"), f"only the source language has a clone: write {clone!r}"
        elif target.language == recipe.source.language:
            yield ("targets", i, "language"), f"{target.language!r} is the source language"
        elif target.segmenter == "rjieba" and target.language.split("-")[0] != "zh":
            yield ("targets", i, "segmenter"), f"rjieba knows Chinese only: set icu or auto for {target.language!r}"
        elif not target.is_clone and target.language not in translated:
            yield (("targets", i, "language"), f"no dictionary for {target.language!r}: add one to lexicon.files")
    for i, file in enumerate(recipe.lexicon.files):
        if file.target not in languages:
            hint = did_you_mean(file.target, languages)
            yield ("lexicon", "files", i, "target"), f"{file.target!r} is not a language of `targets`{hint}"
    if recipe.lexicon.inflect and recipe.source.language.split("-")[0] != "en":
        yield ("lexicon", "inflect"), f"its rules are English, and the source is {recipe.source.language!r}: remove it"
    if "merged_ids" in recipe.arms and clone not in languages:
        yield ("arms", recipe.arms.index("merged_ids")), f"merged_ids needs the target {clone!r}"


def _shares(recipe: Recipe) -> Iterator[Problem]:
    """Check that weights and passes name languages of the recipe, and that a language is left to switch into."""
    source, targets = recipe.source.language, [target.language for target in recipe.targets]
    mixture, drawn = recipe.mixture, recipe.switch.targets
    weights, passes = mixture.weights, mixture.passes
    for key, named, known, kind in (
        (("mixture", "weights"), weights, [source, *targets], "language"),
        (("mixture", "passes"), passes, [source, *targets], "language"),
        (("switch", "targets"), drawn, targets, "target"),
    ):
        for language in named:
            if language not in known:
                yield (*key, language), f"{language!r} is not a {kind} of this recipe{did_you_mean(language, known)}"
    missing = [language for language in (source, *targets) if weights and language not in weights]
    if missing:
        yield ("mixture", "weights"), f"has no weight for {', '.join(missing)}: name every language, or none"
    if passes and set(passes) >= {source, *targets}:
        yield ("mixture", "passes"), f"names every language: leave one out, such as {source}, which fills up the steps"
    settings = {"weights": weights, "passes": passes, "temperature": mixture.temperature != 1.0}
    if len(deciding := [key for key, is_set in settings.items() if is_set]) > 1:
        yield ("mixture",), f"{' and '.join(deciding)} each decide the shares of languages: keep one of them"
    if drawn and not any(drawn.get(language, 1.0) for language in targets):
        yield ("switch", "targets"), "every target has the weight 0: set switch.ratio to 0 for no switching"


def _primary(recipe: Recipe) -> Iterator[Problem]:
    """Check that the primary comparison is one of an arm of the recipe with the baseline, in a target language."""
    section, targets = recipe.primary, [target.language for target in recipe.targets]
    others = [arm for arm in recipe.arms if arm != recipe.baseline]
    # A recipe written in full names the default too: only another name can be a mistake.
    if section.arm != type(section).model_fields["arm"].default and section.arm not in others:
        why = "is the baseline" if section.arm == recipe.baseline else "is not in `arms`"
        yield ("primary", "arm"), f"{section.arm!r} {why}{did_you_mean(section.arm, others)}"
    if section.language is not None and section.language not in targets:
        hint = did_you_mean(section.language, targets)
        yield ("primary", "language"), f"{section.language!r} is not a language of `targets`{hint}"


def _one_model(recipe: Recipe) -> Iterator[Problem]:
    model = recipe.model
    sources = [key for key in ("preset", "config", "pretrained") if getattr(model, key) is not None]
    if not sources:
        yield ("model",), "has no model: set one of preset, config, pretrained"
    elif len(sources) > 1:
        yield ("model",), f"has {' and '.join(sources)}: leave one"
    if model.pretrained and recipe.tokenizer.path is None:
        yield ("model", "pretrained"), "needs the tokenizer of the checkpoint: set tokenizer.path"
    if recipe.tokenizer.extend and recipe.tokenizer.path is None:
        yield (
            ("tokenizer", "extend"),
            "there is no tokenizer to extend: set tokenizer.path, or raise vocab_size instead",
        )


def _learned_tokens(recipe: Recipe) -> Iterator[Problem]:
    if recipe.tokenizer.extend and all(target.is_clone for target in recipe.targets):
        yield ("tokenizer", "extend"), "every target is a clone, without text to learn new tokens on: remove it"


def _window(recipe: Recipe) -> Iterator[Problem]:
    stride, context = recipe.evaluate.stride, recipe.pretrain.context
    if stride is not None and stride > context:
        yield ("evaluate", "stride"), f"{stride} is above pretrain.context, {context}: it would skip tokens"
    mixing = recipe.evaluate.mixing
    if mixing is not None and mixing.prompt + mixing.tokens >= context:
        read = f"1 + {mixing.prompt} + {mixing.tokens}"
        yield ("evaluate", "mixing"), f"a separator, prompt and tokens are {read}, above pretrain.context, {context}"


def knowledge_problems(section: KnowledgeSection) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for each key of the section that contradicts another."""
    if len(set(section.exposures)) < len(section.exposures):
        yield "exposures", f"{section.exposures} names a number twice"
    if section.candidates > section.objects:
        yield (
            "candidates",
            f"{section.candidates} is above the {section.objects} objects of a type: raise knowledge.objects",
        )
    for half, number in section.halves.items():
        if number % section.objects:
            yield (
                "facts",
                f"{section.facts} makes {number} facts with names {'in' if half == 'lexicon' else 'outside'} the lexicon, "
                f"not a multiple of knowledge.objects ({section.objects}): some objects would be the answer more often, "
                f"and guessing them would beat chance. Set {2 * section.objects} with names_in_lexicon 0.5, for example",
            )


def _knowledge(recipe: Recipe) -> Iterator[Problem]:
    section, language = recipe.knowledge, recipe.source.language
    if section is None:
        return
    yield from ((("knowledge", key), text) for key, text in knowledge_problems(section))
    if section.templates is None and language != "en":
        yield ("knowledge",), f"the built-in templates are English: set knowledge.templates for {language!r}"
    elif section.templates is None and not any(target.is_clone for target in recipe.targets):
        yield (
            ("knowledge",),
            "the built-in templates are English, so they ask in English and its clone only: add the target 'en-clone', "
            "or set knowledge.templates to a file with templates in the languages of `targets`",
        )


def _parallel(recipe: Recipe) -> Iterator[Problem]:
    """Check that test dictionaries and parallel sentences are in languages of the recipe."""
    source, section = recipe.source.language, recipe.evaluate
    targets = [target.language for target in recipe.targets if not target.is_clone]
    trained = {file.path for file in recipe.lexicon.files}
    for i, file in enumerate(section.dictionaries):
        key = ("evaluate", "dictionaries", i)
        if file.target not in targets:
            yield (
                (*key, "target"),
                f"{file.target!r} is no target with a dictionary{did_you_mean(file.target, targets)}",
            )
        if file.path in trained:
            yield (*key, "path"), f"{file.path!r} is in lexicon.files too: none of its words would be left to train on"
    for i in repeated([sentences.name for sentences in section.sentences]):
        yield ("evaluate", "sentences", i, "name"), f"{section.sentences[i].name!r} is named twice"
    for i, sentences in enumerate(section.sentences):
        here: Key = ("evaluate", "sentences", i, "files")
        for language in sentences.files:
            if language not in (source, *targets):
                clone = language.endswith(CLONE_SUFFIX)
                why = "is made from the source's sentences: remove it" if clone else "is not a language of this recipe"
                yield (*here, language), f"{language!r} {why}"
        if source not in sentences.files:
            yield here, f"the source language has no file: add '{source}: FILE'"


def _bitext(recipe: Recipe) -> Iterator[Problem]:
    """Parallel text is of the recipe's languages, and its sentences fit the context."""
    section = recipe.bitext
    if section is None:
        return
    targets = [target.language for target in recipe.targets if not target.is_clone]
    for i, file in enumerate(section.files):
        key: Key = ("bitext", "files", i, "target")
        if file.target.endswith(CLONE_SUFFIX):
            yield key, f"the parallel text of {file.target!r} is made from the source's: remove this entry"
        elif file.target not in targets:
            yield key, f"{file.target!r} is not a language of `targets`{did_you_mean(file.target, targets)}"
    if not section.files and len(targets) == len(recipe.targets):
        yield ("bitext", "files"), "has no parallel text: add a file of a target language"
    context = recipe.pretrain.context
    if section.longest(context) > context - 2:
        why = f"{section.max_tokens} is above pretrain.context - 2, {context - 2}: BOS and EOS would not fit"
        yield ("bitext", "max_tokens"), why


def _transfer(recipe: Recipe) -> Iterator[Problem]:
    """Yield the contradictions of each transfer task with the rest of the recipe."""
    names = [task.name for task in recipe.transfer]
    for i in repeated(names):
        yield ("transfer", i, "name"), f"{names[i]!r} is named twice"
    for i, task in enumerate(recipe.transfer):
        yield from _transfer_tests(recipe, task, ("transfer", i, "tests"))
        yield from _transfer_columns(task, ("transfer", i))
        yield from _transfer_lengths(recipe, task, ("transfer", i))


def _transfer_tests(recipe: Recipe, task: TransferTask, key: Key) -> Iterator[Problem]:
    source = recipe.source.language
    known = [source, *(target.language for target in recipe.targets if not target.is_clone)]
    for language in task.tests:
        if language.endswith(CLONE_SUFFIX):
            yield (*key, language), f"a clone's test is made from the source's: remove {language!r}"
        elif language not in known:
            yield (*key, language), f"{language!r} is not a language of this recipe{did_you_mean(language, known)}"
    if task.train is not None and source not in task.tests:
        yield key, f"the source language has no test: add '{source}: FILE'"


def _transfer_columns(task: TransferTask, key: Key) -> Iterator[Problem]:
    """Check that used columns are different and in `columns`. Without `columns`, reading a file checks its header."""
    used = [column for column in (task.text, task.pair, task.label) if column is not None]
    for i in repeated(used):
        yield key, f"text, pair and label are different columns, and {used[i]!r} is two of them"
    if task.columns is not None:
        for i in repeated(task.columns):
            yield (*key, "columns", i), f"{task.columns[i]!r} is named twice"
        for column in used:
            if column not in task.columns:
                yield (*key, "columns"), f"{column!r} is not among them{did_you_mean(column, task.columns)}"


def _transfer_lengths(recipe: Recipe, task: TransferTask, key: Key) -> Iterator[Problem]:
    context = recipe.pretrain.context
    if task.max_tokens is not None and task.max_tokens > context:
        yield (*key, "max_tokens"), f"{task.max_tokens} is above pretrain.context, {context}: positions never trained"
    if task.pair is not None and (task.max_tokens or context) < 3:
        yield (*key, "max_tokens"), f"{task.max_tokens} is too few for two sentences and their separator"
    if task.passages is not None and task.passages.tokens > (task.max_tokens or context):
        limit = "max_tokens" if task.max_tokens else "pretrain.context"
        yield (
            (*key, "passages", "tokens"),
            f"{task.passages.tokens} is above {limit}, {task.max_tokens or context}: every passage would be cut",
        )


_Check = Callable[[Recipe], Iterable[Problem]]
_CHECKS: tuple[tuple[tuple[str, ...], _Check], ...] = (
    (("seeds", "arms", "family", "baseline", "variants"), arm_problems),
    (("source", "targets", "lexicon", "arms"), _languages),
    (("model", "tokenizer"), _one_model),
    (("tokenizer", "targets"), _learned_tokens),
    (("pretrain", "evaluate"), _window),
    (("source", "targets", "mixture", "switch"), _shares),
    (("arms", "baseline", "primary", "targets"), _primary),
    (("source", "targets", "lexicon", "evaluate"), _parallel),
    (("source", "targets", "bitext", "pretrain"), _bitext),
    (("trainer",), _trainer),
    (
        ("methods", "align", "switch", "sustain", "anchor", "next_word", "twin_mask", "pretrain", "lexicon"),
        settings_problems,
    ),
    (("transfer", "source", "targets", "pretrain"), _transfer),
    (("knowledge", "source", "targets"), _knowledge),
)
