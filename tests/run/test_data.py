"""The data of a run, read from its folders."""

from __future__ import annotations

from pathlib import Path

import toy_experiment
from prealign.files import write_json
from prealign.lexicon import Group, Lexicon
from prealign.recipe.arms import with_settings
from prealign.run.data import LEXICON, TESTS, WORDS, Prepared


def lexicon(**words: str) -> Lexicon:
    return Lexicon((Group(word, {"de": (sense,)}) for word, sense in words.items()), source="en", targets=["de"])


def test_no_form_of_a_trained_word_is_a_tested_word_in_any_case(tmp_path: Path) -> None:
    """The test dictionary has Houses, in capitals: the houses of the text are still the tested word."""
    recipe = with_settings(toy_experiment.recipe(tmp_path), {"lexicon.inflect": True, "lexicon.minimum_count": 1})
    for stage in ("tokens", "lexicon"):
        (tmp_path / stage).mkdir()
    training = lexicon(house="Haus", river="Fluss")
    training.save(tmp_path / "lexicon" / LEXICON)
    lexicon(Houses="Häuser").save(tmp_path / "lexicon" / TESTS)
    write_json(tmp_path / "tokens" / WORDS, {"house": 9, "houses": 9, "river": 9, "rivers": 9})
    prepared = Prepared(tmp_path, {"stages": {}, "corpus": {"en": {}, "de": {}}})
    found, sizes = prepared.switching_lexicon(recipe, training)
    assert {group.word for group in found} == {"house", "river", "rivers"}
    assert sizes == {"inflected": {"entries": 1, "words": 9}}
