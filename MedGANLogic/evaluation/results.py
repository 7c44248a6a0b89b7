"""One page of what was measured of several models, from their cards alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from MedGANLogic.catalogue import Model
from MedGANLogic.evaluation.protocols import Drawn, Number, Protocol, protocol_of
from MedGANLogic.evaluation.report import FORMATS, LESIONS, Summary, model_table
from MedGANLogic.study import Study

_HEADING = (
    "# Results",
    "",
    "Made from the cards of the shipped models by `make results`: no number stands here that is not on a card. All are "
    "of subjects that no network that was measured on them ever saw, nor any baseline. Research use only.",
    "",
)

#: Of fewer subjects, a mean says little: every case is listed.
_FEW = 8


def results_page(models: Sequence[Model], cards: str) -> str:
    """Return Markdown: by task, every model beside all that it was compared with.

    ``cards`` is the way from the page to the folder of the models. A model that was not measured says so.
    """
    lines = [*_HEADING]
    for task in sorted({model.card.task for model in models}):
        lines += [f"## {task}", ""]
        for model in models:
            if model.card.task == task:
                lines += _section(model, f"{cards}/{model.folder.name}/README.md")
    return "\n".join(lines)


def _section(model: Model, card: str) -> list[str]:
    name, training, measured = model.card.name, model.card.training, model.card.measured
    lines = [f"### {model.card.title}", "", f"[`{name}`]({card}), {training.get('system', 'system not stated')}", ""]
    if not measured:
        return [*lines, "Not measured.", ""]
    protocol = _protocol(training["study"], measured["tables"])
    about = training["study"].get("about", {})
    lines += [
        f"- n = {len(measured['subjects'])} subjects never seen: {', '.join(measured['subjects'])}",
        f"- Seed {training['study']['seed']}; weights sha256 `{measured['weights_sha256']}`",
        *_folds(measured),
        f"- Trained by `{training['command']}`",
        f"- Measured by `{measured['command']}`",
        f"- The adversary: {about.get('adversary', 'what it buys or costs is not stated')}",
        "",
        measured["protocol"],
        "",
    ]
    for table in measured["tables"]:
        lines += [f"**{table['reference']}**", "", *_table(protocol, table)]
        few = len(measured["subjects"]) < _FEW and "by_case" in table
        lines += _cases(protocol, table) if few else [f"Every case: [the card]({card}).", ""]
    return lines


def _protocol(study: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> Protocol:
    """Return how a model was compared; that lesions were drawn is seen by what was measured of them."""
    read = Study.from_json(study)
    kind = protocol_of(read)
    if kind is None:
        raise ValueError(f"{read.task}: a card has measured numbers, and nothing says what is right")
    regions = {row.region for table in tables for row in _summaries(table)[0].rows}
    return kind(read, Drawn(lesions=LESIONS if LESIONS in regions else None))


def _summaries(table: Mapping[str, Any]) -> list[Summary]:
    return [Summary.from_json(one) for one in table["models"].values()]


def _folds(measured: Mapping[str, Any]) -> list[str]:
    """Say which network was measured on whom, where it is not the model itself that was."""
    others = [one for one in measured.get("folds", ()) if one["weights_sha256"] != measured["weights_sha256"]]
    said = "; ".join(f"`{one['weights_sha256'][:12]}` on {', '.join(one['tested'])}" for one in others)
    return [f"- Measured were its like, each trained without some subjects: {said}"] if said else []


def _table(protocol: Protocol, table: Mapping[str, Any]) -> list[str]:
    summaries = dict(zip(table["models"], _summaries(table), strict=True))
    there = {(row.metric, row.region) for one in summaries.values() for row in one.rows if row.mean is not None}
    return [model_table(summaries, [number for number in protocol.shown if number in there]), ""]


def _cases(protocol: Protocol, table: Mapping[str, Any]) -> list[str]:
    """List what a card lists of every case: a row per case, a column per predictor."""
    units = {(row.metric, row.region): row.unit for one in _summaries(table) for row in one.rows}
    models: Mapping[str, Mapping[str, Mapping[str, float | None]]] = table["by_case"]
    lines = []
    for number in protocol.listed:
        if number not in units:
            continue
        metric, region = number
        lines += [f"{metric} ({region}) of every case:", "", "| | " + " | ".join(models) + " |"]
        lines += ["|:---|" + "---:|" * len(models)]
        for case in next(iter(models.values())):
            cells = [_cell(of[case], number, units[number]) for of in models.values()]
            lines.append(f"| {case} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def _cell(values: Mapping[str, float | None], number: Number, unit: str) -> str:
    value = values.get(", ".join(number))
    return "–" if value is None else f"{value:{FORMATS[unit]}}"
