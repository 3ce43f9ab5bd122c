"""Which language a dictionary's code names: ISO 639-3 as FreeDict and PanLex use, ISO 639-1, and Wiktionary's habits."""

from __future__ import annotations

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
