"""M-GAN: CT and the labels of tumours to PET, which so has its uptake where it is told to."""

from dataclasses import replace

from MedGANLogic.domain import CT, PET, Domain, Label, Labels
from MedGANLogic.recipe import Recipe
from MedGANLogic.recipes import pix2pix
from MedGANLogic.study import Study

TUMOUR = Domain("SEG", "label", Labels((Label(1, "tumour", (230, 110, 60), "108369006"),)), 0.0)
EXAMPLE = Study({"ct": CT, "tumour": TUMOUR}, {"pet": PET}, neighbours=0)

MARKS = "pix2pix's, the weight of L1 among them [paper?]; slices of 200 are padded to 256, and the steps ours [assumed]"
PUBLISHED = pix2pix.PUBLISHED


def recipe(study: Study) -> Recipe:
    """Return M-GAN (Bi et al. 2017, §2: pix2pix, whose generator and discriminator also read the labels)."""
    made = pix2pix.recipe(study.with_labels)
    return replace(
        made,
        title="Multi-channel GAN for PET",
        source="arXiv:1707.09747",
        departures=(
            "one channel for every label, from -1 to 1; without labels it is -1 everywhere [assumed]",
            "patches of 256 voxels, narrower slices padded (paper: slices of 200) [assumed]",
            *made.departures,
        ),
    )
