"""The demonstration: translate a digital thigh, or the user's own image, and show what came out."""

import shutil
from pathlib import Path

from MedGANLogic.bundle import open_bundle
from MedGANLogic.catalogue import RESEARCH_USE, find
from MedGANLogic.evaluation import axial_cuts, compare, translation_panels, write_sheet
from MedGANLogic.images import Image, read, write
from MedGANLogic.inference.predict import Progress
from MedGANLogic.inference.translate import translate_file
from MedGANLogic.phantom import thigh

#: The thigh that is shown; any other number shows another one.
_SEED = 7


def demo(folder: Path, own: Path | None, model: str, progress: Progress) -> str:
    """Write input, output, picture and, for the phantom, truth and errors into a folder; return what to tell.

    The folder is made; files of an earlier demonstration are replaced, others stay. Raises what ``translate_file``
    raises for the user's own image.
    """
    bundle = open_bundle(find(model))
    folder.mkdir(parents=True, exist_ok=True)
    source, truth = (own, None) if own else _phantom(folder)
    output = folder / "synthetic_ct.nii.gz"
    provenance = translate_file(bundle, str(source), str(output), progress=progress)
    role, domain = next(iter(bundle.card.inputs.items()))
    target = next(iter(bundle.card.targets.values()))
    shown, answer = read(source, domain.unit), read(output, target.unit)
    title = f"{bundle.card.name}: {role.upper()} in, synthetic {target.modality} out ({target.unit})"
    panels = translation_panels(shown, answer, truth)
    write_sheet(folder / "sheet.png", title, panels, axial_cuts(shown.grid, 3), f"SYNTHETIC. {RESEARCH_USE}")
    told = [f"{finding['level']}: {finding['text']}" for finding in provenance["findings"]]
    if truth is not None:
        report = compare(truth, answer)
        (folder / "errors.txt").write_text(report.to_text() + "\n", encoding="utf-8")
        told += ["", "Errors against the phantom's own CT (a phantom is not a patient):", "", report.to_text()]
    files = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file()))
    width = min(100, shutil.get_terminal_size().columns)
    told += [
        "─" * width,
        f"In {folder}: {files}",
        f"The picture: {folder / 'sheet.png'}",
        f"Your own image:  medgan translate --model {bundle.card.name} MR.nii.gz CT.nii.gz",
        "With a picture:  medgan demo --input MR.nii.gz --out my-demo",
        RESEARCH_USE,
    ]
    return "\n".join(told)


def _phantom(folder: Path) -> tuple[Path, Image]:
    phantom = thigh(_SEED)
    for name, image in (("mr", phantom.mr), ("true_ct", phantom.ct), ("tissues", phantom.tissues)):
        write(image, folder / f"{name}.nii.gz")
    return folder / "mr.nii.gz", read(folder / "true_ct.nii.gz", "HU")
