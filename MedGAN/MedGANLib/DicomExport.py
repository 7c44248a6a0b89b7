"""A result written as a DICOM series of the study that its input came from. No Qt."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from MedGANLib.Task import Task
from MedGANLogic.catalogue import Model
from MedGANLogic.images import write
from MedGANLogic.jobs import Job
from MedGANLogic.mrml import NodeError, grid_of, image_from_node, image_from_segmentation, provenance_of
from MedGANLogic.presenters.translation import Work


def folderName(name: str) -> str:
    """Return a node's name as a folder may be called on every system."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ") or "series"


def sourceFiles(inputNode, database) -> list[str]:
    """Return the files of the series that a volume was loaded from. Raises NodeError where it came from none."""
    uids = (inputNode.GetAttribute("DICOM.instanceUIDs") or "").split() if inputNode is not None else []
    files = [database.fileForInstance(uid) for uid in uids] if database is not None else []
    if not files or not all(file and Path(file).is_file() for file in files):
        raise NodeError("the input did not come from Slicer's DICOM database: there is no study to put the result into")
    return files


class DicomExport(Task):
    """One export: the result and links to the source's files for the child, a new folder from it."""

    def __init__(self, model: Model, resultNode, inputNode, files: Sequence[str], folder: Path, interpreter: str):
        super().__init__(f"Writing {resultNode.GetName()} as DICOM", interpreter)
        self.folder = folder
        self._model, self._result, self._input, self._files = model, resultNode, inputNode, files

    def _go(self, job: Job) -> Iterator[Work]:
        targets = self._model.card.targets
        # Results of earlier versions do not say which target they are: there was one.
        role = provenance_of(self._result).get("target", next(iter(targets)))
        if self._result.IsA("vtkMRMLSegmentationNode"):
            image, _labels = image_from_segmentation(self._result, grid_of(self._input))
        else:
            image = image_from_node(self._result, targets[role].unit)
        write(image, job.folder / "result.npy")
        yield self.work
        source = job.folder / "source"
        source.mkdir()
        yield from self._inShort(self.work.doing, _links(self._files, source))
        made = ("--model", self._model.folder, "--target", role, "--source", source)
        yield from self._run(job, "dicom", *made, job.folder / "result.npy", self.folder)


def _links(files: Sequence[str], folder: Path) -> Iterator[float]:
    """Show files in a folder of their own, copied where links are not possible; yield the share that is done."""
    for number, file in enumerate(files, start=1):
        name = folder / f"{number:06d}.dcm"
        try:
            os.link(file, name)
        except OSError:
            shutil.copyfile(file, name)
        yield number / len(files)
