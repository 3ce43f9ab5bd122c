"""PreAlign: early cross-lingual alignment for causal language models.

Align translated words before pretraining, keep them aligned during pretraining by input-only code-switching
(Li et al., EMNLP 2024, arXiv 2407.16222), and measure the gain.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = {  # public name -> module, imported at first use
    "ARMS": "prealign.recipe.arms",
    "AnchoredVocabulary": "prealign.methods.vocabulary.anchored",
    "CloneLanguage": "prealign.text.clone",
    "CodeSwitcher": "prealign.methods.switching.switch",
    "Group": "prealign.lexicon",
    "Lexicon": "prealign.lexicon",
    "PrealignError": "prealign.errors",
    "Recipe": "prealign.recipe.sections",
    "Switched": "prealign.methods.switching.switch",
    "WordAlignment": "prealign.methods.alignment.objective",
    "WordAlignmentLoss": "prealign.methods.alignment.loss",
    "clone_language": "prealign.text.clone",
    "load_recipe": "prealign.recipe.file",
    "word_starts": "prealign.text.words",
    "word_states": "prealign.methods.alignment.states",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'prealign' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
