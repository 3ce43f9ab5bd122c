"""The lexicon: translation groups, the dictionaries they come from, and the file they are kept in."""

from prealign.lexicon.group import Group
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.reading_report import MalformedLine, ReadReport, Tally

__all__ = ["Group", "Lexicon", "MalformedLine", "ReadReport", "Tally"]
