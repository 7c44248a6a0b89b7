"""What a head is made of. Provenance of each number as in ``tissues``."""

from collections.abc import Mapping

from MedGANLogic.phantom.tissues import AIR, CORTICAL_BONE, FAT, MUSCLE, SKIN, Columns, Tissue

_FLUID: Columns = (
    6.0, 2569.0, 329.0, 1.0, 0.3,
    "HU 0 to 15 [paper?]; T1, T2, PD [paper?: BrainWeb's table of tissues at 1.5 T]; SUV [assumed]",
)  # fmt: skip
_GREY: Columns = (
    38.0, 833.0, 83.0, 0.86, 8.0,
    "HU 37 to 45 [paper?: Prokop 2003, quoted by radclass.mudr.org]; T1, T2, PD [paper?: BrainWeb]; SUV 8.0 +- 2.2 in "
    "the cerebellum [paper: Wang 2007, 10.1007/s11307-006-0075-y], taken for all cortex [assumed]",
)  # fmt: skip
_WHITE: Columns = (
    31.0, 500.0, 70.0, 0.77, 2.5,
    "HU 20 to 30 [paper?: as grey matter's], 5.5 below grey matter [paper: 10.1097/00004728-198008000-00016]: a "
    "compromise; T1, T2, PD [paper?: BrainWeb]; SUV [assumed]",
)  # fmt: skip
_STRIATUM: Columns = (38.0, 780.0, 80.0, 0.84, 8.5, "HU as grey matter's; nearer to grey than to white at T1 [assumed]")

#: Every tissue of the head. Columns: label, name, HU, T1 ms, T2 ms, proton density, SUV, source.
TISSUES = (
    Tissue(0, "air", *AIR),
    Tissue(1, "skin", *SKIN),
    Tissue(2, "fat", *FAT),
    Tissue(3, "muscle", *MUSCLE),
    Tissue(4, "galea", 40.0, 900.0, 35.0, 0.65, 0.6, "all [assumed]: with what lies loosely under it"),
    Tissue(5, "outer table", *CORTICAL_BONE),
    Tissue(6, "diploe", 550.0, 320.0, 60.0, 0.45, 1.0, "all [assumed]: marrow between trabeculae"),
    Tissue(7, "inner table", *CORTICAL_BONE),
    Tissue(8, "dura", 58.0, 900.0, 30.0, 0.60, 1.0, "all [assumed]"),
    Tissue(9, "cerebrospinal fluid", *_FLUID),
    Tissue(10, "ventricle", *_FLUID),
    Tissue(11, "cortex", *_GREY),
    Tissue(12, "white matter", *_WHITE),
    Tissue(13, "caudate", *_STRIATUM),
    Tissue(14, "putamen", *_STRIATUM),
    Tissue(15, "pallidum", 38.0, 620.0, 70.0, 0.78, 7.0, "all [assumed]: between grey and white matter at T1"),
    Tissue(16, "thalamus", 36.0, 700.0, 76.0, 0.82, 8.0, "all [assumed]: between grey and white matter at T1"),
    Tissue(17, "hippocampus", 37.0, 850.0, 88.0, 0.86, 6.0, "all [assumed]: as cortex, with less uptake"),
    Tissue(18, "cerebellar cortex", *_GREY),
    Tissue(19, "cerebellar white matter", *_WHITE),
    Tissue(20, "brain stem", 32.0, 580.0, 73.0, 0.79, 4.0, "all [assumed]: white matter with nuclei in it"),
    Tissue(
        21, "venous blood", 52.0, 1441.0, 290.0, 0.25, 1.7,
        "HU 45 to 65 [paper?]; T1, T2 [paper?: Stanisz 2005, 10.1002/mrm.20605]; PD, lessened by flow, SUV [assumed]",
    ),
    Tissue(22, "choroid plexus", 42.0, 1000.0, 100.0, 0.85, 2.0, "all [assumed]"),
    Tissue(23, "calcification", 350.0, 600.0, 5.0, 0.30, 0.5, "all [assumed]"),
    Tissue(24, "vitreous", 8.0, 2500.0, 400.0, 0.98, 0.3, "all [assumed]: nearly water"),
    Tissue(25, "lens", 75.0, 900.0, 25.0, 0.65, 0.3, "all [assumed]"),
    Tissue(26, "sclera", 50.0, 900.0, 30.0, 0.60, 0.6, "all [assumed]"),
    Tissue(27, "optic nerve", 30.0, 815.0, 77.0, 0.75, 1.5, "T1, T2 as the sciatic nerve's; HU, PD, SUV [assumed]"),
    Tissue(28, "mucosa", 38.0, 900.0, 80.0, 0.85, 1.5, "all [assumed]"),
    Tissue(
        29, "tumour", 35.0, 1100.0, 100.0, 0.86, 10.5,
        "SUV of glioblastomas at most 11.3 +- 4.2 [paper: PMC8258004]; the rest [assumed]",
    ),
    Tissue(30, "necrosis", 16.0, 1900.0, 200.0, 0.93, 1.5, "all [assumed]"),
    Tissue(31, "oedema", 23.0, 950.0, 120.0, 0.85, 2.0, "all [assumed]: white matter with more water"),
    Tissue(
        32, "infarct", 21.0, 1150.0, 130.0, 0.88, 1.5,
        "less uptake than brain [paper: PMC3671294]; the rest [assumed]",
    ),
)  # fmt: skip

LABEL_OF: Mapping[str, int] = {tissue.name: tissue.label for tissue in TISSUES}
