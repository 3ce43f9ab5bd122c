"""Codes, names and scripts of languages, against the table of ISO 639-2 as Debian's package iso-codes has it."""

from __future__ import annotations

from itertools import product

import pytest

from prealign.languages import base, language_name, plausible_script, same

# Two letters = terminological code = bibliographic code, if it is another.
ISO = """
aa=aar ab=abk ae=ave af=afr ak=aka am=amh an=arg ar=ara as=asm av=ava ay=aym az=aze ba=bak be=bel bg=bul bh=bih
bi=bis bm=bam bn=ben bo=bod=tib br=bre bs=bos ca=cat ce=che ch=cha co=cos cr=cre cs=ces=cze cu=chu cv=chv
cy=cym=wel da=dan de=deu=ger dv=div dz=dzo ee=ewe el=ell=gre en=eng eo=epo es=spa et=est eu=eus=baq fa=fas=per
ff=ful fi=fin fj=fij fo=fao fr=fra=fre fy=fry ga=gle gd=gla gl=glg gn=grn gu=guj gv=glv ha=hau he=heb hi=hin
ho=hmo hr=hrv ht=hat hu=hun hy=hye=arm hz=her ia=ina id=ind ie=ile ig=ibo ii=iii ik=ipk io=ido is=isl=ice it=ita
iu=iku ja=jpn jv=jav ka=kat=geo kg=kon ki=kik kj=kua kk=kaz kl=kal km=khm kn=kan ko=kor kr=kau ks=kas ku=kur
kv=kom kw=cor ky=kir la=lat lb=ltz lg=lug li=lim ln=lin lo=lao lt=lit lu=lub lv=lav mg=mlg mh=mah mi=mri=mao
mk=mkd=mac ml=mal mn=mon mr=mar ms=msa=may mt=mlt my=mya=bur na=nau nb=nob nd=nde ne=nep ng=ndo nl=nld=dut
nn=nno no=nor nr=nbl nv=nav ny=nya oc=oci oj=oji om=orm or=ori os=oss pa=pan pi=pli pl=pol ps=pus pt=por qu=que
rm=roh rn=run ro=ron=rum ru=rus rw=kin sa=san sc=srd sd=snd se=sme sg=sag si=sin sk=slk=slo sl=slv sm=smo sn=sna
so=som sq=sqi=alb sr=srp ss=ssw st=sot su=sun sv=swe sw=swa ta=tam te=tel tg=tgk th=tha ti=tir tk=tuk tl=tgl
tn=tsn to=ton tr=tur ts=tso tt=tat tw=twi ty=tah ug=uig uk=ukr ur=urd uz=uzb ve=ven vi=vie vo=vol wa=wln wo=wol
xh=xho yi=yid yo=yor za=zha zh=zho=chi zu=zul
"""
ROWS = [row.split("=") for row in ISO.split()]
# One code for several: Serbo-Croatian and its members, Norwegian and Bokmål, Akan and Twi.
TOGETHER = ({"sh", "hr", "sr", "bs"}, {"no", "nb"}, {"ak", "tw"})


def test_the_table_has_all_languages_with_two_letters() -> None:
    assert len(ROWS) == 184


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_code_of_a_language_is_the_same_language(row: list[str]) -> None:
    assert len({base(code) for code in row}) == 1
    for code, tag in product(row, row):
        assert same(code, tag) and same(f"{code}-000", tag.upper()) and same(f"{code}_Xxxx", tag)


def test_no_code_names_two_languages_of_the_table() -> None:
    for one, other in product(ROWS, ROWS):
        expected = one[0] == other[0] or any(one[0] in both and other[0] in both for both in TOGETHER)
        assert same(one[1], other[0]) is expected, (one, other)


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        *(("ekk", "et"), ("als", "sq"), ("npi", "ne"), ("ory", "or"), ("plt", "mg"), ("ydd", "yi"), ("gug", "gn")),
        *(("quy", "qu"), ("quz", "qu"), ("ayr", "ay"), ("pbt", "ps"), ("gaz", "om"), ("twi", "ak"), ("iw", "he")),
        *(("in", "id"), ("ji", "yi"), ("fil", "tl"), ("cmn", "zh"), ("arb", "ar"), ("zsm", "ms"), ("lvs", "lv")),
        *(("uzn", "uz"), ("azj", "az"), ("khk", "mn"), ("kmr", "ku"), ("swh", "sw"), ("pes", "fa"), ("prs", "fa")),
        *(("fuv", "ff"), ("knc", "kr"), ("kng", "kg"), ("src", "sc"), ("nob", "no"), ("mo", "ro"), ("hbs", "hr")),
    ],
)
def test_the_code_of_a_member_names_its_macrolanguage(code: str, tag: str) -> None:
    assert same(code, tag) and same(tag, code)


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        *(("quy", "quh"), ("yue", "zh"), ("wuu", "zh"), ("arz", "ar"), ("ckb", "ku"), ("id", "ms"), ("nn", "no")),
        *(("vro", "et"), ("ltg", "lv"), ("azb", "az"), ("de", "nl"), ("", "de"), ("!!", "de")),
    ],
)
def test_members_are_not_each_other_and_some_are_languages_beside_their_macrolanguage(code: str, tag: str) -> None:
    assert not same(code, tag) and not same(tag, code)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        *(("de", "German"), ("deu", "German"), ("zh-Hant", "Chinese (zh-Hant)"), ("no", "Norwegian"), ("el", "Greek")),
        *(("my", "Burmese"), ("wo", "Wolof"), ("tl", "Tagalog"), ("xx", "xx"), ("qaa-x", "qaa-x"), ("!!", "!!")),
    ],
)
def test_a_language_has_its_english_name(tag: str, name: str) -> None:
    assert language_name(tag) == name


@pytest.mark.parametrize(
    ("word", "tags", "others"),
    [
        ("кућа", "sr bs sh sr-Cyrl mn kk uz ru", "hr sl sr-Latn de"),
        ("kuća", "sr hr bs sh sr-Latn uz az", "ru sr-Cyrl el"),
        ("ひと", "ja", "zh ko"),
        ("コーヒー", "ja", "zh"),
        ("房子", "zh zh-Hant ja yue", "ko en"),
        ("하늘", "ko", "ja zh"),
        ("ئەسپ", "ug ckb ku ar fa pbt ps", "he tr"),
        ("בית", "he yi", "ar"),
        ("घर", "hi ne mr sa", "bn"),
        ("house", "en wo ii-Latn und xx", "ja el am chr"),
        ("ᎠᏂ", "chr xx", "en"),
        ("42", "und xx", "de zh"),
    ],
)
def test_a_word_is_in_a_script_of_its_language(word: str, tags: str, others: str) -> None:
    assert all(plausible_script(word, tag) for tag in tags.split())
    assert not any(plausible_script(word, tag) for tag in others.split())


def test_every_language_with_two_letters_has_a_script_or_is_told() -> None:
    """What the library does not know is what it has no usual script for."""
    unknown = {row[0] for row in ROWS if plausible_script("42", row[0])}
    assert unknown == {"ie", "oj", "pi"}
