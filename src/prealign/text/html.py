"""The text of HTML pages, one paragraph per line.

1. Drop, with their content: `head`, scripts, styles, templates, and elements that the pages of a site share (`nav`,
   `header`, `footer`, `aside`).
2. Start and end a line at block elements (paragraph, heading, list item, table cell …); end a line at `<br>` and at line
   breaks in `<pre>`. Join other white space, no-break spaces included, to one space. Drop lines without text.
3. Decode character references and remove all other markup.

Pages are rarely valid. An unclosed element is not dropped, unless it is a script or style. An unclosed comment extends to
the end of the page. A tag cut off by the end of the page is not text.
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
# The end tag of a container also closes the elements left open in it. Not `p`, which cannot contain blocks, and not `body`
# and `html`, whose end tags may come too early.
_CONTAINERS = (_BLOCKS | _LEFT_OUT) - _ALONE - {"body", "html", "p"}
_OF_HEAD = frozenset({"base", "link", "meta", "noscript", "script", "style", "template", "title"})
_UNFINISHED = re.compile(r"<[A-Za-z/!?]")


def html_text(page: str) -> str:
    """Return the text of a page, one paragraph per line; "" if it has none."""
    return _Page(page).text()


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.open: list[tuple[str, int]] = []
        """Name of each open container, and the number of pieces before it."""
        self.number: Counter[str] = Counter()
        self.feed(page)
        while self.cdata_elem is None and _UNFINISHED.match(self.rawdata):
            # In some versions of Python, close() returns an unfinished tag as text.
            rest = "" if self.rawdata.startswith("<!--") else self.rawdata.partition(">")[2]
            self.rawdata = ""
            self.feed(rest)
        self.close()

    def text(self) -> str:
        """Return the lines that have text."""
        begun = [before for name, before in self.open if name in _CODE]
        lines = "".join(self.pieces[: min(begun, default=None)]).split("\n")
        return "\n".join(line for line in (" ".join(line.split()) for line in lines) if line)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Open an element. An element that cannot be in a head ends the head: `</head>` may be missing."""
        if self.open and self.open[-1][0] == "head" and tag not in _OF_HEAD:
            self._close("head")
        self._line(tag)
        if tag in _CONTAINERS:
            self.open.append((tag, len(self.pieces)))
            self.number[tag] += 1

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """Handle `<div/>` of XHTML, which is empty."""
        self._line(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close an element that is open."""
        if self.number[tag]:
            self._close(tag)
        self._line(tag)

    def handle_data(self, data: str) -> None:
        """Add text."""
        self.pieces.append(data if self.number["pre"] else re.sub(r"\s+", " ", data))

    def unknown_decl(self, data: str) -> None:
        """Add the text of `<![CDATA[…]]>`, as in XHTML."""
        if data.startswith("CDATA["):
            self.handle_data(data.removeprefix("CDATA["))

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Return the end of a section `<![…`, or -1. The method of some versions of Python fails at unknown sections."""
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
