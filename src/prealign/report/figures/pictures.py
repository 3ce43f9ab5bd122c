"""All figures of a page, drawn from results.json; equal results give equal bytes."""

from __future__ import annotations

from prealign.report.figures.alignment import alignment
from prealign.report.figures.curves import losses, validation
from prealign.report.figures.drawing import Picture, style
from prealign.report.figures.dynamics import dynamics
from prealign.report.figures.external_retrieval import external_retrieval
from prealign.report.figures.perplexity import perplexities
from prealign.report.figures.sweeps import sweep_curves
from prealign.report.results import Results


def pictures(results: Results) -> list[Picture]:
    """Return every figure that the results have data for, alignment during training first."""
    with style():
        makers = (dynamics, alignment, external_retrieval, perplexities, validation, losses, sweep_curves)
        return [picture for make in makers for picture in make(results)]
