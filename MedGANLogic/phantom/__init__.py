"""Digital phantoms: what MR, CT and PET would show of something that is known exactly.

``thigh`` and ``head`` are anatomies drawn from published measures, on one grid and with a map of their tissues;
``inserts`` is a cylinder for measuring noise, sharpness and visibility in CT.
"""

from MedGANLogic.phantom.head import head
from MedGANLogic.phantom.imaging import Phantom, centred_grid
from MedGANLogic.phantom.inserts import Bars, Disc, Inserts, inserts, with_rods
from MedGANLogic.phantom.thigh import thigh
from MedGANLogic.phantom.tissues import Tissue

__all__ = [
    "Bars",
    "Disc",
    "Inserts",
    "Phantom",
    "Tissue",
    "centred_grid",
    "head",
    "inserts",
    "thigh",
    "with_rods",
]
