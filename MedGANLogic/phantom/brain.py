"""What lies within the skull: cerebrum, cerebellum, brain stem, ventricles, membranes, venous sinuses, and a lesion.

Places as in ``head``: millimetres of the mean head from the anterior commissure. Those of deep structures follow the
Talairach atlas as remembered [paper?]; sizes and reaches that are not named below are [assumed], tuned until volumes
came near the published ones.

Measures of the anatomy; the tests hold them:

- within the dura 1469 +- 102 ml in men, 1289 +- 111 ml in women; brain 88.6 % of it, fluid 11.4 % [paper: Matsumae
  1996, J Neurosurg 84:982]
- ventricles 17.4 ml [paper: MR of 38 subjects, Surg Radiol Anat, "encephalic ventricular volume"]; frontal horns 33 to
  35 mm apart at their tips, third ventricle 3.4 to 3.9 mm wide, fourth 12.5 by 10 mm [paper: Polat, Int J Morphol,
  "Brain ventricles in healthy Turkish subjects"]
- cortex 2.7 +- 0.3 mm thick on gyri, 2.2 +- 0.3 mm in sulci [paper: Fischl and Dale 2000, PNAS 97:11050]; here as
  thick everywhere, 2.2 to 2.7 mm in a person
- corpus callosum 75.6 +- 4.5 mm long [paper: PMC10035938]
- per side: caudate 3.5 to 4, putamen 4 to 5, pallidum 1.5 to 1.8, thalamus 6 to 7 ml; cerebellum 120 to 150, brain stem
  20 to 30 ml [paper?]
- calcified: pineal gland in 71 % of adults, choroid plexus in 66 %, falx in 7 % [paper: PubMed 17594669]
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.phantom.head_tissues import LABEL_OF
from MedGANLogic.phantom.shapes import (
    Ellipsoid,
    Growth,
    Labels,
    Reals,
    Tube,
    Waves,
    folded,
    length,
    nearest,
    smooth_union,
)

Mask = NDArray[np.bool_]
_Node = tuple[float, float, float, float]


def _blade(one: tuple[_Node, ...], other: tuple[_Node, ...]) -> tuple[Tube, ...]:
    """Return tubes side by side, from one chain of nodes to another: a body with a flat cross-section."""
    start, end = np.array(one), np.array(other)
    chains = (start + share * (end - start) for share in (0, 1 / 3, 2 / 3, 1))
    return tuple(Tube(tuple((x, y, z, radius) for x, y, z, radius in chain.tolist())) for chain in chains)


# Right halves; the left mirrors them.
_LATERAL_VENTRICLE = (
    *_blade(  # frontal horn, body, atrium: below and medially, above and laterally
        (
            (9.0, 28.0, 2.0, 1.6), (4.0, 20.0, 2.0, 2.4), (3.8, 5.0, 12.0, 2.6),
            (4.2, -10.0, 18.0, 2.6), (9.0, -25.0, 19.0, 2.8), (16.0, -38.0, 9.0, 3.4),
        ),
        (
            (14.0, 29.0, 9.0, 1.8), (12.5, 19.0, 14.0, 2.4), (11.5, 5.0, 18.5, 2.3),
            (13.0, -10.0, 22.0, 2.4), (18.5, -26.0, 22.0, 2.8), (25.0, -38.0, 16.0, 3.4),
        ),
    ),
    Tube(((21.0, -38.0, 12.0, 5.4), (24.0, -50.0, 9.0, 4.0), (21.0, -66.0, 7.0, 2.0))),  # occipital horn
    Tube(((25.0, -38.0, 9.0, 4.6), (32.0, -28.0, -8.0, 2.4), (31.0, -10.0, -18.0, 1.8))),  # temporal horn
)  # fmt: skip
_SEPTUM_MM = 1.0
_MIDLINE_VENTRICLES = (
    Ellipsoid((0.0, -13.0, 1.0), (1.8, 15.0, 11.0)),  # third
    Ellipsoid((0.0, -47.0, -33.0), (6.3, 5.0, 10.0)),  # fourth
    Tube(((0.0, -27.0, 0.0, 1.0), (0.0, -36.0, -10.0, 0.9), (0.0, -44.0, -26.0, 1.2))),  # aqueduct
)
_NUCLEI = (
    ("caudate", Ellipsoid((13.5, 15.0, 6.0), (5.4, 11.0, 9.5), 12.0)),
    ("caudate", Tube(((15.5, 8.0, 13.0, 4.4), (18.5, -10.0, 18.5, 3.2), (22.5, -24.0, 17.5, 1.8)))),
    ("putamen", Ellipsoid((27.0, 2.0, 2.0), (5.0, 17.0, 11.5), 12.0)),
    ("pallidum", Ellipsoid((19.5, -3.0, 0.0), (4.9, 10.0, 8.0), 22.0)),
    ("thalamus", Ellipsoid((11.0, -18.5, 8.0), (8.4, 15.0, 10.5), 25.0)),
    ("hippocampus", Tube(((22.0, -6.0, -18.0, 6.5), (27.0, -20.0, -14.0, 4.5), (28.0, -34.0, -6.0, 3.5)))),
)
_STEM = (
    Ellipsoid((8.5, -20.0, -11.0), (8.0, 9.0, 9.0), 30.0),  # cerebral peduncle
    Ellipsoid((0.0, -30.0, -10.0), (13.0, 9.0, 10.0)),  # midbrain
    Ellipsoid((0.0, -27.0, -31.0), (17.0, 13.0, 14.0)),  # pons
    Tube(((0.0, -34.0, -12.0, 8.0), (0.0, -38.0, -34.0, 8.0), (0.0, -40.0, -70.0, 6.5))),
)
_STEM_TOP_MM = 0.0
_CEREBELLAR_PEDUNCLE = Tube(((10.0, -30.0, -32.0, 7.0), (26.0, -52.0, -36.0, 6.0)))
_CISTERNS = (
    Ellipsoid((0.0, 3.0, -16.0), (11.0, 10.0, 7.0)),  # suprasellar
    Tube(((6.0, 6.0, -15.0, 3.5), (22.0, 10.0, -15.0, 1.8), (36.0, 14.0, -13.0, 1.6))),  # the Sylvian fissure's stem
    Ellipsoid((0.0, -43.0, -1.0), (9.0, 6.0, 7.0)),  # quadrigeminal
)
_PINEAL, _CHOROID = Ellipsoid((0.0, -34.0, 2.0), (2.6, 3.6, 2.6)), Ellipsoid((21.0, -38.5, 11.5), (3.0, 5.0, 3.0))
_FALX_PLAQUE = Ellipsoid((0.0, 38.0, 48.0), (1.6, 7.0, 5.0))

#: What joins the hemispheres; its rim above is the corpus callosum's.
_JOINT = Ellipsoid((0.0, -5.5, 4.0), (1e4, 37.8, 24.0))
#: No sulcus reaches into the deep structures.
_DEEP = Ellipsoid((0.0, -8.0, 5.0), (34.0, 44.0, 24.0))
#: Where the tentorium is open for the brain stem.
_NOTCH = Ellipsoid((0.0, -28.0, 0.0), (17.0, 22.0, 1e4))
_SYLVIAN_SLOPE = 0.483

_SULCUS_LENGTHS_MM = (21.0, 28.0)
#: A hemisphere's middle line (x, from y to y, z), and the ellipse around it on which the pattern of sulci is drawn.
_MIDDLE_LINE = (28.0, (-58.0, 36.0), 14.0)
_GIRTH_MM = (36.0, 40.0, 50.0)
#: How much rays from the middle line spread: with 1 gyri are wedges, with 0 they are as wide below as above.
_SPREAD = 0.5
_FOLIA = 21


class Lesion(Protocol):
    """What is wrong with a brain; points are (3, N)."""

    def before(self, points: Reals) -> Reals:
        """Return where each point was before."""

    def lay(self, labels: Labels, points: Reals) -> None:
        """Change the labels of what it has taken."""


class Glioma(NamedTuple):
    """A tumour that pushes the brain aside, with a necrotic core and oedema in the white matter around it."""

    growth: Growth
    core: float
    oedema: float
    ripples: Waves

    def before(self, points: Reals) -> Reals:
        """Return where each point was before the tumour grew."""
        return self.growth.before(points)[1]

    def lay(self, labels: Labels, points: Reals) -> None:
        """Lay oedema, tumour and necrosis; distances are shares of the tumour's radius."""
        distance, _ = self.growth.before(points)
        near = np.flatnonzero(distance < 1.5 * self.oedema)
        distance, ripple = distance[near], self.ripples(points[:, near])
        wet = (labels[near] == LABEL_OF["white matter"]) & (distance < self.oedema * (1 + 0.16 * ripple))
        labels[near[wet]] = LABEL_OF["oedema"]
        labels[near[distance < 1]] = LABEL_OF["tumour"]
        labels[near[distance < self.core * (1 + 0.2 * ripple)]] = LABEL_OF["necrosis"]


