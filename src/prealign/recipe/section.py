"""Building blocks of recipe sections: the strict base class and the number types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


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
