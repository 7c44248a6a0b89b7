"""Line integrals through axial slices and filtered back-projection, in parallel and fan beams.

Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, chapter 3 [paper?]. Slices are (C, H, W),
sinograms (C, views, channels), lengths in mm, attenuation per mm; the middle of the slices is the isocentre. All slices
of a batch are seen along the same rays, and where a ray meets the pixels is worked out once for all of them: sixteen at
once take a tenth of the time of one by one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

#: No scanner's field is wider than 800 mm [assumed]; beyond it rays would start inside of the image.
_LARGEST_RADIUS_MM = 400.0
#: How many places are worked out at once, and of how many views: so many stay in a processor's cache.
_PLACES_AT_ONCE = 1 << 17
_VIEWS_AT_ONCE = 8


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: the ramp |f| times cos²(πf / 2c) (von Hann's window) up to the cut-off c, then nothing.

    Its modulation transfer is the window: half at c/2, a tenth at 0.795 c. Without a cut-off it is the bare ramp.
    """

    name: str
    cut_off_per_mm: float = math.inf

    def window(self, frequency: Tensor) -> Tensor:
        """Return what is left of each frequency (per mm, 0 or above)."""
        share = (frequency / self.cut_off_per_mm).clamp(max=1)
        return torch.cos(math.pi / 2 * share).square()


#: Cut-offs [assumed], after the noise of real scans: docs/low-dose.md.
KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (Kernel("ramp"), Kernel("sharp", 1.6), Kernel("standard", 0.85), Kernel("soft", 0.6))
}


