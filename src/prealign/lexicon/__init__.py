"""The lexicon: translation groups, the dictionaries they come from, and the file they are kept in."""

from prealign.lexicon.groups import Group, Lexicon
from prealign.lexicon.readers import MalformedLine, ReadReport

__all__ = ["Group", "Lexicon", "MalformedLine", "ReadReport"]
