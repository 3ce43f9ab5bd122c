"""Look at a trained model of a run: text that it writes, and the words whose states are nearest to a word's.

1. `open_trained` finds the final model of an arm and seed in the run folder, and the run's tokenizer.
2. `sample` continues a prompt by the model's own `generate`. A prompt of the clone is mapped to twin ids, and twins are
   written as their source tokens.
3. `neighbours` takes the states of the lexicon's words at one layer, and the words with the highest cosine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import AutoTokenizer, set_seed

from prealign.errors import RecipeError, RunFolderError
from prealign.files import read_json
from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.methods.alignment.states import word_states
from prealign.methods.phase import MAIN
from prealign.recipe.validate import did_you_mean
from prealign.run.data import LEXICON, TOKENIZER
from prealign.run.folder import STAGE_FILE, RunFolder
from prealign.seals import damage
from prealign.text.clone import clone_language
from prealign.text.words import Tokenizer
from prealign.training.weights import load_causal_lm

MOST_WORDS = 5000
"""Words of a language that are compared, the most frequent ones."""


@dataclass(frozen=True)
class Trained:
    """A trained model and the tokenizer of its run. before: the id before the first token of a document."""

    model: Any
    tokenizer: Tokenizer
    languages: tuple[str, ...]
    before: int
    lexicon: Lexicon


@dataclass(frozen=True)
class Neighbour:
    """A word near another. translation: whether the lexicon says that the two translate each other."""

    word: str
    cosine: float
    translation: bool


def open_trained(run: RunFolder, arm: str, seed: int | None) -> Trained:
    """Load the final model of an arm. seed: None for the first that is trained.

    Raises RunFolderError if there is none, or if a file that it reads is damaged.
    """
    arms = sorted({path.parents[1].name for path in run.stages(MAIN)})
    if arm not in arms:
        raise RunFolderError(f"{run.root}: no trained arm {arm!r}{did_you_mean(arm, arms)}")
    seeds = sorted(
        int(path.parent.name.removeprefix("seed-")) for path in run.stages(MAIN) if path.parents[1].name == arm
    )
    if seed is not None and seed not in seeds:
        raise RunFolderError(f"{run.root}: {arm} has no seed {seed}; trained are {', '.join(map(str, seeds))}")
    folder = run.stage(arm, seeds[0] if seed is None else seed, MAIN)
    files = {STAGE_FILE, f"{TOKENIZER}/tokenizer.json"}
    for stage, read in ((folder, None), (run.data / "tokens", files), (run.data / "lexicon", None)):
        if damaged := damage(stage, read=read):
            raise RunFolderError(f"damaged: {damaged}. Run `prealign run` again: it makes the stage again.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(run.data / "tokens" / TOKENIZER)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{run.data}: the tokenizer cannot be loaded: {error}") from None
    model = load_causal_lm(str(folder)).eval()
    record = read_json(run.data / "tokens" / STAGE_FILE)
    before = record.get("bos", tokenizer.eos_token_id)
    lexicon = Lexicon.load(run.data / "lexicon" / LEXICON)
    return Trained(model, tokenizer, tuple(record["corpus"]), before, lexicon)


def sample(
    trained: Trained, prompt: str, language: str, *, tokens: int, temperature: float, number: int, seed: int = 0
) -> list[str]:
    """Return `number` continuations of a prompt, each with the prompt, of at most `tokens` tokens.

    temperature: 0 takes the most probable token each time. Raises RecipeError for a language that the run does not have or
    a prompt that leaves no room in the context.
    """
    if language not in trained.languages:
        raise RecipeError(f"--language {language!r} is not of this run{did_you_mean(language, trained.languages)}")
    clone = clone_language(trained.tokenizer) if is_clone(language) else None
    encoded = trained.tokenizer.encode(prompt, add_special_tokens=False)
    ids = [trained.before, *(clone.map(encoded).tolist() if clone else encoded)]
    room = getattr(trained.model.config, "max_position_embeddings", None)
    if room is not None and len(ids) >= room:
        raise RecipeError(f"the prompt has {len(ids)} tokens, and the model has {room} positions: give a shorter one")
    most = min(tokens, room - len(ids)) if room else tokens
    drawn: dict[str, Any] = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    set_seed(seed)
    with torch.no_grad():
        written = trained.model.generate(
            torch.tensor([ids] * number),
            attention_mask=torch.ones(number, len(ids), dtype=torch.long),
            max_new_tokens=most,
            eos_token_id=trained.tokenizer.eos_token_id,
            pad_token_id=trained.tokenizer.eos_token_id,
            **drawn,
        )
    whole = clone_language(trained.tokenizer) if any(map(is_clone, trained.languages)) else None
    rows = [row[1:].tolist() for row in written]
    return [
        trained.tokenizer.decode(whole.unmap(row).tolist() if whole else row, skip_special_tokens=True) for row in rows
    ]


def neighbours(
    trained: Trained, word: str, language: str | None, layer: int, number: int
) -> dict[str, list[Neighbour]]:
    """Return the words nearest to a word at a layer, by language.

    language: of the word; None: the source's if the lexicon has the word there, else the first target's that has it. Layer
    0 is the input embedding, the last one the output. Raises RecipeError for a layer or language that there is not.
    """
    lexicon = trained.lexicon
    words = {lexicon.source: _frequent(group.word for group in _by_count(lexicon))}
    for target in lexicon.targets:
        senses = (sense for group in _by_count(lexicon) for sense in group.translations.get(target, ()))
        words[target] = _frequent(senses)
    chosen = language or next((tag for tag, known in words.items() if word in known), lexicon.source)
    if chosen not in words:
        raise RecipeError(f"--language {chosen!r} is not of this run{did_you_mean(chosen, words)}")
    query = _states(trained, [word], chosen, layer)  # (1, D)
    true = _translations(lexicon, word, chosen)
    found = {}
    for tag, known in words.items():
        written = [one for one in known if (tag, one) != (chosen, word)]
        cosines = (_states(trained, written, tag, layer) @ query.T).squeeze(1)
        best = cosines.topk(min(number, len(written)))
        found[tag] = [
            Neighbour(written[i], cosine, (tag, written[i]) in true)
            for cosine, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
    return found


def _by_count(lexicon: Lexicon) -> list[Any]:
    return sorted(lexicon, key=lambda group: -(group.count or 0))


def _frequent(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))[:MOST_WORDS]


def _states(trained: Trained, words: list[str], language: str, layer: int) -> torch.Tensor:
    """Return the unit states (W, D) of words at a layer."""
    states = word_states(trained.model, trained.tokenizer, words, language=language)  # (L, W, D)
    if not 0 <= layer < len(states):
        raise RecipeError(f"--layer {layer}: the layers are 0 (input embedding) to {len(states) - 1} (output)")
    return normalize(states[layer], dim=1)


def _translations(lexicon: Lexicon, word: str, language: str) -> set[tuple[str, str]]:
    """Return the (language, word) pairs that share a group with a word."""
    groups = [
        group
        for group in lexicon
        if (group.word if language == lexicon.source else None) == word or word in group.translations.get(language, ())
    ]
    return {
        pair
        for group in groups
        for pair in [
            (lexicon.source, group.word),
            *((tag, sense) for tag, senses in group.translations.items() for sense in senses),
        ]
    }
