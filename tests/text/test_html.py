from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealign.errors import PrealignError
from prealign.files import _ARCHIVES
from prealign.text.corpus import read_documents
from prealign.text.html import html_text

PAGE = """<!DOCTYPE html>
<html lang="cs"><head><meta charset="utf-8"><title>Kotva</title><style>p {color: red}</style>
<script>if (a < b && c > d) document.write("<p>no</p>")</script></head>
<body>
<header id="top"><a href="/"><p>Help 7.4</p></a><nav><ul><li>Contents<li>Index</ul></nav></header>
<aside class="left"><div>Search</div></aside>
<div id="main">
<h1>Anchoring
   objects</h1>
<p class="a">An <b>ob</b>ject&nbsp;&ndash; a &lt;frame&gt;, a p&#237;smo &amp; more.</p>
<p>Second paragraph, never closed
<table><tr><th>Anchor</th><th>Effect</th></tr><tr><td>as&#x20;character</td><td>one<br>two</td></tr></table>
<dl><dt>term<dd>meaning</dl>
<pre>
first  line
  second
</pre>
<noscript>Turn scripts on.</noscript><hr/>
<!-- a comment with <p>markup</p> -->
tail
</div>
<footer><p>This page is: x.xhp</p></footer>
<script src="a.js"></script>
</body></html>
"""
TEXT = """Anchoring objects
An object – a <frame>, a písmo & more.
Second paragraph, never closed
Anchor
Effect
as character
one
two
term
meaning
first line
second
tail"""


def test_a_page_is_its_paragraphs() -> None:
    assert html_text(PAGE) == TEXT


@pytest.mark.parametrize("tag", ["p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "td", "th", "dt", "dd", "pre", "div"])
def test_a_block_begins_and_ends_a_line(tag: str) -> None:
    assert html_text(f"a<{tag} class='x'>b <i>c</i></{tag}>d") == "a\nb c\nd"
    assert html_text(f"a<{tag.upper()}>b<{tag.upper()}>c") == "a\nb\nc"


@pytest.mark.parametrize("tag", ["script", "style", "head", "nav", "header", "footer", "aside", "template", "noscript"])
def test_what_is_no_prose_is_left_out(tag: str) -> None:
    assert html_text(f"a <{tag} id='x'>b</{tag}> c").split() == ["a", "c"]
    assert html_text(f"a <{tag}/> c").split() == ["a", "c"]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        # end tags that may be missing
        ("<head><title>t</title><body>x", "x"),
        ("<head><title>t</title><p>x", "x"),
        ("<nav><ul><li>a<li>b</ul></nav>c", "c"),
        ("<div>a<nav>b</div>c", "a\nc"),
        ("<p>a<nav>b</p>c</nav>d", "a\nd"),
        # an element that is never closed hides nothing, if it is no code
        ("a<nav>b", "a\nb"),
        ("<html><body><div>a<header>b<p>c</body></html>d", "a\nb\nc\nd"),
        ("a<script>b", "a"),
        ("a<nav><style>b", "a"),
        ("a</nav></div>b", "a\nb"),
        # what the page breaks off in
        ("a<!-- b <p>c</p>", "a"),
        ("a<a href='x", "a"),
        ("a</p", "a"),
        ("a &am", "a &am"),
        ("a &#229", "a å"),
        # a sign is no tag
        ("a < b & c > d <", "a < b & c > d <"),
        ("a <3 b", "a <3 b"),
        # declarations, sections, conditional comments
        ("<?xml version='1.0'?><!DOCTYPE html>a", "a"),
        ("a<![CDATA[b > <c>]]>d", "ab > <c>d"),
        ("a<![if !IE]>b<![endif]>c", "abc"),
        ("a<!--[if lt IE 9]><p>b</p><![endif]-->c", "ac"),
        ("a<![b c", "a"),
        # a tag that is broken costs itself, not the rest of the page
        ("a<![CDATA[b > c", "a c"),
        ("<a \"'/>b</a>c", "bc"),
        # references to what is no character
        ("a&#xD800;b", "a\ufffdb"),
        ("a&nosuch;b", "a&nosuch;b"),
        ("", ""),
    ],
)
def test_bad_html_is_read_as_far_as_it_goes(page: str, text: str) -> None:
    assert html_text(page) == text


