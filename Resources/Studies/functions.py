"""One picture of what the shipped models do: a row each, of a person whom the model never saw, or which says otherwise.

    python Resources/Studies/functions.py ../shared/data docs/functions.png      (or: make functions)

Input, result, truth and difference; which case stands for which model is said in functions.toml. Models that have no
case, cases that have no model yet, and files that are not there are told of and left out.
"""

import csv
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from MedGANLogic import catalogue
from MedGANLogic.__main__ import main as medgan
from MedGANLogic.bundle import open_bundle
from MedGANLogic.catalogue import Model
from MedGANLogic.domain import Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.evaluation.sheet import Cut, Panel, Plane, axial_cuts, translation_panels, write_sheet
from MedGANLogic.images import Image, Orientation, read
from MedGANLogic.inference.translate import translate

STUDIES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """A subject, its files below the folder of data, and the words that make the first input of the truth.

    ``seen``: the model has learnt from it, because no other is left.
    """

    subject: str
    truth: str
    inputs: tuple[str, ...] = ()
    simulated: tuple[str, ...] = ()
    seen: bool = False

    @property
    def called(self) -> str:
        """The subject, and whether the model has seen it."""
        return f"{self.subject}, {'from its training' if self.seen else 'never seen'}"

    @property
    def files(self) -> tuple[str, ...]:
        """All that must be there."""
        return (*self.inputs, self.truth)


def cases(table: Path) -> dict[str, Case]:
    """Return the cases by model."""
    said = tomllib.loads(table.read_text(encoding="utf-8"))
    lists = ("inputs", "simulated")
    return {
        name: Case(**{key: tuple(value) if key in lists else value for key, value in one.items()})
        for name, one in said.items()
    }


def refuse_seen(model: Model, case: Case) -> None:
    """Raise MedGANError where a subject is of the model's own cohort but not of its test, and not ``seen``; or is not
    and said to be."""
    table = STUDIES / f"{model.card.name}.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines())) if table.exists() else []
    own = {row["subject"] for row in rows} | set(model.card.measured.get("subjects", ()))
    seen = case.subject in own - set(model.card.training["test_subjects"])
    if case.seen and not seen:
        raise MedGANError(f"{model.card.name} never saw {case.subject}: take 'seen' out of functions.toml")
    if seen and not case.seen:
        raise MedGANError(f"{model.card.name} has seen {case.subject}: choose another case in functions.toml")


def inputs_of(model: Model, case: Case, data: Path, scratch: Path) -> dict[str, Image]:
    """Read the inputs by role; make the first where it is simulated."""
    files = [data / file for file in case.inputs]
    if case.simulated:
        made = scratch / f"{model.card.name}.nii.gz"
        kind, *options = case.simulated
        command = ["simulate", kind, str(data / case.truth), str(made), *options]
        if medgan(command) != 0:
            raise MedGANError(f"medgan {' '.join(command)} failed")
        files.insert(0, made)
    return {
        role: read(file, domain.unit) for (role, domain), file in zip(model.card.inputs.items(), files, strict=True)
    }


def row(model: Model, case: Case, data: Path, scratch: Path) -> Path:
    """Write a model's row as a picture and return its path."""
    refuse_seen(model, case)
    given = inputs_of(model, case, data, scratch)
    target = next(iter(model.card.targets.values()))
    labelled = isinstance(target.window, Labels)
    made = translate(open_bundle(model), given, "cpu").image
    truth = read(data / case.truth, target.unit).on_grid(made.grid, target.background, nearest=labelled)
    # What is coarser is shown as coarse as it is.
    shown = [
        one.on_grid(made.grid, domain.background, nearest=True)
        for one, domain in zip(given.values(), model.card.inputs.values(), strict=True)
    ]
    first, *further = [translation_panels(one, made, truth) for one in shown]
    panels: list[Panel] = [*(one[0] for one in further), *first[1:]]
    path = scratch / f"{model.card.name}.png"
    said = f"Input: medgan simulate {' '.join(case.simulated)}, of the true one." if case.simulated else ""
    title = f"{model.card.name}: {model.card.title} ({case.called})"
    write_sheet(path, title, [first[0], *panels], [cut_of(truth, labelled)], said)
    return path


def cut_of(truth: Image, labelled: bool) -> Cut:
    """Return the axial slice that holds most of the labels; of other images the middle one."""
    if not labelled:
        return axial_cuts(truth.grid, 1)[0]
    upright = truth.with_orientation(Orientation.nearest(truth.affine)).voxels[0]
    return Cut(Plane.AXIAL, int((upright > 0).sum(axis=(0, 1)).argmax()))


def stacked(rows: list[Path], output: Path) -> None:
    """Put pictures one under the other, on the background of the first."""
    from PIL import Image as Picture

    pictures = [Picture.open(file).convert("RGB") for file in rows]
    whole = Picture.new(
        "RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), pictures[0].getpixel((0, 0))
    )
    top = 0
    for one in pictures:
        whole.paste(one, (0, top))
        top += one.height
    whole.save(output, optimize=True)


def missing(case: Case, data: Path) -> list[str]:
    """Return the files of a case that are not there."""
    return [file for file in case.files if not (data / file).exists()]


def left_out(models: Mapping[str, Model], known: Mapping[str, Case], data: Path) -> dict[str, str]:
    """Say of each model, and of each case, why it has no row; those that have one are not in it."""
    said: dict[str, str] = {name: "no case in functions.toml" for name in models if name not in known}
    said |= {name: "no such model yet" for name in known if name not in models}
    lacking = {name: missing(case, data) for name, case in known.items() if name in models}
    return said | {name: f"not there: {', '.join(files)}" for name, files in lacking.items() if files}


def main(arguments: list[str]) -> int:
    """Draw what can be drawn, and say what cannot."""
    data, output = map(Path, arguments)
    models = {one.card.name: one for one in catalogue.models() if one.is_shipped}
    known = cases(STUDIES / "functions.toml")
    without = left_out(models, known, data)
    for name, why in without.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(models[name], known[name], data, Path(folder)) for name in known if name not in without]
        if not rows:
            print("nothing to draw", file=sys.stderr)
            return 1
        stacked(rows, output)
    print(f"{output}: {len(rows)} of {len(known | models)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
