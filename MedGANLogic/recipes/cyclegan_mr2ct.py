"""CycleGAN from MR to CT of the head: sagittal slices of two pools of patients, without pairs."""

from dataclasses import replace

from MedGANLogic.domain import CT, MR, FixedWindow
from MedGANLogic.recipe import Recipe
from MedGANLogic.recipes import cyclegan
from MedGANLogic.study import Study

EXAMPLE = Study(
    {"mr": MR},
    {"ct": replace(CT, window=FixedWindow(-600.0, 1400.0, body_above=-300.0))},
    neighbours=0,
    plane="sagittal",
)

MARKS = "CycleGAN's [paper?], but for the steps, ours for one GPU [assumed]; levels are residual blocks"
PUBLISHED = cyclegan.PUBLISHED


def recipe(study: Study) -> Recipe:
    """Return CycleGAN on sagittal slices (Wolterink et al. 2017, §2: Zhu et al.'s networks, LS + 10·cycle).

    The CT's window is the study's: -600 to 1400 HU in the paper [paper?] and the example; air then comes out at -600.
    """
    made = cyclegan.recipe(study.limited_to(2).sliced("sagittal"))
    return replace(
        made,
        title="CycleGAN from MR to CT",
        source="arXiv:1708.01155",
        departures=(
            "an MR's range by percentiles of its body (paper: 0 to 3500 [paper?]) [assumed]",
            "slices of the body alone are shown, and only near it [assumed]",
            *made.departures,
        ),
    )
