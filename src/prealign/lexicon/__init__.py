"""The lexicon: translation groups, the dictionaries they come from, and the file they are kept in."""

from prealign.lexicon.group import Group
from prealign.lexicon.groups import Lexicon
from prealign.lexicon.report import MalformedLine, ReadReport, Tally

__all__ = ["Group", "Lexicon", "MalformedLine", "ReadReport", "Tally"]
