"""What a lower dose adds to a CT: fewer photons behind the body, hence noise in its line integrals.

Noise is inserted into a scan that has its own (Yu et al. 2012, doi:10.1097/RCT.0b013e318258e891 [paper?]; Zeng et al.
2015, doi:10.1109/TNS.2015.2467219 [paper]). With λ counts expected at full dose and σ the electronic noise in counts, a
line integral measured at the dose f varies by 1/(fλ) + σ²/(fλ)². The scan has that of f = 1 already; missing is

    (1/f - 1) / λ + (1/f² - 1) σ² / λ²,

which is the variance measured with e = f/(1 - f) of the full exposure and an electronic noise of σ √((1 + f)/(1 - f)):
1/(eλ) is the first term, σ² (1 + f)/(1 - f) / (eλ)² the second. Only this difference is reconstructed.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from MedGANLogic.errors import MedGANError
from MedGANLogic.parts.operators.projection import KERNELS, Beam, FanBeam, Kernel, Pixels

#: Attenuation of water at 70 keV, the effective energy of a 120 kV spectrum behind a body [assumed]: 0.1937 cm²/g,
#: between NIST's 0.2059 at 60 keV and 0.1837 at 80 keV (doi:10.18434/T4D01F) [paper?], at 0.998 g/cm³.
WATER_PER_MM = 0.0193

#: A detector that counts less reads this: a logarithm needs something [assumed].
_FEWEST_COUNTS = 1.0

#: What a modulated tube current is set for [assumed: the middle of an adult's body].
_REFERENCE_MM = 300.0

#: The field that a bow-tie filter is made for [assumed: 500 mm across].
_BOW_TIE_RADIUS_MM = 250.0


@dataclass(frozen=True)
class Scanner:
    """What of a scanner its noise depends on.

    ``electronic``: SD of a detector's own noise, in counts [assumed; TIGRE's demonstration has 10 at 100,000 photons,
    of wider rays]. ``bow_tie_mm``: the filter before the body, as water that is so much thicker at 250 mm from the
    isocentre than in the middle, an ellipse between [assumed]; 0 is none. ``modulation``: the tube's current follows
    the highest attenuation (I₀/I) of each view to this power, around the body and along it, and is as it was said to
    be behind 300 mm of water; 0 is a constant current, 0.5 has the least noise for the dose (Gies et al. 1999,
    doi:10.1118/1.598779 [paper?]). Raises MedGANError for a number below 0.
    """

    beam: type[Beam] = FanBeam
    kernel: Kernel = KERNELS["standard"]
    electronic: float = 3.0
    bow_tie_mm: float = 0.0
    modulation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("electronic", "bow_tie_mm", "modulation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise MedGANError(f"{name} is {getattr(self, name):g}: expected 0 or more")

    def transmission(self, hu: Tensor, pixels: Pixels, beam: Beam) -> Tensor:
        """Return what share of the central photons each ray brings behind slices (C, H, W) in HU, at full dose.

        (C, views, channels) of ``beam``. It varies slowly from ray to ray: a thinned beam measures it.
        """
        thin = beam.thinned()
        paths = thin.project(attenuation_per_mm(hu), pixels.spacing_mm)
        current = self.modulation * (paths.amax(dim=2, keepdim=True) - WATER_PER_MM * _REFERENCE_MM)
        share = (thin.distances(hu.device).abs() / _BOW_TIE_RADIUS_MM).clamp(max=1)
        filtered = WATER_PER_MM * self.bow_tie_mm * (1 - (1 - share.square()).sqrt())
        logarithm = (current - paths - filtered)[:, None]
        return interpolate(logarithm, (beam.views, beam.channels), mode="bilinear")[:, 0].exp()

    def noise_hu(self, noise: Tensor, pixels: Pixels, beam: Beam) -> Tensor:
        """Return in HU (C, H, W) what noise of line integrals (C, views, channels) becomes in the image."""
        return beam.reconstruct(noise, self.kernel, pixels) * (1000 / WATER_PER_MM)

    def missing_noise(self, transmission: Tensor, photons: float, dose: float, rng: np.random.Generator) -> Tensor:
        """Draw the noise that one slice's line integrals (views, channels) at full dose lack to be at ``dose``.

        ``photons`` a ray leave the tube towards the middle at full dose; 0 < ``dose`` < 1. Poisson counts and normal
        electronic noise; no count is below 1.
        """
        expected = transmission.cpu().double().numpy() * (photons * dose / (1 - dose))
        electronic = self.electronic * np.sqrt((1 + dose) / (1 - dose))
        counts = rng.poisson(expected) + electronic * rng.standard_normal(expected.shape)
        noise = np.log(expected) - np.log(np.maximum(counts, _FEWEST_COUNTS))
        return torch.from_numpy(noise.astype(np.float32)).to(transmission.device)


def attenuation_per_mm(hu: Tensor) -> Tensor:
    """Return attenuation per mm of what has a number in HU; nothing attenuates less than nothing."""
    return (WATER_PER_MM * (1 + hu / 1000)).clamp(min=0)
