"""Train the feature networks that are shipped, and measure on subjects kept apart what they see.

Usage, from the top level: python Resources/Studies/features.py [FOLDER]. Writes small-2d.safetensors,
small-3d.safetensors and README.md, the card, into FOLDER (Resources/Features). One thread, the same bytes on one
machine; about ten minutes.

The task makes itself: blocks of an image are blotted out, and a light decoder rebuilds it from what the network saw.
The decoder is thrown away. Images are those of features.csv beside this file.
"""

import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Adam

from MedGANLogic.domain import DOMAINS, FixedWindow, Scale
from MedGANLogic.images import Image, Orientation, read
from MedGANLogic.parts.dimensions import AVERAGE_POOL, CONVOLUTION
from MedGANLogic.parts.features.small import SmallFeatures
from MedGANLogic.recipe import cosine

TABLE = Path(__file__).with_suffix(".csv")
SEED = 2026
LEVELS = 3
#: Voxels of the image for one of the features, along every axis.
REDUCED = 2 ** (LEVELS - 1)
RANDOM_NETWORKS = 3

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """The numbers of one network, its training and its measure.

    When it is measured, at most ``looked_at`` slices or pieces of a volume are, and of these the middle ``largest``².
    """

    width: int
    patch: int
    block: int
    spacing_mm: float
    batch: int
    steps: int
    looked_at: int
    largest: int


SIZES: Mapping[int, Size] = {
    2: Size(width=16, patch=96, block=8, spacing_mm=1.0, batch=8, steps=1200, looked_at=12, largest=160),
    3: Size(width=12, patch=32, block=4, spacing_mm=2.0, batch=4, steps=1200, looked_at=6, largest=96),
}


@dataclass(frozen=True)
class Shown:
    """One image of the table in R, A, S order, in its unit, and where its body is."""

    subject: str
    part: str
    role: str
    contrast: str
    image: Image

    @property
    def values(self) -> Volume:
        return self.image.voxels[0]

    @cached_property
    def scale(self) -> Scale:
        """The scale between its unit and a network's range."""
        return DOMAINS[self.role].window.scale(self.values)

    @cached_property
    def body(self) -> NDArray[np.bool_]:
        return DOMAINS[self.role].window.body(self.values)


def shown_images(dimensions: int) -> list[Shown]:
    """Read every image of the table, resampled to the network's spacing: of 2D ones in the axial plane alone."""
    spacing = SIZES[dimensions].spacing_mm
    images = []
    with TABLE.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            domain = DOMAINS[row["role"]]
            image = read(TABLE.parent / row["file"], domain.unit)
            image = image.with_orientation(Orientation.nearest(image.affine))
            between = spacing if dimensions == 3 else image.grid.spacing_mm[2]
            image = image.on_grid(image.grid.with_spacing((spacing, spacing, between)), outside=domain.background)
            images.append(Shown(row["subject"], row["part"], row["role"], row["contrast"], image))
    return images


def patches(images: Sequence[Shown], dimensions: int) -> Iterator[Tensor]:
    """Yield batches (B, 1, *patch) in [-1, 1] without end: places in the body, every contrast as often.

    Mirrored; the window of CT and PET and the contrast of MR are drawn, because studies choose theirs.
    """
    size, random = SIZES[dimensions], np.random.default_rng([SEED, dimensions])
    contrasts = sorted({one.contrast for one in images})
    of_contrast = {contrast: [one for one in images if one.contrast == contrast] for contrast in contrasts}
    centres = {id(one): np.argwhere(one.body).astype(np.int16) for one in images}
    while True:
        drawn = []
        for _ in range(size.batch):
            among = of_contrast[contrasts[random.integers(len(contrasts))]]
            one = among[random.integers(len(among))]
            places = centres[id(one)]
            edges = (size.patch, size.patch, size.patch if dimensions == 3 else 1)
            patch = window(one.values, places[random.integers(len(places))], edges, DOMAINS[one.role].background)
            patch = np.flip(patch, [axis for axis in range(3) if random.random() < 0.5])
            scaled = drawn_scale(one, random).to_network(patch)
            drawn.append(scaled if dimensions == 3 else scaled[..., 0])
        yield torch.from_numpy(np.stack(drawn)[:, None])