# A tree of HTML, of which both the page and its lines are made.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["<p>", "&amp;", "a b", "--"])
INLINE: Any = st.recursive(
    WORDS, lambda inner: st.tuples(st.sampled_from(["b", "i", "a", "span", "em", "code"]), st.lists(inner, max_size=3))
)
BLOCK: Any = st.tuples(st.sampled_from(["p", "h1", "h6", "li", "td", "th", "dt", "dd"]), st.lists(INLINE, max_size=4))
HIDDEN = st.tuples(st.sampled_from(["nav", "header", "footer", "template"]), st.lists(BLOCK, max_size=2))
BLOCKS: Any = st.recursive(
    BLOCK | HIDDEN, lambda inner: st.tuples(st.sampled_from(["div", "section", "ul"]), st.lists(inner, max_size=3))
)


def written(node: Any) -> str:
    return escape(node) if isinstance(node, str) else f"<{node[0]}>{''.join(map(written, node[1]))}</{node[0]}>"


def inline_text(node: Any) -> str:
    return node if isinstance(node, str) else "".join(map(inline_text, node[1]))


def lines(node: Any) -> list[str]:
    tag, inner = node
    if tag in ("nav", "header", "footer", "template"):
        return []
    if tag in ("div", "section", "ul"):
        return [line for part in inner for line in lines(part)]
    return [line] if (line := " ".join("".join(map(inline_text, inner)).split())) else []


@given(st.lists(BLOCKS, max_size=4))
def test_any_text_between_tags_comes_back(page: list[Any]) -> None:
    assert html_text("".join(map(written, page))) == "\n".join(line for node in page for line in lines(node))


SCRAPS = (
    "< > & / ! - [ ] ? ' \" = a \n <p> </p> <nav> </nav> <script> </script> <![CDATA[ ]]> <!-- --> &amp; <pre> <head>"
)
SOUP = st.lists(st.sampled_from([*SCRAPS.split(" "), "ž", "\ufeff", "\0"]), max_size=40).map(
    lambda s: "".join(s).encode()
)


@given(st.binary(max_size=60) | SOUP, st.sampled_from([".html", ".htm", ".xhtml", ".HTML"]))
def test_any_bytes_are_text_or_an_error_with_a_message(
    tmp_path_factory: pytest.TempPathFactory, page: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"page{suffix}"
    path.write_bytes(page)
    try:
        whole = list(read_documents([str(path)]))
    except PrealignError as error:
        assert str(path) in str(error)
        # Anything but text in UTF-8 without zeros: other encodings, archives and packed files are named for what they are.
        if b"\0" not in page and not page.startswith((*_ARCHIVES, b"\x1f\x8b")):
            assert "is not UTF-8" in str(error) or "UTF-16" in str(error)
            with pytest.raises(UnicodeDecodeError):
                page.decode()
        return
    by_line = list(read_documents([str(path)], "line"))
    assert [text for _, text in whole] == (["\n".join(line for _, line in by_line)] if by_line else [])
    assert all(line == " ".join(line.split()) != "" for _, line in by_line)


def test_documents_are_pages_or_paragraphs(tmp_path: Path) -> None:
    for name in ("a.html", "b.HTM", "c.xhtml"):
        (tmp_path / name).write_text("\ufeff" + PAGE, encoding="utf-8")
    names = [name for name, _ in read_documents([str(tmp_path)])]
    assert names == ["a.html", "b.HTM", "c.xhtml"]
    assert list(read_documents([str(tmp_path / "*.html")])) == [("a.html", TEXT)]
    assert list(read_documents([str(tmp_path / "b.HTM")], "line")) == [
        (f"b.HTM:{number}", line) for number, line in enumerate(TEXT.split("\n"), start=1)
    ]