class Infarct(NamedTuple):
    """A stroke of some weeks ago: cortex and white matter of a territory, no longer swollen."""

    territory: Ellipsoid
    ripples: Waves

    def before(self, points: Reals) -> Reals:
        """Return the points: nothing was moved."""
        return points

    def lay(self, labels: Labels, points: Reals) -> None:
        """Take cortex and white matter."""
        brain = np.flatnonzero(np.isin(labels, [LABEL_OF["cortex"], LABEL_OF["white matter"]]))
        place = points[:, brain]
        labels[brain[self.territory.distance(place) + 2.5 * self.ripples(place) < 0]] = LABEL_OF["infarct"]


def _drawn_glioma(rng: np.random.Generator, side: float) -> Glioma:
    x, y, z = rng.choice([(28, 36, 22), (26, -48, 32), (30, -8, 40), (42, -22, -14), (26, -66, 14)])
    radius = rng.uniform(11, 17)
    half_axes = (radius, radius * rng.uniform(0.85, 1.2), radius * rng.uniform(0.85, 1.2))
    growth = Growth((side * x, y, z), half_axes, Waves.drawn(rng, 10, (12, 30)), lobe_share=0.12)
    return Glioma(growth, rng.uniform(0.45, 0.65), rng.uniform(1.5, 1.9), Waves.drawn(rng, 10, (12, 30)))


