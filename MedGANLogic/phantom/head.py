"""A digital head, from the middle of the orbits to the vertex: scalp, skull with its air cells, eyes, and a brain.

The anatomy is a function of the seed and of the physical place (RAS millimetres) alone, so every grid shows the same
head; noise belongs to the voxels. Provenance of each number as in ``tissues``. Everything is drawn as the mean head,
in millimetres from the anterior commissure (right, ahead, up), which a person scales by up to 5 %, turns by up to 4
degrees and warps. Drawn down to 45 mm below the commissure; there the last plane goes on for ever, as if the head stood
on a column. Not drawn: auricles, teeth and jaws, vessels but the venous sinuses, cranial nerves but the optic.

Measures of the anatomy; the tests hold them:

- breadth 151.7 +- 5.4 and length 197.1 +- 7.1 mm in men, 144.4 and 187.2 mm in women [paper?: ANSUR 1988]; in
  Britain length 195 +- 8 and 180 +- 7 mm [paper: personal.cityu.edu.hk/meachan, after Pheasant]
- skull 8.0 +- 2.0 mm thick in front, 7.0 +- 1.4 at the parietal eminence, 4.7 +- 1.3 at the temple, 8.0 +- 2.5 behind
  [paper: CT of 100 Nepalese adults, "Morphometric measurement of cranial vault thickness"]; outer table 1.7 mm, inner
  table 1.3 mm, the rest diploe [assumed]
- skin 2.0 mm, fat 2.5 to 4 mm, galea and what lies under it 1.2 mm, temporal muscle up to 8 to 12 mm [assumed]
- eyes 24 mm long; optic axis, orbit and muscles [paper?: any atlas]
- within the skull: see ``brain``
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MedGANLogic.images import Affine, Grid
from MedGANLogic.phantom.brain import Brain
from MedGANLogic.phantom.head_tissues import LABEL_OF, TISSUES
from MedGANLogic.phantom.imaging import HEAD_NOISE_HU, Mixture, Phantom, ReceiveField, centred_grid, imaged, stream
from MedGANLogic.phantom.shapes import (
    Egg,
    Ellipsoid,
    Labels,
    Reals,
    Tube,
    Waves,
    folded,
    nearest,
    smooth_union,
)
from MedGANLogic.phantom.tissues import Tissue

#: As fine in the plane as MR and CT of heads are shown; holds the largest head that is drawn.
DEFAULT_GRID = centred_grid((184, 236, 56), (1.0, 1.0, 2.5))


def head(seed: int, grid: Grid = DEFAULT_GRID) -> Phantom:
    """Draw the head of a seed (0 or above) and image it on a grid; the same arguments give the same bytes.

    The middle of the vault lies at the origin, 23 mm above and 17 mm behind the anterior commissure. A seed has a
    tumour or an old stroke on one side. Raises MedGANError for a negative seed.
    """
    return imaged(Head.drawn(stream(seed, 0)), grid, seed)


# --- places and sizes in the mean head --------------------------------------------------------------------------------

_MIDDLE_MM = (0.0, -17.0, 23.0)
_LOWEST_MM = -45.0
_WARP_MM = 1.1
#: No head that can be drawn reaches further from its axis, or higher.
_REACH_MM = (94.0, 118.0, 94.0)

_SKIN_MM, _GALEA_MM, _DURA_MM = 2.0, 1.2, 0.5
_INNER_TABLE_MM, _OUTER_TABLE_MM = 1.3, 1.7
_THINNEST_DIPLOE_MM = 0.8

#: The vault within the skull; the same, longer below, carries the scalp down to the neck.
_VAULT = Egg((0.0, -16.5, 0.0), (62.0, 83.0, 72.0), 62.0, 0.13)
_OUTSIDE = _VAULT._replace(depth_mm=130.0)
_MIDDLE_FOSSA = Ellipsoid((37.0, -5.0, -20.0), (24.0, 31.0, 22.0))
_POSTERIOR_FOSSA = Ellipsoid((0.0, -55.0, -28.0), (49.0, 38.5, 33.0))
_FACE = Ellipsoid((0.0, 14.0, -55.0), (73.0, 70.0, 70.0))
_NOSE = Tube(((0.0, 74.0, -28.0, 7.0), (0.0, 84.0, -52.0, 8.5)))

# Right halves; the left mirrors them.
_PETROUS = Tube(((13.0, -13.0, -30.0, 7.0), (38.0, -28.0, -31.0, 9.0), (64.0, -42.0, -36.0, 12.0)))
_MASTOID = Ellipsoid((56.0, -44.0, -42.0), (10.0, 13.0, 17.0))
_SPHENOID = Ellipsoid((0.0, 0.0, -34.0), (17.0, 24.0, 15.0))
_LATERAL_WALL = Tube(((30.0, 26.0, -26.0, 4.0), (50.0, 49.0, -34.0, 3.5), (52.0, 57.0, -36.0, 4.5)))
_ORBIT = Tube(
    ((13.0, 24.0, -28.0, 4.0), (25.0, 46.0, -34.0, 13.0), (33.0, 64.0, -36.0, 18.0), (35.0, 88.0, -37.0, 18.0))
)
_EYE = Ellipsoid((33.0, 58.5, -36.0), (12.0, 12.0, 12.0))
_SCLERA_MM = 1.2
_LENS = Ellipsoid((33.5, 67.0, -36.0), (4.6, 2.1, 4.6))
_OPTIC_NERVE = Tube(((14.0, 26.0, -29.0, 1.8), (24.0, 40.0, -34.0, 1.9), (31.0, 49.0, -37.0, 2.0)))
_EYE_MUSCLES = (
    Tube(((14.0, 27.0, -29.0, 1.5), (17.0, 43.0, -35.0, 2.6), (21.5, 60.0, -37.0, 1.0))),
    Tube(((16.0, 26.0, -29.0, 1.5), (38.0, 43.0, -35.0, 2.6), (45.0, 60.0, -37.0, 1.0))),
    Tube(((15.0, 27.0, -27.0, 1.5), (26.0, 43.0, -24.0, 2.6), (33.0, 60.0, -24.0, 1.0))),
    Tube(((15.0, 27.0, -31.0, 1.5), (26.0, 43.0, -45.0, 2.6), (33.0, 60.0, -50.0, 1.0))),
)
_ETHMOID = Ellipsoid((7.5, 45.0, -35.0), (6.0, 25.0, 12.0))
_SPHENOID_SINUS = Ellipsoid((6.5, 11.0, -33.0), (7.5, 11.0, 9.0))
_NASAL_CAVITY = Ellipsoid((4.5, 48.0, -56.0), (4.5, 38.0, 16.0))
_FRONTAL_SINUS = Ellipsoid((9.0, 71.5, -10.0), (9.5, 4.5, 13.0))


def _cavity(place: Reals) -> Reals:
    """Return about how far each of (3, N) places lies outside of the cranial cavity: a vault over three fossae."""
    vault, _ = _VAULT.distance(place)
    low = np.flatnonzero(place[2] < -8)
    right = folded(place[:, low])
    x, y, z = right
    ahead = 1 / (1 + np.exp((18 - y) / 4))
    over_the_orbit = 3 * np.exp(-(((x - 29) / 15) ** 2) - ((y - 44) / 24) ** 2)
    over_the_nose = 7 * np.exp(-((x / 7) ** 2))
    floor = -20 + ahead * (1 + over_the_orbit - over_the_nose)
    fossae = np.maximum(nearest(right, (_MIDDLE_FOSSA, _POSTERIOR_FOSSA)), -_PETROUS.distance(right))
    vault[low] = np.minimum(np.maximum(vault[low], floor - z), fossae)
    return vault


@dataclass(frozen=True)
class Head:
    """One person's head."""

    turned: Affine  # (3, 3), from RAS to the mean head
    scale: tuple[float, float, float]
    warps: tuple[Waves, Waves, Waves]
    bone_mm: tuple[float, float, float, float]  # frontal, parietal, temporal, occipital
    bone_ripples: Waves
    fat_mm: float
    temporalis_mm: float
    patches: Waves
    air_cells: Waves
    muscle_planes: Waves
    brain: Brain
    receive_field: ReceiveField

    part: ClassVar[str] = "HEAD"
    ct_noise_hu: ClassVar[float] = HEAD_NOISE_HU
    tissues: ClassVar[tuple[Tissue, ...]] = TISSUES

    @staticmethod
    def drawn(rng: np.random.Generator) -> "Head":
        """Draw a person within the ranges that the module's head names."""
        size = rng.uniform(0.97, 1.03)
        return Head(
            turned=_rotation(*np.radians(rng.uniform(-4, 4, 3))),
            scale=tuple(size * rng.uniform(0.98, 1.02, 3)),
            warps=(Waves.drawn(rng, 5, (120, 220)), Waves.drawn(rng, 5, (120, 220)), Waves.drawn(rng, 5, (120, 220))),
            bone_mm=(rng.uniform(6, 8.5), rng.uniform(6, 8), rng.uniform(3.8, 5.4), rng.uniform(6.5, 9.5)),
            bone_ripples=Waves.drawn(rng, 10, (25, 70)),
            fat_mm=rng.uniform(2.5, 4.0),
            temporalis_mm=rng.uniform(8, 12),
            patches=Waves.drawn(rng, 14, (4, 12)),
            air_cells=Waves.drawn(rng, 14, (6, 10)),
            muscle_planes=Waves.drawn(rng, 8, (18, 35)),
            brain=Brain.drawn(rng),
            receive_field=ReceiveField.drawn(rng),
        )

    def mixtures(self, points: Reals, labels: Labels) -> Iterator[Mixture]:
        """Yield trabeculae and marrow in the diploe, and the patchiness of tumour."""
        for host, guest, sign in (("diploe", "outer table", 1), ("diploe", "fat", -1), ("tumour", "necrosis", 1)):
            inside = labels == LABEL_OF[host]
            share = 0.45 * np.clip(0.5 * sign * self.patches(points[:, inside]), 0, 1)
            yield Mixture(inside, share, TISSUES[LABEL_OF[host]], TISSUES[LABEL_OF[guest]])

    def labels(self, points: Reals) -> Labels:
        """Return the label at each of (3, N) RAS points in mm."""
        labels = np.full(points.shape[1], LABEL_OF["air"], np.uint8)
        place = (self.turned @ points + np.array(_MIDDLE_MM)[:, None]) / np.array(self.scale)[:, None]
        x, y, z = _REACH_MM
        near = np.flatnonzero((np.hypot(place[0] / x, (place[1] + 12) / y) < 1) & (place[2] < z))
        # Half the precision is a tenth of a micrometre, and half the time.
        place = place[:, near].astype(np.float32)
        place[2] = np.maximum(place[2], np.float32(_LOWEST_MM))
        place += _WARP_MM * np.stack([warp(place) for warp in self.warps])
        labels[near] = self._labels(place)
        return labels

    def _labels(self, place: Reals) -> Labels:
        x, y, z = place
        # Under the vault the scalp goes straight down, but for the neck.
        level = np.stack([x, y, np.where(z > 0, z, z * np.clip((-y - 15) / 60, 0, 1))])
        outside, normal = _OUTSIDE.distance(level)
        bone = self._bone_thickness(place, normal)
        fat = self.fat_mm * (1 + 0.3 * np.maximum(-normal[1], 0))
        vault = outside - (bone + self._muscle_thickness(place, normal) + _GALEA_MM + fat + _SKIN_MM)
        right = folded(place)
        depth = -smooth_union(smooth_union(vault, _FACE.distance(right), 4.0), _NOSE.distance(right), 2.0)
        labels = np.full(x.size, LABEL_OF["air"], np.uint8)
        labels[depth > 0] = LABEL_OF["skin"]
        labels[depth > _SKIN_MM] = LABEL_OF["fat"]
        labels[depth > _SKIN_MM + fat] = LABEL_OF["galea"]
        labels[depth > _SKIN_MM + fat + _GALEA_MM] = LABEL_OF["muscle"]
        body = np.flatnonzero(labels)
        cavity = _cavity(place[:, body])
        around, within = body[cavity > 0], body[cavity <= 0]
        labels[around] = self._skull_labels(
            labels[around], place[:, around], cavity[cavity > 0], bone[around], depth[around]
        )
        labels[within] = self._intracranial_labels(place[:, within], cavity[cavity <= 0])
        return labels

    def _bone_thickness(self, place: Reals, normal: Reals) -> Reals:
        """Return the skull's thickness by where its surface faces; thinner where it carries the brain."""
        frontal, parietal, temporal, occipital = self.bone_mm
        _, y, z = place
        side = np.interp(z, [5, 45], [temporal, parietal])
        across, along, up = normal * normal
        thickness = across * side + along * np.where(normal[1] > 0, frontal, occipital) + up * parietal
        thickness += 0.4 * self.bone_ripples(place)
        most = np.where(y > -50, np.interp(z, [-24, -4], [3.5, 12]), np.interp(z, [-45, -15], [5, 12]))
        least: Reals = np.minimum(thickness, most).astype(place.dtype)
        return least

    def _muscle_thickness(self, place: Reals, normal: Reals) -> Reals:
        """Return how much muscle lies on the skull: the temporal muscle, and those of the neck."""
        _, y, z = place
        temporalis = np.exp(-(((y - 12) / 34) ** 2)) * np.clip((34 - z) / 55, 0, 1) * normal[0] ** 2
        neck = np.clip((-22 - z) / 25, 0, 1) * np.clip(-normal[1], 0, 1) ** 2
        thickness: Reals = self.temporalis_mm * temporalis + 14 * neck
        return thickness

    def _intracranial_labels(self, place: Reals, cavity: Reals) -> Labels:
        before = self.brain.lesion.before(place)
        labels = self.brain.labels(before, -_cavity(before) - _DURA_MM)
        self.brain.lesion.lay(labels, place)
        # Whatever a tumour pushes, the skull does not give way.
        labels[cavity > -_DURA_MM] = LABEL_OF["dura"]
        return labels

    def _skull_labels(self, labels: Labels, place: Reals, cavity: Reals, bone: Reals, depth: Reals) -> Labels:
        """Label what lies between scalp and brain, over the labels of the scalp."""
        base = np.flatnonzero(place[2] < 20)
        labels[base] = self._base_labels(labels[base], place[:, base], depth[base])
        shell = cavity < bone
        labels[shell & (cavity < bone / 2)] = LABEL_OF["inner table"]
        labels[shell & (cavity >= bone / 2)] = LABEL_OF["outer table"]
        between = (cavity > _INNER_TABLE_MM) & (cavity < bone - _OUTER_TABLE_MM)
        labels[between & (bone > _INNER_TABLE_MM + _OUTER_TABLE_MM + _THINNEST_DIPLOE_MM)] = LABEL_OF["diploe"]
        labels[base] = self._aired_labels(labels[base], place[:, base], depth[base])
        return labels

    def _base_labels(self, labels: Labels, place: Reals, depth: Reals) -> Labels:
        """Label muscles and fat below the vault, the bones that carry it, and the orbits."""
        right = folded(place)
        deep = labels == LABEL_OF["muscle"]
        labels[deep & (np.abs(self.muscle_planes(place)) < 0.08) & (depth > 14)] = LABEL_OF["fat"]
        labels[deep & (depth < np.minimum(12, 0.5 * (place[1] - 5))) & (place[2] < -14)] = LABEL_OF["fat"]
        labels[(_LATERAL_WALL.distance(right) < 0) & (depth > 5)] = LABEL_OF["outer table"]
        sphenoid = _SPHENOID.distance(right)
        labels[sphenoid < 0] = LABEL_OF["outer table"]
        labels[sphenoid < -1.5] = LABEL_OF["diploe"]
        petrous = np.minimum(_PETROUS.distance(right) - 1.5, _MASTOID.distance(right) - 2)
        labels[(petrous < 0) & (depth > 7)] = LABEL_OF["outer table"]
        orbit = _ORBIT.distance(right)
        labels[(orbit < 1) & (depth > 4)] = LABEL_OF["outer table"]
        labels[(orbit < 0) & (depth > _SKIN_MM)] = LABEL_OF["fat"]
        labels[nearest(right, _EYE_MUSCLES) < 0] = LABEL_OF["muscle"]
        labels[_OPTIC_NERVE.distance(right) < 0] = LABEL_OF["optic nerve"]
        eye = _EYE.distance(right)
        labels[(eye < 0) & (depth > 1)] = LABEL_OF["sclera"]
        labels[(eye < -_SCLERA_MM) & (depth > 2)] = LABEL_OF["vitreous"]
        labels[_LENS.distance(right) < 0] = LABEL_OF["lens"]
        return labels

    def _aired_labels(self, labels: Labels, place: Reals, depth: Reals) -> Labels:
        """Label the paranasal sinuses, the nasal cavity and the mastoid cells, over the bone that they lie in."""
        right = folded(place)
        x, y, _ = right
        deep = depth > 6
        sinus = nearest(right, (_ETHMOID, _SPHENOID_SINUS))
        labels[(sinus < 1) & deep] = LABEL_OF["outer table"]
        labels[(sinus < 0) & deep] = LABEL_OF["mucosa"]
        septum = (np.abs((y - 3) % 9 - 4.5) > 4) | (x < 0.6)
        labels[(sinus < -0.7) & deep & ~septum] = LABEL_OF["air"]
        nasal = _NASAL_CAVITY.distance(right)
        labels[(nasal < 1) & deep] = LABEL_OF["mucosa"]
        labels[(nasal < 0) & deep & (x > 0.8)] = LABEL_OF["air"]
        frontal = _FRONTAL_SINUS.distance(right)
        labels[(frontal < 1.4) & (depth > 4)] = LABEL_OF["outer table"]
        labels[(frontal < 0) & (depth > 5) & (x > 0.6)] = LABEL_OF["air"]
        mastoid = np.flatnonzero((_MASTOID.distance(right) < 0) & (depth > 7))
        labels[mastoid[self.air_cells(place[:, mastoid]) > -0.35]] = LABEL_OF["air"]
        return labels


def _rotation(nod: float, turn: float, tilt: float) -> Affine:
    """Return the (3, 3) rotation about R (nod), then A (tilt), then S (turn), in radians."""

    def about(axis: int, angle: float) -> Affine:
        one, other = (axis + 1) % 3, (axis + 2) % 3
        matrix = np.eye(3)
        matrix[one, one] = matrix[other, other] = np.cos(angle)
        matrix[other, one] = np.sin(angle)
        matrix[one, other] = -matrix[other, one]
        return matrix

    return about(2, turn) @ about(1, tilt) @ about(0, nod)
