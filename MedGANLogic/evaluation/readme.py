"""A measured model's README: what it is, what it was trained on, and how far off it was on subjects never seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MedGANLogic.bundle import Bundle
from MedGANLogic.catalogue import RESEARCH_USE
from MedGANLogic.evaluation.protocols import Number, Protocol
from MedGANLogic.evaluation.report import FORMATS, Report, Summary, model_table, summarize

#: What the model itself is called in every table.
THIS = "this model"

#: What stands in a table where there is no number.
_NONE = "–"


@dataclass(frozen=True)
class Table:
    """One reference's comparison: what is said of the reference, and every case's report, by predictor."""

    short: str
    reference: str
    reports: Mapping[str, Mapping[str, Report]]

    @property
    def summaries(self) -> dict[str, Summary]:
        """Each predictor's numbers over all cases."""
        return {name: summarize(reports) for name, reports in self.reports.items()}

    def listed(self, protocol: Protocol) -> list[Number]:
        """Return what is listed of every case, but for what this reference has no number of."""
        reports = [report for of in self.reports.values() for report in of.values()]
        return [number for number in protocol.listed if any(report.value(*number) is not None for report in reports)]

    def in_short(self, protocol: Protocol) -> str:
        """Return what this model's numbers are, in a line."""
        summary = self.summaries[THIS]
        cells = [f"{metric} {summary.cell(metric, region)} ({region})" for metric, region in self.listed(protocol)]
        return f"{self.short}: {', '.join(cells)}"


def readme(
    bundle: Bundle,
    protocol: Protocol,
    tables: Sequence[Table],
    details: Mapping[str, Sequence[float]],
    remarks: Mapping[str, str],
    folds: Sequence[str],
    worst: str,
    command: str,
) -> str:
    """Return the text of a model's card, in Markdown."""
    lines = [
        *_about(bundle, command),
        "## Measured errors",
        "",
        protocol.words,
        "",
        *_folds(folds),
    ]
    for table in tables:
        lines += [f"### {table.reference}", "", model_table(table.summaries, protocol.shown), ""]
        for number in table.listed(protocol):
            lines += [*_by_case(table, number), ""]
    if remarks:
        lines += ["### Nothing added?", "", "What was taken away, beside the noise that was added:", ""]
        lines += [*(f"- {case}: {remark}" for case, remark in remarks.items()), ""]
    if details:
        textures = ", ".join(f"{name} {np.mean(values):.1f}" for name, values in details.items())
        lines += [
            "### Fine detail",
            "",
            "Noise and texture in soft tissue (robust SD of the image minus its 3×3 mean in the slice, HU, mean over "
            f"cases): {textures}. An L1 network smooths them away; an adversary is there to bring them back.",
            "",
        ]
    lines += [f"The worst case is {worst}:", "", "![worst case](docs/worst.png)", ""]
    lines += ["## Departures from the paper", "", *(f"- {said}" for said in bundle.card.departures), ""]
    return "\n".join(lines)


def _about(bundle: Bundle, command: str) -> list[str]:
    card, training = bundle.card, bundle.card.training
    about = training["study"].get("about", {})
    counts, system = training["subjects"], f"{training['system']} ({training['source']}), recipe `{training['recipe']}`"
    chosen = f"chosen on {counts['validation']}" if counts["validation"] else "the last"
    return [
        f"# {card.title}",
        "",
        f"**{RESEARCH_USE}** Every output is synthetic: it shows what such an input usually goes with, not a scan.",
        "",
        f"- Task: {card.task}; unit out: {', '.join(d.unit for d in card.targets.values())}",
        f"- System: {system}",
        f"- Valid for: {', '.join(card.validity['anatomy'])}; {about.get('sequence', 'sequence not stated')}",
        f"- Spacing (left–right, front–back, head–foot): {_ranges(card.validity['spacing_mm'])} mm",
        f"- Field of view: {_ranges(card.validity['extent_mm'])} mm",
        f"- Data: {about.get('data', 'not stated')}",
        f"- Data licence: {about.get('data_licence', 'not stated')}",
        f"- Attribution: {about.get('attribution', 'not stated')}",
        f"- Licence of the weights: {card.licence}",
        f"- Trained on {counts['train']} subjects, {training['steps']} steps (step {training['best_step']}, {chosen}), "
        f"{counts['test']} kept apart for the test; seed {training['study']['seed']}",
        f"- Weights: {sum(p.numel() for n in bundle.networks.values() for p in n.parameters()):,} parameters, float16, "
        f"sha256 `{bundle.weights_sha256}`",
        f"- Trained by `{training['command']}`, measured by `{command}`",
        *([f"- The adversary: {about['adversary']}"] if "adversary" in about else []),
        "",
    ]


def _folds(folds: Sequence[str]) -> list[str]:
    if not folds:
        return []
    return [
        "These weights were trained on all subjects. The numbers are those of networks trained alike, each without "
        "some subjects, on the subjects that it never saw:",
        "",
        *(f"- {fold}" for fold in folds),
        "",
    ]


def _by_case(table: Table, number: Number) -> list[str]:
    """Return a Markdown table of one number: a row per case, a column per predictor, and the reference's own if any."""
    metric, region = number
    reports = dict(table.reports)
    true = (f"{metric.removesuffix(' error')} of reference", region)
    cells = {
        case: [_cell(report, true), *(_cell(of[case], number) for of in reports.values())]
        for case, report in reports[THIS].items()
    }
    names = ["reference", *reports]
    if all(first == _NONE for first, *_ in cells.values()):
        names, cells = names[1:], {case: row[1:] for case, row in cells.items()}
    lines = [f"{metric} ({region}) of every case:", "", "| |" + "|".join(names) + "|", "|---|" + "---:|" * len(names)]
    return lines + [f"|{case}|" + "|".join(row) + "|" for case, row in cells.items()]


def _cell(report: Report, number: Number) -> str:
    for row in report.rows:
        if (row.metric, row.region) == number and row.value is not None:
            return f"{row.value:{FORMATS[row.unit]}}"
    return _NONE


def _ranges(limits: Sequence[Sequence[float]]) -> str:
    return ", ".join(f"{low:g}–{high:g}" for low, high in limits)