def window(values: Volume, centre: NDArray[np.int16], edges: Sequence[int], outside: float) -> Volume:
    """Return a patch around a voxel; beyond the image it is background."""
    patch = np.full(edges, outside, np.float32)
    starts = [int(c) - edge // 2 for c, edge in zip(centre, edges, strict=True)]
    taken = [slice(max(0, s), min(s + edge, n)) for s, edge, n in zip(starts, edges, values.shape, strict=True)]
    placed = tuple(slice(t.start - s, t.stop - s) for t, s in zip(taken, starts, strict=True))
    patch[placed] = values[tuple(taken)]
    return patch


def drawn_scale(one: Shown, random: np.random.Generator) -> Scale:
    """Return a scale: of CT and PET between the domain's and one four times narrower, of MR a little off."""
    scale, domain = one.scale, DOMAINS[one.role]
    width = scale.high - scale.low
    if isinstance(domain.window, FixedWindow):
        low, high = scale.low + width * random.uniform(0, 0.15), scale.low + width * random.uniform(0.4, 1.0)
        return Scale(low, high)
    return Scale(scale.low, scale.low + width * float(np.exp(random.normal(0, 0.15))))


class Rebuild(nn.Module):
    """Rebuild an image from its features, each place of them a block of the image."""

    def __init__(self, dimensions: int, features: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        convolution = CONVOLUTION[dimensions]
        self.layers = nn.Sequential(
            convolution(features, features, 3, padding=1),
            nn.LeakyReLU(0.2),
            convolution(features, REDUCED**dimensions, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        blocks = self.layers(features).movedim(1, -1).unflatten(-1, (REDUCED,) * self.dimensions)
        d = self.dimensions
        order = [0, *(axis for pair in zip(range(1, d + 1), range(d + 1, 2 * d + 1), strict=True) for axis in pair)]
        interleaved = blocks.permute(order)
        return interleaved.reshape(len(features), 1, *(edge * REDUCED for edge in features.shape[2:]))


def blots(batch: Tensor, block: int, generator: torch.Generator) -> Tensor:
    """Return True where an image is blotted out: of each another share of its blocks, from none to four fifths."""
    shares = torch.rand(len(batch), generator=generator).mul(0.8).reshape(-1, *[1] * (batch.dim() - 1))
    grid = [edge // block for edge in batch.shape[2:]]
    hidden = torch.rand(len(batch), 1, *grid, generator=generator) < shares
    for axis in range(2, batch.dim()):
        hidden = hidden.repeat_interleave(block, axis)
    return hidden


def trained(images: Sequence[Shown], dimensions: int) -> SmallFeatures:
    """Train one network on the images of the part ``train``."""
    size = SIZES[dimensions]
    torch.manual_seed(SEED)
    network = SmallFeatures(dimensions, 1, size.width, LEVELS)
    rebuild = Rebuild(dimensions, size.width * REDUCED)
    optimizer = Adam([*network.parameters(), *rebuild.parameters()], lr=1e-3)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step / size.steps))
    generator = torch.Generator().manual_seed(SEED)
    batches = patches([one for one in images if one.part == "train"], dimensions)
    losses = []
    for step in range(size.steps):
        batch = next(batches)
        hidden = blots(batch, size.block, generator)
        rebuilt = rebuild(network(batch.masked_fill(hidden, 0.0)))
        # What is seen must be kept too, but what is hidden asks for understanding.
        loss = ((rebuilt - batch).abs() * torch.where(hidden, 1.0, 0.1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"{dimensions}D step {step + 1}: {np.mean(losses[-100:]):.4f}", flush=True)
    return network.eval()


@dataclass(frozen=True)
class Described:
    """What a network says of a set of images: a row each, what is to be told, and whether it is kept apart."""

    features: NDArray[np.float64]
    told: NDArray[np.float64]
    apart: NDArray[np.bool_]


def linear(described: Described) -> NDArray[np.float64]:
    """Return what a ridge regression, fitted on the part ``train``, tells of the images kept apart."""
    known, apart = described.features[~described.apart], described.features[described.apart]
    mean, deviation = known.mean(0), known.std(0) + 1e-6
    known, apart = (known - mean) / deviation, (apart - mean) / deviation
    told = described.told[~described.apart]
    middle = told.mean(0)
    gram = known.T @ known / len(known) + 1e-2 * np.eye(known.shape[1])
    return apart @ np.linalg.solve(gram, known.T @ (told - middle) / len(known)) + middle


def explained(described: Described) -> float:
    """Return R² on what was kept apart."""
    told = described.told[described.apart]
    return 1 - float(np.square(linear(described) - told).sum() / np.square(told - told.mean(0)).sum())


def accuracy(described: Described) -> float:
    """Return the mean over classes of the share that is found, on what was kept apart."""
    found, truth = linear(described).argmax(1), described.told[described.apart].argmax(1)
    return float(np.mean([(found[truth == one] == one).mean() for one in np.unique(truth)]))


def pieces(volume: NDArray[np.generic], dimensions: int) -> NDArray[np.float32]:
    """Return what is looked at of a volume: slices (n, i, j), or pieces as thick as a patch (n, i, j, k).

    Evenly spread from its bottom to its top, edges repeated where it is thinner or no multiple of ``REDUCED``.
    """
    size, thick = SIZES[dimensions], SIZES[dimensions].patch if dimensions == 3 else 1
    middle = tuple(slice(max(0, (n - size.largest) // 2), (n + size.largest) // 2) for n in volume.shape[:2])
    seen = volume[middle].astype(np.float32)
    missing = [-n % REDUCED for n in seen.shape[:2]] + [max(0, thick - seen.shape[2])]
    seen = np.pad(seen, [(0, more) for more in missing], "edge")
    starts = np.unique(np.linspace(0, seen.shape[2] - thick, size.looked_at).round().astype(int))
    stack = np.stack([seen[..., start : start + thick] for start in starts])
    return stack if dimensions == 3 else stack[..., 0]


@torch.no_grad()
def maps(network: SmallFeatures, volume: Volume, dimensions: int) -> NDArray[np.float32]:
    """Return the features (n, F, *size / REDUCED) of what is looked at of a volume in a network's range."""
    seen = torch.from_numpy(pieces(volume, dimensions))[:, None]
    return np.concatenate([network(one[None]).numpy() for one in seen])


def pooled(described: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return mean and deviation of every feature over each slice or piece."""
    axes = tuple(range(2, described.ndim))
    return np.concatenate([described.mean(axes), described.std(axes)], axis=1).astype(float)


def contrasts(network: SmallFeatures, images: Sequence[Shown], dimensions: int) -> Described:
    """Which contrast (CT, PET, T1, T2, FLAIR) does a slice or piece have?"""
    kinds = sorted({one.contrast for one in images})
    rows = [pooled(maps(network, one.scale.to_network(one.values), dimensions)) for one in images]
    told = [np.tile(np.equal(kinds, one.contrast), (len(row), 1)) for one, row in zip(images, rows, strict=True)]
    apart = [np.full(len(row), one.part == "test") for one, row in zip(images, rows, strict=True)]
    return Described(np.concatenate(rows), np.concatenate(told).astype(float), np.concatenate(apart))


def positions(network: SmallFeatures, images: Sequence[Shown], dimensions: int) -> Described:
    """How high in the brain (0 at the bottom of the image, 1 at its top) is a slice or piece?"""
    brains = [one for one in images if one.subject.startswith(("ms_", "stroke", "studyforrest"))]
    rows = [pooled(maps(network, one.scale.to_network(one.values), dimensions)) for one in brains]
    told = [np.linspace(0, 1, len(row))[:, None] for row in rows]
    apart = [np.full(len(row), one.part == "test") for one, row in zip(brains, rows, strict=True)]
    return Described(np.concatenate(rows), np.concatenate(told), np.concatenate(apart))


def densities(network: SmallFeatures, images: Sequence[Shown], dimensions: int) -> Described:
    """How dense (HU, from -200 to 400, mean over what one feature stands for) is the body, by its MR alone?

    A few hundred places of every soft-tissue sarcoma subject.
    """
    random = np.random.default_rng(SEED)
    rows, told, apart = [], [], []
    by_role = {(one.subject, one.role): one for one in images if one.subject.startswith("STS")}
    for subject in sorted({subject for subject, _ in by_role}):
        mr, ct = by_role[subject, "mr"], by_role[subject, "ct"]
        hu = np.clip(ct.image.on_grid(mr.image.grid, outside=-1000.0).voxels[0], -200, 400)
        inside = maps_of_means(mr.body & (hu > -200), dimensions)
        features, means = maps(network, mr.scale.to_network(mr.values), dimensions), maps_of_means(hu, dimensions)
        places = np.argwhere(inside > 0.99)
        places = places[random.permutation(len(places))[:600]]
        rows.append(np.moveaxis(features, 1, -1)[tuple(places.T)])
        told.append(means[tuple(places.T)])
        apart.append(np.full(len(places), mr.part == "test"))
    return Described(np.concatenate(rows).astype(float), np.concatenate(told)[:, None], np.concatenate(apart))


def maps_of_means(volume: NDArray[np.generic], dimensions: int) -> NDArray[np.float32]:
    """Return the means of a volume over what one feature stands for, laid out as ``maps`` without its features."""
    means = pieces(volume, dimensions)
    for axis in range(1, dimensions + 1):
        means = means.reshape(*means.shape[:axis], -1, REDUCED, *means.shape[axis + 1 :]).mean(axis + 1)
    return means


def measured(network: SmallFeatures, images: Sequence[Shown], dimensions: int) -> list[tuple[float, int]]:
    """Return the figures of a network, as ``QUESTIONS`` has them, and how many places each was judged on."""
    answers = [(judge, describe(network, images, dimensions)) for describe, judge, _ in QUESTIONS]
    return [(judge(described), int(described.apart.sum())) for judge, described in answers]


#: What is asked of a network, how an answer is judged, and the question in the card's words.
QUESTIONS: Sequence[tuple[Callable[..., Described], Callable[[Described], float], str]] = (
    (contrasts, accuracy, "contrast: CT, PET, T1, T2, FLAIR (balanced accuracy)"),
    (positions, explained, "height in the brain, of a slice (2D) or of 64 mm (3D) (R²)"),
    (densities, explained, "HU of the body from MR alone, -200 to 400 HU (R²)"),
)


def balanced(network: SmallFeatures, images: Sequence[Shown], dimensions: int) -> SmallFeatures:
    """Scale the features as SRGAN takes VGG19's to be scaled: they differ 12.75 times as much as pixels do.

    So that a feature term divided by 12.75² weighs as a pixel term would, between images and their averages over
    ``REDUCED`` voxels. The last layer's activation is homogeneous, so that scaling its weights scales the features.
    """
    batch = next(patches([one for one in images if one.part == "train"], dimensions))
    coarse = nn.functional.interpolate(AVERAGE_POOL[dimensions](REDUCED)(batch), scale_factor=float(REDUCED))
    with torch.no_grad():
        differ = (network(batch) - network(coarse)).square().mean() / (batch - coarse).square().mean()
        last = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)][-1]
        for weight in last.parameters():
            weight.mul_(12.75 / differ.sqrt())
    return network


def table_of(dimensions: int, own: list[tuple[float, int]], random: Sequence[list[tuple[float, int]]]) -> str:
    """Return the card's section of one network: its figures beside those of networks with random weights."""
    size, lines, better = SIZES[dimensions], [], []
    for (_, _, question), (figure, places), others in zip(QUESTIONS, own, zip(*random, strict=True), strict=True):
        figures = [one for one, _ in others]
        spread = f"{np.mean(figures):.3f} ({min(figures):.3f} to {max(figures):.3f})"
        lines.append(f"| {question} | {figure:.3f} | {spread} | {places} |\n")
        better += [question] if figure > max(figures) else []
    return (
        f"## `small-{dimensions}d.safetensors`\n\n"
        f"`SmallFeatures({dimensions}, 1, {size.width}, {LEVELS})`, {size.spacing_mm:g} mm, patches of {size.patch}, "
        f"{size.steps} steps of {size.batch}, Adam 1e-3 with a cosine, seed {SEED}.\n\n"
        f"| kept apart | this network | {RANDOM_NETWORKS} with random weights, mean (range) | places |\n"
        "| --- | ---: | ---: | ---: |\n"
        + "".join(lines)
        + f"\nAbove all networks with random weights: {'; '.join(better) or 'nothing'}.\n"
    )


def random_network(dimensions: int, seed: int) -> SmallFeatures:
    """Return the same network as it is before training."""
    torch.manual_seed(seed)
    return SmallFeatures(dimensions, 1, SIZES[dimensions].width, LEVELS).eval()


def stored(network: SmallFeatures, path: Path) -> SmallFeatures:
    """Write the weights in float16, and return the network as it will be read."""
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, path)
    # safetensors keeps its files to their owner; a shared installation is read by others.
    path.chmod(0o644)
    network.load_state_dict(weights)
    return network


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    tables = []
    for dimensions in SIZES:
        images = shown_images(dimensions)
        network = balanced(trained(images, dimensions), images, dimensions)
        network = stored(network, folder / f"small-{dimensions}d.safetensors")
        random = [random_network(dimensions, seed) for seed in range(RANDOM_NETWORKS)]
        own, *others = [measured(one, images, dimensions) for one in (network, *random)]
        tables.append(table_of(dimensions, own, others))
        print(tables[-1], flush=True)
    (folder / "README.md").write_text(CARD.format(tables="\n".join(tables), reduced=REDUCED), encoding="utf-8")


CARD = """# Feature networks

**Research use only. Not a medical device.** Encoders of one grey channel, in 2D and 3D, for loss terms that compare
what a network sees in two images. They stand in for VGG19 where a study names no file of weights (`features` under
`about`); recipes say so under their departures. Each channel of an image is described by itself.

Trained by `make features` (`python Resources/Studies/features.py`) on the images that `Resources/Studies/features.csv`
names: blocks of an image are blotted out, a light decoder rebuilds it from the features, and is thrown away. The
window of CT and PET and the contrast of MR are drawn anew for every patch. Features are scaled so that they differ
12.75 times as much as pixels do between an image and its averages over {reduced} voxels: SRGAN divides by that.

{tables}
Ridge regression on the features (means and deviations over the slice or piece; for HU the features of the place
itself), fitted on the subjects that the network was trained on, measured on others: seven soft-tissue sarcoma subjects
(those of the shipped model's validation and test), one with multiple sclerosis, one chest CT. The height in the brain
is that of one subject in three contrasts. Places are what was judged, not subjects: differences of a few hundredths,
and any of the height, may be chance. Width, steps and the questions were set before anything was measured. Whether a
system trained against these features makes better images than one trained without is not shown here.

## Data

All rows state a licence that allows this use; others of the collection were left out.

| subjects | trained on, kept apart | images | licence |
| --- | --- | --- | --- |
| soft-tissue sarcoma (STS_…) | 17, 7 | T1 MR, CT, PET | CC BY 3.0 (IBSI validation set from TCIA Soft-tissue-Sarcoma) |
| multiple sclerosis (ms_…) | 1, 1 | T1, T2, FLAIR | CC BY 4.0; one T1: no version stated (Univ. Ljubljana) |
| chronic stroke (stroke) | 1, 0 | T1, T2, FLAIR | MIT (neurolabusc/VolumeRenderingData) |
| studyforrest | 1, 0 | T1 | PDDL-1.0 |
| LIDC-IDRI-0314 (lidc_0314) | 1, 0 | CT | CC BY 3.0 (TCIA LIDC-IDRI) |
| Lung-PET-CT-Dx (lung_dx_…) | 1, 1 | CT | CC BY 4.0 (TCIA) |
| head CT (ge_hispeed) | 1, 0 | CT | BSD-2-Clause, which covers the data (neurolabusc/dcm_qa_ct) |

Licence of the weights: Apache-2.0 (trained on CC BY data: keep the attribution).

Attribution: Vallières et al., The Cancer Imaging Archive 2015, doi:10.7937/K9/TCIA.2015.7GO2GSKS; Phys Med Biol 2015,
doi:10.1088/0031-9155/60/14/5471; prepared for the Image Biomarker Standardisation Initiative by A. Zwanenburg. Clark
et al., J Digit Imaging 2013, doi:10.1007/s10278-013-9622-7. Lesjak et al., Neuroinformatics 2018,
doi:10.1007/s12021-017-9348-7. Armato et al., Med Phys 2011 (LIDC-IDRI). Li et al. 2020,
doi:10.7937/TCIA.2020.NNC2-0461 (Lung-PET-CT-Dx). Hanke et al., Sci Data 2014 (studyforrest). Stroke: C. Rorden. Head
CT: Aliza Medical Imaging, distributed with dcm_qa_ct (C. Rorden).
"""


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "Resources/Features"))
