"""What a language is called, and which script its words are written in."""

from __future__ import annotations

import unicodedata

# Scripts are the first word of their characters' Unicode names. A language that is not here is called by its tag, and its
# words may be of any script.
_TABLE = """
en English LATIN | de German LATIN | fr French LATIN | es Spanish LATIN | it Italian LATIN | pt Portuguese LATIN
nl Dutch LATIN | sv Swedish LATIN | da Danish LATIN | no Norwegian LATIN | nb Norwegian LATIN | fi Finnish LATIN
et Estonian LATIN | lv Latvian LATIN | lt Lithuanian LATIN | pl Polish LATIN | cs Czech LATIN | sk Slovak LATIN
sl Slovenian LATIN | hr Croatian LATIN | sr Serbian LATIN,CYRILLIC | ro Romanian LATIN | hu Hungarian LATIN
tr Turkish LATIN | vi Vietnamese LATIN | id Indonesian LATIN | ms Malay LATIN | sw Swahili LATIN | af Afrikaans LATIN
ca Catalan LATIN | eu Basque LATIN | gl Galician LATIN | ga Irish LATIN | cy Welsh LATIN | is Icelandic LATIN
ru Russian CYRILLIC | uk Ukrainian CYRILLIC | bg Bulgarian CYRILLIC | be Belarusian CYRILLIC | mk Macedonian CYRILLIC
kk Kazakh CYRILLIC | el Greek GREEK | ar Arabic ARABIC | fa Persian ARABIC | ur Urdu ARABIC | he Hebrew HEBREW
hi Hindi DEVANAGARI | mr Marathi DEVANAGARI | ne Nepali DEVANAGARI | bn Bengali BENGALI | ta Tamil TAMIL
te Telugu TELUGU | gu Gujarati GUJARATI | kn Kannada KANNADA | ml Malayalam MALAYALAM | pa Punjabi GURMUKHI
si Sinhala SINHALA | th Thai THAI | lo Lao LAO | km Khmer KHMER | my Burmese MYANMAR | ka Georgian GEORGIAN
hy Armenian ARMENIAN | am Amharic ETHIOPIC | ko Korean HANGUL | zh Chinese CJK | ja Japanese CJK,HIRAGANA,KATAKANA
"""
_LANGUAGES = {
    tag: (name, frozenset(scripts.split(",")))
    for tag, name, scripts in (row.split() for line in _TABLE.strip().splitlines() for row in line.split("|"))
}


def language_name(tag: str) -> str:
    """Return what the language is called: `German`, `Chinese (zh-Hant)`; the tag alone if it is not in the table."""
    name = _LANGUAGES.get(tag.split("-")[0], (tag,))[0]
    return f"{name} ({tag})" if name != tag and "-" in tag else name


def plausible_script(word: str, tag: str) -> bool:
    """Whether at least half of the letters are of the language's script; True if the table does not know it."""
    scripts = _LANGUAGES.get(tag.split("-")[0], ("", frozenset[str]()))[1]
    letters = [char for char in word if char.isalpha()]
    if not scripts:
        return True
    fitting = sum(unicodedata.name(char, "").split(" ")[0] in scripts for char in letters)
    return 2 * fitting >= len(letters) > 0


CLONE_SUFFIX = "-clone"


UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo", "dz", "yue", "wuu"})
"""Languages whose running text has no space before a word."""


def is_clone(language: str) -> bool:
    """Whether the tag names a clone language."""
    return language.endswith(CLONE_SUFFIX)


TRADITIONAL = frozenset({"hant", "tw", "hk", "mo"})
"""Subtags of Chinese in traditional characters."""


_CODES = """
eng=en deu=de ger=de rus=ru zho=zh cmn=zh chi=zh ara=ar arb=ar fra=fr fre=fr spa=es por=pt ita=it nld=nl dut=nl
swe=sv dan=da nor=no nob=nb nno=nn fin=fi est=et lav=lv lvs=lv lit=lt pol=pl ces=cs cze=cs slk=sk slv=sl hrv=hr
srp=sr bos=bs hbs=sh bul=bg mkd=mk ukr=uk bel=be ell=el gre=el tur=tr hun=hu ron=ro rum=ro sqi=sq cat=ca eus=eu
glg=gl gle=ga cym=cy gla=gd bre=br isl=is lat=la epo=eo afr=af swh=sw swa=sw hau=ha yor=yo zul=zu xho=xh amh=am
heb=he fas=fa pes=fa per=fa urd=ur hin=hi ben=bn tam=ta tel=te mar=mr guj=gu pan=pa kan=kn mal=ml sin=si nep=ne
san=sa jpn=ja kor=ko vie=vi tha=th lao=lo khm=km mya=my ind=id zsm=ms msa=ms tgl=tl jav=jv kur=ku kmr=ku ckb=ckb
kaz=kk uzb=uz uzn=uz aze=az azj=az kat=ka hye=hy mon=mn khk=mn oci=oc srd=sc mlt=mt ltz=lb fry=fy
"""


_TWO_LETTERS = dict(pair.split("=") for pair in _CODES.split())


# Wiktionary writes Serbo-Croatian as one language, and Bokmål by either tag.
_ALIKE = ({"sh", "hr", "sr", "bs"}, {"no", "nb"})


def base(code: str) -> str:
    """Return a code without its region or script, two letters long where there is such a code."""
    first = code.lower().replace("_", "-").split("-")[0]
    return _TWO_LETTERS.get(first, first)


def same(code: str, tag: str) -> bool:
    """Whether a dictionary's code names the language of a tag."""
    one, other = base(code), base(tag)
    return one == other or any(one in alike and other in alike for alike in _ALIKE)
