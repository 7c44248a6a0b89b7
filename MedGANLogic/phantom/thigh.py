"""A digital thigh: anatomy drawn from published measures, with a sarcoma.

The anatomy is a function of the seed and of the physical place (RAS millimetres) alone, so every grid shows the same
thigh; noise belongs to the voxels. Provenance of each number as in ``tissues``.

Measures of the anatomy:

- thigh circumference 41 to 48 cm at the middle, slim adults [assumed], which the tumour adds to; of the muscle's
  volume extensors are 50 %, flexors 19, adductors 28, sartorius 3 [paper: 10.1007/s00421-010-1477-8], of the drawn
  part about 53, 24, 20, 3; towards the knee the hamstrings grow and the adductors shrink [paper: J-STAGE, rigaku
  21(3)]
- fat under the skin 7 to 15 mm: 10.4 +- 4.1 mm at the front [paper: ultrasound, 10.17987/jcsm-cr.v4i2.94]; skin 1.6 mm,
  deep fascia 0.9 mm, septa 0.3 mm in 1.4 to 2.2 mm of fat between muscle groups, wider near the surface [assumed]
- femur 26 to 29 mm wide: 26.5 mm in men, 25.6 mm in women [paper: Karakas and Harma 2008, Diagn Interv Radiol 14:29],
  to which the linea aspera adds; cortex 5 to 7.5 mm [paper?], thicker behind than in front [paper:
  10.1007/s00774-019-01079-9]; bowed forwards with a radius of 907 mm [paper: Jung et al. 2021, PubMed 33501569]
- femoral artery 5.5 to 7 mm and vein 7 to 9 mm wide, sciatic nerve 6 by 11 mm [assumed]
- sarcoma: deep, displaces the vessels instead of encasing them, at T1 as bright as muscle or slightly brighter, its
  necrosis darker [paper: MD Anderson, Soft-tissue sarcoma, pre-therapy imaging, 2003]; sizes [assumed]
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from MedGANLogic.images import Grid
from MedGANLogic.phantom.imaging import BODY_NOISE_HU, Mixture, Phantom, ReceiveField, centred_grid, imaged, stream
from MedGANLogic.phantom.shapes import Directions, Growth, Labels, Outline, Reals, Waves, chain_distance, polar
from MedGANLogic.phantom.tissues import AIR, CORTICAL_BONE, FAT, MUSCLE, SKIN, Tissue

_BLOOD_SOURCE = (
    "HU [paper?]; T1, T2 [paper?: Stanisz 2005, 10.1002/mrm.20605]; SUV [assumed]; "
    "PD [assumed]: blood is 0.85, and flow takes most of it out of the slice between the two pulses"
)

#: Every tissue of the thigh. Columns: label, name, HU, T1 ms, T2 ms, proton density, SUV, source.
TISSUES = (
    Tissue(0, "air", *AIR),
    Tissue(1, "skin", *SKIN),
    Tissue(2, "subcutaneous fat", *FAT),
    Tissue(3, "intermuscular fat", *FAT),
    Tissue(4, "fascia", 60.0, 700.0, 8.0, 0.55, 0.5, "all [assumed]: tendon-like, hardly any signal at this echo time"),
    Tissue(5, "quadriceps", *MUSCLE),
    Tissue(6, "hamstrings", *MUSCLE),
    Tissue(7, "adductors", *MUSCLE),
    Tissue(8, "sartorius", *MUSCLE),
    Tissue(9, "cortical bone", *CORTICAL_BONE),
    Tissue(
        10, "yellow marrow", -75.0, 288.0, 165.0, 0.85, 0.4,
        "HU, PD, SUV [assumed]; T1, T2 [paper?: Gold 2004, AJR 183:343]; red marrow would have 549 and 49 ms "
        "[paper?: de Bazelaire 2004, 10.1148/radiol.2303021331]",
    ),
    Tissue(11, "artery", 42.0, 1441.0, 290.0, 0.10, 1.7, _BLOOD_SOURCE),
    Tissue(12, "vein", 42.0, 1441.0, 290.0, 0.40, 1.7, _BLOOD_SOURCE),
    Tissue(
        13, "sciatic nerve", 25.0, 815.0, 77.0, 0.75, 0.8,
        "T1, T2 of bovine optic nerve [paper?: Stanisz 2005, 10.1002/mrm.20605]; HU, PD, SUV [assumed]",
    ),
    Tissue(
        14, "tumour", 38.0, 1000.0, 75.0, 0.85, 9.0,
        "slightly brighter than muscle at T1 [assumed]; SUV of sarcomas of the limbs at most 12.9, 2.2 to 33.4 "
        "[paper: 10.1097/MNM.0000000000001002]; HU, PD [assumed]",
    ),
    Tissue(15, "necrosis", 18.0, 2000.0, 150.0, 0.92, 0.9, "all [assumed]: fluid-like, darker than muscle at T1, cold"),
)  # fmt: skip

LABEL_OF: Mapping[str, int] = {tissue.name: tissue.label for tissue in TISSUES}
MUSCLES = ("quadriceps", "hamstrings", "adductors", "sartorius")

#: The spacing of the sarcoma cohort's PET/CT; holds the widest thigh that is drawn.
DEFAULT_GRID = centred_grid((180, 180, 40), (0.9766, 0.9766, 3.27))


def thigh(seed: int, grid: Grid = DEFAULT_GRID) -> Phantom:
    """Draw the thigh of a seed (0 or above) and image it on a grid; the same arguments give the same bytes.

    The middle of the thigh lies at the origin and its long axis within a few degrees of S; a seed is a right or a left
    thigh. Raises MedGANError for a negative seed.
    """
    return imaged(Thigh.drawn(stream(seed, 0)), grid, seed)


class _Muscle(NamedTuple):
    """A muscle in the cross-section: its middle line and how far it reaches beyond its rivals.

    All in shares of the deep fascia's radius, first coordinate lateral, second anterior; ``growth`` is what the reach
    gains per 100 mm towards the hip.
    """

    group: str
    line: tuple[tuple[float, float], ...]
    reach: float
    growth: float


#: A right thigh at mid-length as seen in any atlas of sections; places and reaches [assumed], tuned to bring
#: the groups near the published shares of the muscle.
_MUSCLES = (
    _Muscle("quadriceps", ((-0.10, 0.77), (0.22, 0.77)), 0.09, 0.03),  # rectus femoris
    _Muscle("quadriceps", ((0.50, 0.62), (0.74, 0.34), (0.78, 0.02), (0.66, -0.20)), 0.10, 0.01),  # vastus lateralis
    _Muscle("quadriceps", ((-0.12, 0.38), (0.10, 0.50), (0.36, 0.42), (0.45, 0.10)), 0.04, 0.0),  # vastus intermedius
    _Muscle("quadriceps", ((-0.48, 0.58), (-0.30, 0.26)), 0.09, -0.08),  # vastus medialis
    _Muscle("sartorius", ((-0.74, 0.44), (-0.84, 0.24)), -0.07, 0.0),
    _Muscle("adductors", ((-0.88, -0.10), (-0.87, -0.26)), 0.0, 0.0),  # gracilis
    _Muscle("adductors", ((-0.56, -0.02), (-0.16, -0.10), (-0.10, -0.22), (-0.52, -0.28)), 0.07, 0.07),  # add. magnus
    _Muscle("hamstrings", ((-0.64, -0.56), (-0.42, -0.60)), -0.03, -0.06),  # semimembranosus
    _Muscle("hamstrings", ((-0.28, -0.82), (-0.12, -0.80)), 0.00, 0.03),  # semitendinosus
    _Muscle("hamstrings", ((0.18, -0.74), (0.40, -0.64)), 0.03, -0.01),  # biceps femoris, long head
    _Muscle("hamstrings", ((0.24, -0.26), (0.34, -0.36)), -0.04, -0.06),  # biceps femoris, short head
)


class _Cord(NamedTuple):
    """A vessel or nerve along the limb: place as in ``_Muscle``, half-axes and the fat around it in mm."""

    tissue: str
    place: tuple[float, float]
    drift: tuple[float, float]  # of the place, per 100 mm towards the hip
    half_axes_mm: tuple[float, float]
    fat_mm: float

    def distance_mm(self, place: Reals, z: Reals, radius: Reals) -> Reals:
        """Return about how far each point lies outside of it, negative inside; ``place`` as in ``_Muscle``."""
        drift = np.array(self.drift)[:, None] * np.clip(z / 100, -1.5, 1.5)
        offset = (place - np.array(self.place)[:, None] - drift) * radius
        scaled: Reals = np.hypot(*(offset / np.array(self.half_axes_mm)[:, None]))
        return (scaled - 1) * min(self.half_axes_mm)


def _drawn_cords(rng: np.random.Generator) -> tuple[_Cord, ...]:
    artery, vein, nerve = rng.uniform(2.75, 3.5), rng.uniform(3.5, 4.5), rng.uniform(0.9, 1.1)
    return (
        _Cord("artery", (-0.50, 0.16), (0.04, 0.14), (artery, artery), 0.8),
        _Cord("vein", (-0.42, 0.06), (0.05, 0.12), (vein, 0.8 * vein), 0.8),
        _Cord("artery", (0.02, -0.20), (-0.06, 0.03), (1.5, 1.5), 0.5),  # deep femoral
        _Cord("vein", (-0.04, -0.22), (-0.06, 0.03), (1.9, 1.6), 0.5),
        _Cord("vein", (-1.03, 0.30), (0.06, 0.12), (1.9, 1.6), 0.0),  # great saphenous, in the fat under the skin
        _Cord("sciatic nerve", (0.04, -0.45), (0.0, 0.0), (5.5 * nerve, 3.0 * nerve), 0.9),
    )


_SKIN_MM = 1.6
_FASCIA_MM = 0.9
_SEPTUM_MM = 0.3
_FEMUR_PLACE = (0.12, 0.13)
_BOW_RADIUS_MM = 907.0
#: No thigh that can be drawn reaches further from its axis.
_REACH_MM = 100.0


@dataclass(frozen=True)
class Thigh:
    """One person's thigh; lengths in mm unless said otherwise."""

    lateral: float  # +1: a right thigh, lateral is R; -1: a left one
    tilt: tuple[float, float]
    muscle_radius_mm: float
    taper: float
    muscle_outline: Outline
    fat_mm: float
    fat_outline: Outline
    warps: tuple[Waves, Waves]
    half_gap_mm: float
    cords: tuple[_Cord, ...]
    femur_radius_mm: float
    femur_outline: Outline
    cortex_mm: float
    canal_outline: Outline
    tumour: Growth
    necrosis_share: float
    strand_sheets: Waves
    strand_density: Waves
    strand_threshold: float
    patches: Waves
    receive_field: ReceiveField

    part: ClassVar[str] = "THIGH"
    ct_noise_hu: ClassVar[float] = BODY_NOISE_HU
    tissues: ClassVar[tuple[Tissue, ...]] = TISSUES

    @staticmethod
    def drawn(rng: np.random.Generator) -> "Thigh":
        """Draw a person within the ranges that the module's head names."""
        fat_mm = rng.uniform(7, 15)
        muscle_radius = rng.uniform(410, 480) / (2 * np.pi) - fat_mm - _SKIN_MM - _FASCIA_MM
        # Sites of deep sarcomas: the lateral and anterior extensors, the flexors, the adductors; never over the femur.
        site = rng.choice([0.1, 1.0, 2.4, 3.7, 4.5]) + rng.uniform(-0.2, 0.2)
        across = muscle_radius * rng.uniform(0.25, 0.36)
        receive_field = ReceiveField.drawn(rng)
        return Thigh(
            lateral=float(rng.choice([-1.0, 1.0])),
            tilt=(rng.uniform(-0.05, 0.05), rng.uniform(-0.03, 0.03)),
            muscle_radius_mm=muscle_radius,
            taper=rng.uniform(0.04, 0.09),
            muscle_outline=Outline.drawn(rng, (0.010, 0.035, 0.014, 0.007, 0.004)),
            fat_mm=fat_mm,
            fat_outline=Outline.drawn(rng, (0.10, 0.10, 0.04)),
            warps=(Waves.drawn(rng, 6, (40, 110), 4.0), Waves.drawn(rng, 6, (40, 110), 4.0)),
            half_gap_mm=rng.uniform(0.7, 1.1),
            cords=_drawn_cords(rng),
            femur_radius_mm=rng.uniform(13.0, 14.5),
            femur_outline=Outline.drawn(rng, (0.0, 0.025, 0.012, 0.008)),
            cortex_mm=rng.uniform(5.2, 7.2),
            canal_outline=Outline.drawn(rng, (0.03, 0.05, 0.02, 0.01)),
            tumour=Growth(
                (0.62 * np.cos(site) * muscle_radius, 0.62 * np.sin(site) * muscle_radius, rng.uniform(-15, 15)),
                (across, across * rng.uniform(0.8, 1.1), across * rng.uniform(1.2, 1.7)),
                Waves.drawn(rng, 10, (18, 45)),
            ),
            necrosis_share=rng.uniform(0.35, 0.6),
            strand_sheets=Waves.drawn(rng, 12, (8, 24), 12.0),
            strand_density=Waves.drawn(rng, 6, (18, 45), 4.0),
            strand_threshold=rng.uniform(-0.3, 0.6),
            patches=Waves.drawn(rng, 12, (6, 20)),
            receive_field=receive_field,
        )

    def strands(self, points: Reals, width: float) -> Reals:
        """Return how far, 0 to 1, each of (3, N) RAS points lies in one of the thin sheets that run along the limb."""
        sheets = np.exp(-((self.strand_sheets(points) / width) ** 2))
        share: Reals = sheets * np.clip(self.strand_density(points) - self.strand_threshold, 0, 1)
        return share

    def mixtures(self, points: Reals, labels: Labels) -> Iterator[Mixture]:
        """Yield fat streaks in muscle, fibres in fat, and the patchiness of tumour."""
        fat, muscle, tumour = (TISSUES[LABEL_OF[name]] for name in ("subcutaneous fat", "quadriceps", "tumour"))
        inside = np.isin(labels, [LABEL_OF[name] for name in MUSCLES])
        yield Mixture(inside, 0.45 * self.strands(points[:, inside], width=0.25), muscle, fat)
        inside = labels == fat.label
        fibres = 0.30 * self.strands(points[:, inside], width=0.15)
        yield Mixture(inside, fibres, fat, TISSUES[LABEL_OF["fascia"]])
        inside = labels == tumour.label
        patches = 0.30 * np.clip(self.patches(points[:, inside]), -1, 1)
        yield Mixture(inside, patches, tumour, TISSUES[LABEL_OF["necrosis"]])

    def labels(self, points: Reals) -> Labels:
        """Return the label at each of (3, N) RAS points in mm."""
        right, anterior, z = points
        u = self.lateral * right - self.tilt[0] * z
        v = anterior - self.tilt[1] * z
        labels = np.full(points.shape[1], LABEL_OF["air"], np.uint8)
        near = np.hypot(u, v) < _REACH_MM
        labels[near] = self._limb_labels(u[near], v[near], z[near])
        return labels

    def _limb_labels(self, u: Reals, v: Reals, z: Reals) -> Labels:
        points = np.stack([u, v, z])
        tumour_distance, (soft_u, soft_v, soft_z) = self.tumour.before(points)
        direction, distance = polar(soft_u, soft_v)
        radius = self._muscle_radius(direction, soft_z)
        depth = radius - distance
        fat_edge = -_FASCIA_MM - self._fat_thickness(direction)
        labels = np.full(u.shape, LABEL_OF["air"], np.uint8)
        labels[depth > fat_edge - _SKIN_MM] = LABEL_OF["skin"]
        labels[depth > fat_edge] = LABEL_OF["subcutaneous fat"]
        labels[depth > -_FASCIA_MM] = LABEL_OF["fascia"]

        body = np.flatnonzero(labels)
        place = self._place(soft_u[body], soft_v[body], soft_z[body], radius[body])
        off_cords = np.stack([cord.distance_mm(place, soft_z[body], radius[body]) for cord in self.cords])
        inside = depth[body] > 0
        deep = body[inside]
        labels[deep] = self._muscle_labels(
            place[:, inside], soft_z[deep], radius[deep], depth[deep], off_cords[:, inside]
        )
        for cord, off in zip(self.cords, off_cords, strict=True):
            labels[body[off < 0]] = LABEL_OF[cord.tissue]
        self._lay_tumour(labels, tumour_distance, points)
        self._lay_femur(labels, u, v, z)
        return labels

    def _muscle_radius(self, direction: Directions, z: Reals) -> Reals:
        """Return the deep fascia's radius in mm; the limb widens towards the hip, and no further than it may."""
        return self.muscle_radius_mm * (1 + self.taper * np.tanh(z / 70)) * self.muscle_outline(direction)

    def _fat_thickness(self, direction: Directions) -> Reals:
        # Thickest behind on the medial side, thinnest in front on the lateral side [assumed].
        tilt: Reals = 1 - 0.25 * (0.73 * direction.real + 0.69 * direction.imag)
        return self.fat_mm * self.fat_outline(direction) * tilt

    def _place(self, u: Reals, v: Reals, z: Reals, radius: Reals) -> Reals:
        """Return where points lie in shares of the deep fascia's radius, as ``_Muscle`` counts; warped a little."""
        points = np.stack([u, v, z])
        return np.stack([u + 1.3 * self.warps[0](points), v + 1.3 * self.warps[1](points)]) / radius

    def _muscle_labels(self, place: Reals, z: Reals, radius: Reals, depth: Reals, off_cords: Reals) -> Labels:
        """Give each point to the muscle whose middle line is nearest, and what lies between two muscles to fat.

        Distances to lines make a Voronoi diagram; the soft minimum over all rivals rounds its corners, as fat does.
        """
        hipwards = np.clip(z / 100, -1.5, 1.5)
        distances = np.stack([chain_distance(place, m.line) - m.reach - m.growth * hipwards for m in _MUSCLES]) * radius
        owner = np.argmin(distances, axis=0)
        groups = np.array([LABEL_OF[m.group] for m in _MUSCLES], np.uint8)
        apart = groups[owner][None] != groups[:, None]
        margins = (distances - np.take_along_axis(distances, owner[None], 0)) / 2
        margins[owner, np.arange(owner.size)] = np.inf
        # Between groups the gap opens towards the surface; between muscles of one group it stays a thin line.
        half_gap = self.half_gap_mm * (1 + 1.2 * np.exp(-depth / 6))
        clearance = margins - np.where(apart, half_gap[None], 0.35 * self.half_gap_mm)
        softness = 0.7
        rivals = np.exp(-np.minimum(clearance, 60) / softness).sum(axis=0) + np.exp(-(depth - 0.2) / softness)
        for cord, off in zip(self.cords, off_cords, strict=True):
            rivals += np.exp(-(off - cord.fat_mm) / (2 * softness))
        labels = np.where(rivals > 1, LABEL_OF["intermuscular fat"], groups[owner])
        septum = np.where(apart, margins, np.inf).min(axis=0) < _SEPTUM_MM / 2
        labels[septum] = LABEL_OF["fascia"]
        return labels.astype(np.uint8)

    def _lay_tumour(self, labels: Labels, distance: Reals, points: Reals) -> None:
        tumour = np.flatnonzero(distance < 1)
        core = self.necrosis_share * (1 + 0.25 * self.patches(points[:, tumour] / 2))
        labels[tumour] = np.where(distance[tumour] < core, LABEL_OF["necrosis"], LABEL_OF["tumour"])

    def _lay_femur(self, labels: Labels, u: Reals, v: Reals, z: Reals) -> None:
        """Lay the femur over all: bone does not give way to the tumour."""
        from_axis_u = u - _FEMUR_PLACE[0] * self.muscle_radius_mm
        # Bowed forwards: its middle lies in front of its ends.
        from_axis_v = v - _FEMUR_PLACE[1] * self.muscle_radius_mm + z**2 / (2 * _BOW_RADIUS_MM)
        near = np.flatnonzero(np.hypot(from_axis_u, from_axis_v) < 2 * self.femur_radius_mm)
        direction, distance = polar(from_axis_u[near], from_axis_v[near])
        behind = -direction.imag
        ridge = 2.5 * np.exp((behind - 1) / 0.05)  # linea aspera
        outer = self.femur_radius_mm * self.femur_outline(direction)
        inner = (self.femur_radius_mm - self.cortex_mm) * self.canal_outline(direction) - 0.6 * behind
        labels[near[distance < outer + ridge]] = LABEL_OF["cortical bone"]
        labels[near[distance < inner]] = LABEL_OF["yellow marrow"]
