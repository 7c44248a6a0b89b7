"""Measure whether a synthetic image may be trusted: metrics with mask and range, reports, summaries, picture sheets."""

from MedGANLogic.evaluation.body import body_mask
from MedGANLogic.evaluation.report import Report, Row, Summary, SummaryRow, compare, model_table, summarize
from MedGANLogic.evaluation.sheet import (
    Cut,
    Panel,
    Plane,
    axial_cuts,
    cuts_through,
    error_panel,
    translation_panels,
    write_sheet,
)

__all__ = [
    "Cut",
    "Panel",
    "Plane",
    "Report",
    "Row",
    "Summary",
    "SummaryRow",
    "axial_cuts",
    "body_mask",
    "compare",
    "cuts_through",
    "error_panel",
    "model_table",
    "summarize",
    "translation_panels",
    "write_sheet",
]
