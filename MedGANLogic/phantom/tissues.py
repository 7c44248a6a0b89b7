"""What tissues are to MR, CT and PET, and those that several anatomies have.

Provenance of each number: ``[paper]`` was read in the paper's abstract, ``[paper?]`` is quoted from memory or from
another work's table and not checked against the paper, ``[assumed]`` has no source.
"""

from dataclasses import dataclass

import numpy as np

#: T1-weighted spin echo at 1.5 T; usual for limbs and heads [assumed].
REPETITION_TIME_MS = 500.0
ECHO_TIME_MS = 12.0

#: MR values are scaled so that fat has this mean.
MR_FAT_LEVEL = 1000.0


@dataclass(frozen=True)
class Tissue:
    """What a tissue is: its label, CT number, relaxation times at 1.5 T, protons that give signal, uptake of FDG.

    Protons are counted as water's share, uptake as SUV an hour after the injection.
    """

    label: int
    name: str
    hu: float
    t1_ms: float
    t2_ms: float
    proton_density: float
    suv: float
    source: str

    @property
    def mr_level(self) -> float:
        """MR value without noise, bias and blur; fat is at ``MR_FAT_LEVEL``."""
        return MR_FAT_LEVEL * _spin_echo(self.proton_density, self.t1_ms, self.t2_ms) / _FAT_SIGNAL


def _spin_echo(proton_density: float, t1_ms: float, t2_ms: float) -> float:
    """Return PD (1 - exp(-TR/T1)) exp(-TE/T2), the spin-echo signal for TE far below TR."""
    recovery = 1 - np.exp(-REPETITION_TIME_MS / t1_ms)
    return float(proton_density * recovery * np.exp(-ECHO_TIME_MS / t2_ms))


Columns = tuple[float, float, float, float, float, str]

#: Tissues of several anatomies, from the CT number on: HU, T1 ms, T2 ms, proton density, SUV, source.
AIR: Columns = (-1000.0, 1000.0, 1.0, 0.0, 0.0, "HU by definition; no protons, no tracer")
SKIN: Columns = (30.0, 900.0, 30.0, 0.65, 0.6, "all [assumed]")
FAT: Columns = (
    -105.0, 288.0, 165.0, 0.90, 0.2,
    "HU within -123..-89 [paper: PubMed 37296765]; T1, T2 [paper?: Gold 2004, AJR 183:343]; PD, SUV [assumed]",
)  # fmt: skip
MUSCLE: Columns = (
    50.0, 1008.0, 44.0, 0.80, 0.6,
    "HU 49.2 +- 2.8 in lean thighs [paper: Goodpaster 2000, J Appl Physiol 89:104]; "
    "T1, T2 [paper?: Stanisz 2005, 10.1002/mrm.20605]; PD, SUV at rest [assumed]",
)  # fmt: skip
CORTICAL_BONE: Columns = (
    1400.0, 200.0, 0.4, 0.20, 0.3,
    "HU [paper?]; T2 of bound water, water 20 % of volume [paper: PMC3899101, 10.3389/fendo.2020.567417]; "
    "T1 [paper?: IT'IS tissue database]; SUV [assumed]",
)  # fmt: skip

_FAT_SIGNAL = _spin_echo(FAT[3], FAT[1], FAT[2])