def _drawn_infarct(rng: np.random.Generator, side: float) -> Infarct:
    centre = (side * 54, rng.uniform(-30, 10), rng.uniform(8, 28))
    half_axes = (rng.uniform(16, 24), rng.uniform(18, 28), rng.uniform(16, 24))
    return Infarct(Ellipsoid(centre, half_axes), Waves.drawn(rng, 10, (10, 30)))


@dataclass(frozen=True)
class Brain:
    """One person's brain."""

    #: From 0 to 1: with it sulci, ventricles and the space under the dura widen.
    atrophy: float
    cortex_mm: float
    sulci: Waves
    sulcal_depth: Waves
    ripples: Waves
    calcified: tuple[Ellipsoid, ...]
    lesion: Lesion

    @staticmethod
    def drawn(rng: np.random.Generator) -> "Brain":
        """Draw a person within the ranges that the module's head names."""
        calcifications = ((_PINEAL, 0.71), (_CHOROID, 0.66), (_FALX_PLAQUE, 0.07))
        draw_lesion = (_drawn_glioma, _drawn_infarct)[rng.integers(2)]
        return Brain(
            atrophy=rng.uniform(0, 1),
            cortex_mm=rng.uniform(2.2, 2.7),
            sulci=Waves.drawn(rng, 18, _SULCUS_LENGTHS_MM),
            sulcal_depth=Waves.drawn(rng, 8, (35, 60)),
            ripples=Waves.drawn(rng, 8, (14, 28)),
            calcified=tuple(solid for solid, chance in calcifications if rng.random() < chance),
            lesion=draw_lesion(rng, rng.choice([-1.0, 1.0])),
        )

    def labels(self, points: Reals, roof: Reals) -> Labels:
        """Return the label at each of (3, N) points without the lesion; ``roof`` is how deep it lies under the dura."""
        x, y, z = points
        right = folded(points)
        stem = nearest(right, _STEM)
        tent = z - _tentorium(x, y)
        tented = (y < _petrous_ridge(x)) & (_NOTCH.distance(points) > 0)
        fluid = 0.4 + 0.8 * self.atrophy

        hull = np.minimum(roof - fluid, nearest(right, _CISTERNS))
        hull = np.where(tented, np.minimum(hull, tent - 0.9), hull)
        hull = np.where(z < _STEM_TOP_MM - 3, np.minimum(hull, stem - 2.5), hull)
        fossa = (tent < 0) & (y < _petrous_ridge(x))
        labels = np.full(x.size, LABEL_OF["cerebrospinal fluid"], np.uint8)
        upper = np.flatnonzero(~fossa & (hull > 0))
        labels[upper] = self._cerebrum(points[:, upper], right[:, upper], hull[upper])
        lower = np.flatnonzero(fossa & (y < -26))
        depth = np.minimum(np.minimum(roof - fluid, -0.9 - tent), stem - 0.8)
        labels[lower] = self._cerebellum(points[:, lower], right[:, lower], depth[lower])
        labels[(stem < 0) & (z < _STEM_TOP_MM)] = LABEL_OF["brain stem"]
        self._lay_deep_structures(labels, right)
        _lay_membranes(labels, points, roof, tent, tented)
        for solid in self.calcified:
            labels[solid.distance(right) < -1] = LABEL_OF["calcification"]
        return labels

    def _cerebrum(self, points: Reals, right: Reals, hull: Reals) -> Labels:
        """Label the hemispheres: cortex is what lies near fluid, which fills fissures and sulci."""
        x, _, z = right
        half_width = 0.5 + 0.3 * self.atrophy
        above_joint = _JOINT.distance(right)
        midline = np.hypot(x, np.minimum(above_joint - 0.5, 0)) - 1.0
        surface = np.minimum(hull, midline)
        sulcus = self._from_sulcus(points, right, surface) - half_width * (0.7 + 0.7 * np.exp(-surface / 3))
        fissure = np.minimum(midline, self._from_sylvian(points, right, half_width))
        depth = smooth_union(smooth_union(hull, sulcus, 1.3), fissure, 1.0)
        joined = (above_joint < 0) & (x < 9) & (z > -2)
        labels = np.full(x.size, LABEL_OF["white matter"], np.uint8)
        labels[(depth < self.cortex_mm) & ~joined] = LABEL_OF["cortex"]
        labels[depth < 0] = LABEL_OF["cerebrospinal fluid"]
        return labels

    def _from_sylvian(self, points: Reals, right: Reals, half_width: float) -> Reals:
        """Return the distance from the Sylvian fissure: a limb from the side to the insula, and a cleft over it."""
        x, y, z = right
        ripple = self.ripples(points)
        insula = 38.5 - 5 * ((y - 2) / 26) ** 2 - 2.5 * ((z - 4) / 17) ** 2 + 0.8 * ripple
        limb = (z + 12 - _SYLVIAN_SLOPE * (22 - y)) / np.hypot(1, _SYLVIAN_SLOPE) + 1.5 * ripple
        inside = np.minimum(np.minimum(x - np.maximum(insula, 29 - 0.5 * y), y + 40), 27 - y)
        opening = half_width * (1 + 1.2 * np.exp(-np.abs(x - insula - 3) / 4))
        limb = np.hypot(limb, np.minimum(inside, 0)) - opening
        inside = 14 * (1 - np.hypot((y - 2) / 24, (z - 3 - 0.2 * (2 - y)) / 14))
        cleft = np.hypot(x - insula, np.minimum(inside, 0)) - 1.1 * half_width
        distance: Reals = np.minimum(limb, cleft)
        return distance

    def _from_sulcus(self, points: Reals, right: Reals, surface: Reals) -> Reals:
        """Return the distance from the middle of the nearest sulcus.

        Sulci are where a field of waves is zero. They stand on the hemisphere's surface, since a point takes its value
        from where a ray from the middle line through it leads. A plane wave of number k is |w| = sin(k d) at the
        distance d from its zero, and its slope k cos(k d): hence d.
        """
        x, (back, front), z = _MIDDLE_LINE
        girth = np.array(_GIRTH_MM, points.dtype)[:, None]
        ray = np.stack([points[0] - np.sign(points[0]) * x, points[1] - np.clip(points[1], back, front), points[2] - z])
        scaled = ray / girth
        share = np.maximum(length(scaled), 0.15)
        stretch = share**-_SPREAD
        value, slope = self.sulci.with_slope(points - ray + ray * stretch)
        # The chain rule leads the slope back to the point. Along the middle line nothing is stretched.
        outward = scaled / girth * (_SPREAD * (ray * slope).sum(axis=0) / (share * share))
        steepness = (slope - outward) * stretch
        steepness[1] = np.where(ray[1] == 0, slope[1], steepness[1])
        number = 2 * np.pi / np.mean(_SULCUS_LENGTHS_MM).astype(points.dtype) * stretch
        away = np.arctan2(number * np.abs(value), length(steepness)) / number
        depth = np.clip(17 + 8 * self.sulcal_depth(points), 4, 28)
        above_bottom = np.minimum(np.minimum(depth - surface, 36 * (share - 0.35)), _DEEP.distance(right))
        distance: Reals = np.hypot(away, np.minimum(above_bottom, 0))
        return distance

    def _cerebellum(self, points: Reals, right: Reals, depth: Reals) -> Labels:
        """Label the posterior fossa: folia are wavy sheets through a transverse axis near the fourth ventricle."""
        x, y, z = right
        back, up = y + 46 + x**2 / 160, z + 31
        radius = np.hypot(back, up)
        away = np.abs(np.cos(_FOLIA * np.arctan2(up, -back) + 0.9 * self.ripples(points))) * radius / _FOLIA
        above_bottom = np.minimum(11 - depth, radius - 16)
        below_pia = np.minimum(depth, np.hypot(away, np.minimum(above_bottom, 0)) - 0.35)
        core = (depth > 13) | (_CEREBELLAR_PEDUNCLE.distance(right) < 0)
        labels = np.full(x.size, LABEL_OF["cerebellar cortex"], np.uint8)
        labels[core | (below_pia > 1.8) & (depth > 3.5) & (radius > 16)] = LABEL_OF["cerebellar white matter"]
        labels[below_pia < 0] = LABEL_OF["cerebrospinal fluid"]
        return labels

    def _lay_deep_structures(self, labels: Labels, right: Reals) -> None:
        x, y, z = right
        near = np.flatnonzero((x < 42) & (y > -75) & (y < 42) & (z < 32))
        deep = right[:, near]
        wider = 1.4 * self.atrophy - 0.8
        lateral = np.maximum(nearest(deep, _LATERAL_VENTRICLE) - wider, _SEPTUM_MM - deep[0])
        labels[near[lateral < 0]] = LABEL_OF["ventricle"]
        for name, nucleus in _NUCLEI:
            labels[near[nucleus.distance(deep) < 0]] = LABEL_OF[name]
        labels[near[nearest(deep, _MIDLINE_VENTRICLES) < 0.3 * wider]] = LABEL_OF["ventricle"]
        labels[near[_PINEAL.distance(deep) < 0]] = LABEL_OF["cortex"]
        labels[near[_CHOROID.distance(deep) < 0]] = LABEL_OF["choroid plexus"]


