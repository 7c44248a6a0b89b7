"""Images to try the models on: phantoms that are made on the spot, and two volumes that Slicer publishes."""

from MedGANLogic.domain import MR
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import read
from MedGANLogic.jobs import Job, State
from MedGANLogic.mrml import node_from_image

_CATEGORY = "MedGAN"
_ANATOMIES = ("thigh", "head")
#: Slicer's own samples: node name, file, SHA-256. They are downloaded when the user asks for them.
_PUBLISHED = (
    ("MRHead", "MR-head.nrrd", "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"),
    ("CTChest", "CT-chest.nrrd", "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"),
)
_ADDRESS = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"


def register(interpreter: str) -> None:
    """Offer the images in Slicer's Sample Data module."""
    from SampleData import SampleDataLogic

    for anatomy in _ANATOMIES:
        SampleDataLogic.registerCustomSampleDataSource(
            category=_CATEGORY,
            sampleName=_nameOf(anatomy),
            nodeNames=_nameOf(anatomy),
            customDownloader=lambda _source, anatomy=anatomy: [makePhantom(interpreter, anatomy)],
        )
    for name, file, sha256 in _PUBLISHED:
        SampleDataLogic.registerCustomSampleDataSource(
            category=_CATEGORY,
            sampleName=f"MedGAN{name}",
            uris=_ADDRESS + sha256,
            fileNames=file,
            nodeNames=name,
            checksums=f"SHA256:{sha256}",
        )


def _nameOf(anatomy: str) -> str:
    return f"MedGAN{anatomy.capitalize()}"


def makePhantom(interpreter: str, anatomy: str):
    """Make the MR of a digital thigh or head in a child process and return its node.

    Raises MedGANError where that fails.
    """
    import slicer

    with Job(interpreter) as job:
        file = job.folder / "mr.npy"
        job.start("phantom", file, "--anatomy", anatomy)
        while job.wait(timeout=0.05) is State.RUNNING:
            slicer.app.processEvents()
        if job.state is not State.DONE:
            raise MedGANError(job.error)
        node = node_from_image(read(file, MR.unit), MR, slicer.mrmlScene, _nameOf(anatomy))
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
