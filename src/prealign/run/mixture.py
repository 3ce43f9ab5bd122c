"""The training mixture of an arm: which languages it reads how much of, and how their words are switched.

1. The shares of tokens by language are those of the text, or those that the recipe sets
   (`prealign.text.blocks.token_shares`).
2. Source text is switched by the words for training and their forms; the target of a substitute is drawn by
   `switch.targets`.
3. With `switch.target_ratio`, target text is switched too, by the same words turned round, and as many senses each. Its
   words are those of the tokenizer, or those that the target's segmenter found.
4. What is expected, by language, is counted on the whole text; what was read and switched stands beside it in the record.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import xxhash

from prealign.lexicon import Lexicon
from prealign.methods.switching.switch import CodeSwitcher, Known, tally
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.text.arrow import parts
from prealign.text.blocks import LanguageCounts, Mixture, MixtureCounts
from prealign.workers import Spread


def switched_mixture(
    prepared: Prepared, recipe: Recipe, training: Lexicon, seed: int, spread: Spread = map
) -> tuple[Mixture, dict[str, Known], dict[str, dict[str, int]]]:
    """Return an arm's mixture with its switchers, what each language's text has of known words, and the lexicon's forms.

    training: the words that both stages may use.
    """
    mixture, section = prepared.mixture(recipe), recipe.switch
    if not section.ratio or mixture.source not in mixture.tokens:
        return mixture, {}, {}
    lexicon, forms = prepared.switching_lexicon(recipe, training)
    switcher = CodeSwitcher(
        prepared.tokenizer,
        lexicon,
        ratio=section.ratio,
        mode=section.mode,
        source=mixture.source,
        weights=section.targets or None,
        seed=seed,
    )
    others = {}
    for target in mixture.tokens if section.target_ratio else ():
        if target == mixture.source:
            continue
        # A frequent word translates many: the most frequent of them alone, as it is with the senses of source words.
        turned = lexicon.inverted(target).limit_senses(recipe.lexicon.maximum_senses)
        if len(turned):
            others[target] = CodeSwitcher(
                prepared.tokenizer,
                turned,
                ratio=section.target_ratio,
                mode=section.mode,
                source=target,
                # Of its own, or row i of every language would be switched at the same words.
                seed=xxhash.xxh32_intdigest(target.encode(), seed=seed),
            )
    found = {}
    for language, own in {mixture.source: switcher, **others}.items():
        rows = mixture.tokens[language]
        found[language] = own.total(spread(partial(tally, own, rows), parts(rows)))
    return replace(mixture, switcher=switcher, others=others), found, forms


def mixture_record(
    mixture: Mixture, counts: MixtureCounts, known: dict[str, Known], sizes: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Return what was read of each language beside what was expected, for the record of an arm's blocks.

    sizes: tokens of each language's text. "switched": for each language whose text is switched, the rates of its words into
    each other language.
    """
    shares = mixture.shares or {language: size / sum(sizes.values()) for language, size in sizes.items()}
    read = sum(own.tokens for own in counts.languages.values())
    languages = {}
    # By the shares, not by what was read: a small budget may end before a language's first document.
    for language, share in shares.items():
        own = counts.languages.get(language, LanguageCounts())
        languages[language] = {
            "documents": own.documents,
            "tokens": own.tokens,
            "passes": own.passes,
            "share": own.tokens / max(1, read),
            "expected": share,
        }
    switched = {}
    for language, found in known.items():
        switcher = mixture.others.get(language, mixture.switcher)
        own = counts.languages.get(language, LanguageCounts())
        assert switcher is not None
        switched[language] = {
            target: {
                "expected": switcher.ratio * times / max(1, found.words),
                "realised": own.into.get(target, 0) / max(1, own.words),
                "switched_words": own.into.get(target, 0),
                "words": own.words,
            }
            for target, times in found.targets.items()
        }
    return {"languages": languages, "switched": switched}