def _tentorium(x: Reals, y: Reals) -> Reals:
    """Return the height of the tent over the cerebellum."""
    crest = np.interp(y, [-97, -42, -10], [-18, 3, 0])
    height: Reals = (crest - 0.42 * (np.hypot(x, 6) - 6)).astype(x.dtype)
    return height


def _petrous_ridge(x: Reals) -> Reals:
    """Return how far ahead the posterior fossa reaches."""
    ahead: Reals = -10 - 0.55 * np.abs(x)
    return ahead


def _lay_membranes(labels: Labels, points: Reals, roof: Reals, tent: Reals, tented: Mask) -> None:
    """Lay falx and tentorium, and the sagittal, transverse and straight sinus in them."""
    x, y, z = points
    above_joint = _JOINT.distance(points)
    edge = np.interp(y, [-45, 45], [4, 20])
    labels[(np.abs(x) < 0.6) & (above_joint > edge) & (tent > 0) & (z > -18)] = LABEL_OF["dura"]
    labels[(np.abs(tent) < 0.6) & tented] = LABEL_OF["dura"]
    height = np.interp(y, [-95, 65], [8, 2.5])
    sagittal = (np.abs(x) < 0.7 * (height - roof)) & (above_joint > 20) & (z > -5)
    transverse = (np.hypot(tent, roof - 2.5) < 2.7) & tented & (y < -40)
    straight = (np.hypot(x, tent - 1) < 1.8) & (y < -46) & (y > -95)
    labels[sagittal | transverse | straight] = LABEL_OF["venous blood"]
