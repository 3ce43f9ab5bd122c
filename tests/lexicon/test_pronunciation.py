"""Marks of pronunciation, by language: worked by hand, and against the letters that each language writes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealign.lexicon.cleaning import clean
from prealign.lexicon.pronunciation import _OF_LANGUAGE, unmarked


@pytest.mark.parametrize(
    ("tags", "marked", "plain"),
    [
        ("he", "סוּס בַּיִת שָׁלוֹם", "סוס בית שלום"),
        ("he", "אִם־כֵּן", "אם־כן"),
        ("he", "\ufb2aלום", "שלום"),
        ("fa prs ur", "کِتاب بچّه مثلاً", "کتاب بچه مثلاً"),
        (
            "sr hr bs sh",
            "kȕća lêd mȍć ćup rȑba čȁša šȕma žȅna đȁk",
            "kuća led moć ćup rrba čaša šuma žena đak",
        ),
        ("sr sh", "ку̏ћа ко̏њ ра́дост и̏ме", "кућа коњ радост име"),
        ("sr", "мој његов ќ", "мој његов ќ"),
        ("sl", "híša kọ́nj čȃs žẹ́na ločeváti", "hiša konj čas žena ločevati"),
        (
            "lt",
            "nãmas arklỹs ąžuolas ėjìmas ė̃jo kū̃nas žmógus i̇̀š",
            "namas arklys ąžuolas ėjimas ėjo kūnas žmogus iš",
        ),
        ("lv", "mãja lùgums bêrns zeme", "maja lugums berns zeme"),
        ("lv", "māja zīme ūdens ķēve", "māja zīme ūdens ķēve"),
        ("ru uk be", "кни́га о̀коло ёлка йод їжак", "книга около ёлка йод їжак"),
        ("la", "rosā cănō ȳ pŏēta", "rosa cano y poeta"),
        ("grc", "ᾰ̓́νθρωπος", "ἄνθρωπος"),
        ("ang", "hūs ċild ġēar æþele", "hus cild gear æþele"),
        ("ha", "gidā kàrē ƙōfà", "gida kare ƙofa"),
        ("zu", "umúntu", "umuntu"),
        ("tl fil ceb", "batà punò lumà niño", "bata puno luma niño"),
    ],
)
def test_dictionaries_lose_the_marks_that_text_has_not(tags: str, marked: str, plain: str) -> None:
    for tag in tags.split():
        for form in ("NFC", "NFD"):
            assert unmarked(unicodedata.normalize(form, marked), tag) == unicodedata.normalize("NFC", plain)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("ar", "كِتَابٌ"),
        ("yi", "אַ אָ פּ ייִדיש"),
        ("vi", "nước tiếng Việt"),
        ("yo", "ọmọ ìwé"),
        ("de", "Café à"),
        ("fr", "élève où crû"),
        ("cs", "příliš žluťoučký kůň"),
        ("mi", "wāhine"),
        ("mk", "ќе ѓ ѝ"),
        ("bg", "ѝ"),
        ("tr", "kâr"),
        ("el", "άνθρωπος"),
        ("xx", "ȁ"),
    ],
)
def test_marks_that_are_spelling_stay(tag: str, text: str) -> None:
    assert unmarked(text, tag) == text
    assert " ".join(clean(word, tag, lambda *_: None) for word in text.split()) == text


ALPHABETS = {
    "hr": "abcčćdđefghijklmnoprsštuvzž ABCČĆDĐEFGHIJKLMNOPRSŠTUVZŽ",
    "sr": "абвгдђежзијклљмнњопрстћуфхцчџш АБВГДЂЕЖЗИЈКЛЉМНЊОПРСТЋУФХЦЧЏШ",
    "cnr": "abcčćdđefghijklmnoprsšśtuvzžź",
    "sl": "abcčdefghijklmnoprsštuvzž ABCČDEFGHIJKLMNOPRSŠTUVZŽ",
    "lt": "aąbcčdeęėfghiįyjklmnoprsštuųūvzž AĄBCČDEĘĖFGHIĮYJKLMNOPRSŠTUŲŪVZŽ",
    "lv": "aābcčdeēfgģhiījkķlļmnņoprsštuūvzž",
    "he": "אבגדהוזחטיכךלמםנןסעפףצץקרשת״׳־",
    "fa": "آابپتثجچحخدذرزژسشصضطظعغفقکگلمنوهی‌ًءأؤئ",
    "ur": "آابپتٹثجچحخدڈذرڑزژسشصضطظعغفقکگلمنںوہھءیے",
    "ru": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "be": "абвгдеёжзійклмнопрстуўфхцчшыьэюя",
    "ha": "abɓcdɗefghijkƙlmnorstuwyƴzʼ",
    "fil": "abcdefghijklmnñopqrstuvwxyz",
}


@pytest.mark.parametrize("tag", ALPHABETS)
def test_every_letter_of_the_alphabet_stays(tag: str) -> None:
    assert unmarked(ALPHABETS[tag], tag) == ALPHABETS[tag]


@given(st.text(max_size=10), st.sampled_from(sorted(_OF_LANGUAGE)))
def test_what_has_lost_its_marks_has_none_to_lose(word: str, tag: str) -> None:
    once = unmarked(word, tag)
    assert unmarked(once, tag) == once
    assert len(once) <= len(unicodedata.normalize("NFD", word))