@dataclass(frozen=True)
class Pixels:
    """Where the pixels of a slice lie: ``shape`` (H, W) and distances of centres along H and W in mm."""

    shape: tuple[int, int]
    spacing_mm: tuple[float, float]

    def places(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the places of all centres along H and along W in mm, (H·W,) each."""
        along = [
            (torch.arange(count, device=device) - (count - 1) / 2) * step
            for count, step in zip(self.shape, self.spacing_mm, strict=True)
        ]
        rows, columns = torch.meshgrid(*along, indexing="ij")
        return rows.reshape(-1), columns.reshape(-1)


@dataclass(frozen=True)
class Beam(ABC):
    """The rays of one rotation: ``channels`` in each of ``views``, neighbours ``pitch_mm`` apart at the isocentre."""

    views: int
    channels: int
    pitch_mm: float

    @classmethod
    def around(cls, pixels: Pixels) -> Self:
        """Return a beam that sees every pixel and resolves more than pixels can show.

        Rays lie half a pixel apart; from view to view the rim of the inscribed circle turns by two pixels over a full
        rotation, by one over half of one. Both numbers are multiples of 4.
        """
        edges = [count * step for count, step in zip(pixels.shape, pixels.spacing_mm, strict=True)]
        finest = min(pixels.spacing_mm)
        views = 4 * math.ceil(math.pi / 2 * max(edges) / finest / 4)
        narrow = cls(views, 4, finest / 2)
        reach = narrow._arc(min(math.hypot(*edges) / 2, _LARGEST_RADIUS_MM)) / narrow.pitch_mm
        return replace(narrow, channels=4 * math.ceil(reach / 2))

    def thinned(self) -> Self:
        """Return the beam with half the views and a quarter of the channels, over the same field."""
        return replace(self, views=self.views // 2, channels=self.channels // 4, pitch_mm=self.pitch_mm * 4)

    def distances(self, device: torch.device) -> Tensor:
        """Return how far from the isocentre each channel's ray passes, in mm, on one side below 0."""
        return self._distance(self._arcs(device))

    def project(self, attenuation: Tensor, spacing_mm: tuple[float, float]) -> Tensor:
        """Return line integrals (C, views, channels) of slices (C, H, W) per mm; beyond their pixels is nothing.

        Between pixels the slices are bilinear; a ray is sampled every ``pitch_mm``, or every pixel where that is more.
        """
        count, height, width = attenuation.shape
        table = pad(attenuation, (1, 1, 1, 1)).reshape(count, -1).T.contiguous()
        step = max(self.pitch_mm, *spacing_mm)
        radius = math.hypot(height * spacing_mm[0], width * spacing_mm[1]) / 2
        samples = 2 * math.ceil(radius / step)
        along = (torch.arange(samples, device=table.device) - (samples - 1) / 2) * step
        distance = self.distances(table.device)
        integrals = []
        for angles in self._angles(table.device).split(max(1, _PLACES_AT_ONCE // (samples * self.channels))):
            turn = self._turn(angles)[..., None]
            rows = distance[:, None] * turn.cos() - along * turn.sin()
            columns = distance[:, None] * turn.sin() + along * turn.cos()
            row, lower = _neighbours(rows.flatten(0, 1) / spacing_mm[0] + (height + 1) / 2, height)
            column, right = _neighbours(columns.flatten(0, 1) / spacing_mm[1] + (width + 1) / 2, width)
            corner, both = row * (width + 2) + column, lower * right
            integrals.append(
                _weighted(table, corner, 1 - lower - right + both)
                + _weighted(table, corner + 1, right - both)
                + _weighted(table, corner + (width + 2), lower - both)
                + _weighted(table, corner + (width + 3), both)
            )
        return torch.cat(integrals).T.reshape(count, self.views, self.channels) * step

    def reconstruct(self, sinogram: Tensor, kernel: Kernel, pixels: Pixels) -> Tensor:
        """Return the filtered back-projection (C, H, W) of line integrals (C, views, channels), per mm.

        Outside of the circle that all views see it is 0.
        """
        filtered = pad(self._filtered(sinogram, kernel), (1, 1))
        rows, columns = (one[:, None] for one in pixels.places(filtered.device))
        image = filtered.new_zeros(len(rows), len(filtered))
        parts = [one.split(_PLACES_AT_ONCE // _VIEWS_AT_ONCE) for one in (image, rows, columns)]
        angles = self._angles(filtered.device).split(_VIEWS_AT_ONCE)
        for some, seen in zip(angles, filtered.split(_VIEWS_AT_ONCE, dim=1), strict=True):
            table = seen.flatten(1).T.contiguous()
            first = torch.arange(len(some), device=table.device, dtype=torch.int32) * (self.channels + 2)
            for part, row, column in zip(*parts, strict=True):
                channel, weight = self._seen(row, column, some)
                near, share = _neighbours(channel + (self.channels + 1) / 2, self.channels)
                near, later = near + first, share * weight
                part.add_(_weighted(table, near, weight - later) + _weighted(table, near + 1, later))
        field = self._distance(torch.tensor(self.channels / 2 * self.pitch_mm))
        image *= math.pi / self.views * (torch.hypot(rows, columns) <= field)
        return image.T.reshape(-1, *pixels.shape)

    def _filtered(self, sinogram: Tensor, kernel: Kernel) -> Tensor:
        """Filter every view: the ramp's samples in space (Kak and Slaney eq. 61), then the kernel's window."""
        length = 1 << (2 * self.channels - 1).bit_length()
        lag = torch.arange(length, device=sinogram.device)
        lag = torch.minimum(lag, length - lag).double() * self.pitch_mm
        odd = torch.arange(length, device=sinogram.device) % 2 == 1
        taps = torch.where(odd, -1 / (math.pi * lag).square(), 0.0)
        taps[0] = 1 / (2 * self.pitch_mm) ** 2
        window = kernel.window(torch.fft.rfftfreq(length, self.pitch_mm, device=sinogram.device).double())
        taps = torch.fft.irfft(torch.fft.rfft(taps) * window, length) * self._widening(lag)
        response = (torch.fft.rfft(taps).real * self.pitch_mm).to(sinogram.dtype)
        weight = self._obliquity(self._arcs(sinogram.device))
        # Slice by slice: the spectra of many at once would need more memory than all else.
        spectra = (torch.fft.rfft(one * weight, length) * response for one in sinogram)
        return torch.stack([torch.fft.irfft(one, length)[:, : self.channels] for one in spectra])

    def _angles(self, device: torch.device) -> Tensor:
        """Return the angles of all views."""
        # Half a view from zero, so that thinned views lie in the middle of those that they stand for.
        return (torch.arange(self.views, device=device) + 0.5) * (self._rotation / self.views)

    def _arcs(self, device: torch.device) -> Tensor:
        """Return the places of channels along the detector, in mm at the isocentre."""
        return (torch.arange(self.channels, device=device) - (self.channels - 1) / 2) * self.pitch_mm

    @property
    @abstractmethod
    def _rotation(self) -> float:
        """By how much all views turn together, in radians."""

    @abstractmethod
    def _distance(self, arc_mm: Tensor) -> Tensor:
        """Return how far from the isocentre the rays to places along the detector pass, in mm."""

    @abstractmethod
    def _arc(self, distance_mm: float) -> float:
        """Undo ``_distance``."""

    @abstractmethod
    def _turn(self, angles: Tensor) -> Tensor:
        """Return the angles at which views' rays pass the isocentre, (views, channels), or (views, 1) if they agree."""

    @abstractmethod
    def _seen(self, rows: Tensor, columns: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        """Return at which channel from the middle views see places in mm, and the weight of that, (places, views)."""

    def _obliquity(self, arc_mm: Tensor) -> Tensor:
        """Return by what line integrals are multiplied before they are filtered."""
        return torch.ones_like(arc_mm)

    def _widening(self, lag_mm: Tensor) -> Tensor:
        """Return by what the kernel is multiplied for being laid along the detector."""
        return torch.ones_like(lag_mm)


@dataclass(frozen=True)
class Parallel(Beam):
    """Parallel rays over half a rotation (Kak and Slaney §3.3)."""

    @property
    def _rotation(self) -> float:
        return math.pi

    def _distance(self, arc_mm: Tensor) -> Tensor:
        return arc_mm

    def _arc(self, distance_mm: float) -> float:
        return distance_mm

    def _turn(self, angles: Tensor) -> Tensor:
        return angles[:, None]

    def _seen(self, rows: Tensor, columns: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        across = rows * angles.cos() + columns * angles.sin()
        return across / self.pitch_mm, torch.ones_like(across)


@dataclass(frozen=True)
class FanBeam(Beam):
    """Rays from a source that turns once around, to a detector of equal angles (Kak and Slaney §3.4.1).

    570 mm from the source to the isocentre are usual [paper?].
    """

    source_mm: float = 570.0

    @property
    def _rotation(self) -> float:
        return 2 * math.pi

    def _distance(self, arc_mm: Tensor) -> Tensor:
        return self.source_mm * torch.sin(arc_mm / self.source_mm)

    def _arc(self, distance_mm: float) -> float:
        return self.source_mm * math.asin(distance_mm / self.source_mm)

    def _turn(self, angles: Tensor) -> Tensor:
        return angles[:, None] - self._arcs(angles.device) / self.source_mm

    def _seen(self, rows: Tensor, columns: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        across = rows * angles.cos() + columns * angles.sin()
        ahead = columns * angles.cos() - rows * angles.sin() + self.source_mm
        channel = torch.atan(across / ahead) * (self.source_mm / self.pitch_mm)
        return channel, self.source_mm**2 / (across.square() + ahead.square())

    def _obliquity(self, arc_mm: Tensor) -> Tensor:
        return torch.cos(arc_mm / self.source_mm)

    def _widening(self, lag_mm: Tensor) -> Tensor:
        """Return (γ / sin γ)² for angles γ up to the whole fan; beyond it the kernel meets no channel."""
        fan = (lag_mm / self.source_mm).clamp(max=self.channels * self.pitch_mm / self.source_mm)
        return torch.where(fan > 0, fan / fan.sin(), 1.0).square()


def _neighbours(places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the index before each place on a line of ``count`` values between two zeros, and how far behind it lies.

    Places are counted from the first zero; what lies beyond falls onto a zero.
    """
    within = places.clamp(0, count + 1)
    near = within.floor().clamp(max=count)
    return near.int(), within - near


def _weighted(table: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums (n, C) of rows of a table (rows, C), at places (n, k) with weights (n, k)."""
    return embedding_bag(places, table, mode="sum", per_sample_weights=weights)
