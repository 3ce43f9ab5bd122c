"""Building blocks of recipe sections: the strict base class and the number types."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from prealign.languages import is_tag, tag_of_name
from prealign.strict_json import shown

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]
"""Temperature of a softmax over cosines. Divided by less, they leave the range of float32; by more, they are all alike."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]


LONGEST_NAME = 100
"""Characters of a name: it becomes a part of names of files, which have at most 255 bytes."""
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}")


def name_fault(text: str) -> str | None:
    """Return why a text is not a name that may become a part of a path; None if it is one."""
    if len(text) > LONGEST_NAME:
        return f"{shown(text)} has {len(text)} characters, and a name at most {LONGEST_NAME}"
    if not _NAME.fullmatch(text):
        return f"{shown(text)} is not a name: use only letters, digits, _ . and -, and begin with a letter, digit or _"
    return None


def _name(text: str) -> str:
    if fault := name_fault(text):
        raise ValueError(fault)
    return text


def tag_fault(text: str) -> str | None:
    """Return what is wrong with a language tag; None if it is one."""
    if is_tag(text):
        return None
    near = tag_of_name(text)
    meant = f"; did you mean {near!r}?" if near else ", such as en, de-AT or zh-Hant"
    return f"{shown(text)} is not a language tag{meant}"


def _tag(text: str) -> str:
    if fault := tag_fault(text):
        raise ValueError(fault)
    return text


Name = Annotated[str, AfterValidator(_name)]
"""A name that may become a part of a path."""
Tag = Annotated[str, AfterValidator(_tag)]
"""A language tag, which becomes a part of paths."""


def _in_order(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    places = [at for at, _ in points]
    if places != sorted(set(places)):
        raise ValueError(f"has its points of progress out of order or twice: {places}")
    return points


SchedulePoints = Annotated[list[tuple[Share, Annotated[float, Field(ge=0)]]], AfterValidator(_in_order)]
"""A factor over the course of a phase, as points [progress, factor], linear between them. Empty: the factor is 1."""


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, and values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def changes(self, *, without: Collection[str] = ()) -> dict[str, Any]:
        """Return the settings that differ from the defaults, for fingerprints.

        Defaults are left out: a new setting at its default keeps the fingerprints of old runs. without: fields to leave
        out.
        """
        return self.model_dump(exclude_defaults=True, exclude=set(without))

    def completed(self, values: Mapping[str, Any]) -> Section:
        """Return a copy with values for the settings that the user left out. They still count as left out."""
        missing = {key: value for key, value in values.items() if key not in self.model_fields_set}
        copy = self.model_copy(update=missing)
        copy.model_fields_set.difference_update(missing)
        return copy
