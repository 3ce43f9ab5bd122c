"""The text of HTML pages, a paragraph a line.

1. Left out with all that is in them: `head`, scripts, styles, templates, and what pages of a site have in common (`nav`,
   `header`, `footer`, `aside`).
2. A block element (paragraph, heading, list item, table cell …) begins and ends a line; `<br>` and the line breaks of
   `<pre>` end one. All other white space, no-break spaces too, is one space; lines without text are left out.
3. Character references are decoded, and the rest of the markup goes.

Pages are rarely valid. An element that is never closed leaves nothing out, unless it is a script or style; a comment that
never ends reaches to the end of the page, and a tag that the page ends in is no text.
"""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

SUFFIXES = (".html", ".htm", ".xhtml")

_CODE = frozenset({"script", "style"})
_LEFT_OUT = _CODE | {"head", "noscript", "template", "nav", "header", "footer", "aside"}
_ALONE = frozenset({"br", "hr"})
_BLOCK_TAGS = """
address article aside blockquote body button caption center dd details dialog dir div dl dt fieldset figcaption figure
footer form h1 h2 h3 h4 h5 h6 header hgroup html legend li main menu nav ol optgroup option p pre section select
summary table tbody td tfoot th thead title tr ul
"""
_BLOCKS = _ALONE | frozenset(_BLOCK_TAGS.split())
# Their end also ends what was left open in them. A paragraph holds no block, whatever its tags say, and `body` and `html`
# may be closed too early.
_CONTAINERS = (_BLOCKS | _LEFT_OUT) - _ALONE - {"body", "html", "p"}
_OF_HEAD = frozenset({"base", "link", "meta", "noscript", "script", "style", "template", "title"})
_UNFINISHED = re.compile(r"<[A-Za-z/!?]")


def html_text(page: str) -> str:
    """Return the text of a page, a paragraph a line; "" if it has none."""
    return _Page(page).text()


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.open: list[tuple[str, int]] = []
        """Names of the containers that are open, and how many pieces came before each."""
        self.number: Counter[str] = Counter()
        self.feed(page)
        while self.cdata_elem is None and _UNFINISHED.match(self.rawdata):
            # close() would give what it holds for unfinished as text, in some versions of Python.
            rest = "" if self.rawdata.startswith("<!--") else self.rawdata.partition(">")[2]
            self.rawdata = ""
            self.feed(rest)
        self.close()

    def text(self) -> str:
        """Return the lines with text."""
        begun = [before for name, before in self.open if name in _CODE]
        lines = "".join(self.pieces[: min(begun, default=None)]).split("\n")
        return "\n".join(line for line in (" ".join(line.split()) for line in lines) if line)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Open an element; one that no head can hold ends the head, whose own end tag may be missing."""
        if self.open and self.open[-1][0] == "head" and tag not in _OF_HEAD:
            self._close("head")
        self._line(tag)
        if tag in _CONTAINERS:
            self.open.append((tag, len(self.pieces)))
            self.number[tag] += 1

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """`<div/>` of XHTML: it holds nothing."""
        self._line(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close an element, if it is open."""
        if self.number[tag]:
            self._close(tag)
        self._line(tag)

    def handle_data(self, data: str) -> None:
        """Take text."""
        self.pieces.append(data if self.number["pre"] else re.sub(r"\s+", " ", data))

    def unknown_decl(self, data: str) -> None:
        """`<![CDATA[…]]>` is text, as in XHTML."""
        if data.startswith("CDATA["):
            self.handle_data(data.removeprefix("CDATA["))

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Return where a section `<![…` ends, -1 if nowhere; that of some versions of Python fails at unknown ones."""
        end = "]]>" if self.rawdata.startswith("<![CDATA[", i) else ">"
        found = self.rawdata.find(end, i)
        if found < 0:
            return -1
        self.unknown_decl(self.rawdata[i + 3 : found])
        return found + len(end)

    def _line(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def _close(self, tag: str) -> None:
        name = ""
        while name != tag:
            name, before = self.open.pop()
            self.number[name] -= 1
            if name in _LEFT_OUT:
                del self.pieces[before:]
