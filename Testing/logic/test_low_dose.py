"""The low-dose simulator against closed forms: what gets through, what its noise looks like, and what is left alone."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedGANLogic.evaluation.noise import Patches, flat_patches, noise_power
from MedGANLogic.images import Image, ImageError, Orientation, read, write
from MedGANLogic.parts.operators.low_dose import WATER_PER_MM, Scanner
from MedGANLogic.parts.operators.projection import KERNELS, FanBeam, Parallel, Pixels
from MedGANLogic.simulation import exposure, kernel_of, low_dose, low_doses

CPU = torch.device("cpu")
BEAMS = (FanBeam, Parallel)
#: Not square, in either sense.
PIXELS = Pixels((160, 120), (1.0, 1.25))
PHOTONS = 2e5
SILENT = Scanner(electronic=0.0)


def discs(pixels, *places, fine=8):
    """Slices (1, H, W) of discs (row, column, radius, in mm), 1 inside, with the shares of the pixels that they cut."""
    shape, spacing = (tuple(n * fine for n in pixels.shape), tuple(s / fine for s in pixels.spacing_mm))
    rows, columns = Pixels(shape, spacing).places(CPU)
    inside = torch.zeros(len(rows), dtype=torch.bool)
    for row, column, radius in places:
        inside |= torch.hypot(rows - row, columns - column) < radius
    return torch.nn.functional.avg_pool2d(inside.reshape(1, *shape).float(), fine)


def ct_of(hu, spacing_mm=(1.0, 1.0, 2.0), slices=1):
    """An image of so many equal slices (1, H, W) in HU."""
    voxels = np.repeat(np.moveaxis(np.asarray(hu, np.float32), 0, -1)[None], slices, axis=-1)
    return Image(voxels, np.diag([*spacing_mm, 1.0]), "HU")


def cylinder(size, pixel_mm, radius_mm, slices):
    """Water in air."""
    hu = 1000 * discs(Pixels((size, size), (pixel_mm, pixel_mm)), (0, 0, radius_mm), fine=4) - 1000
    return ct_of(hu, (pixel_mm, pixel_mm, 2.0), slices)


def added(image, *arguments, **further):
    """What the simulator adds to an image: (I, J, K)."""
    return (low_dose(image, *arguments, **further).image.voxels - image.voxels)[0]


def within(image, radius_mm, row_mm=0.0, column_mm=0.0):
    """Where a slice is near a point, (I, J)."""
    rows, columns = Pixels(image.grid.shape[:2], image.grid.spacing_mm[:2]).places(CPU)
    near = torch.hypot(rows - row_mm, columns - column_mm) < radius_mm
    return near.reshape(image.grid.shape[:2]).numpy()


def linear_interpolation(frequency, pitch):
    """What linear interpolation leaves of noise's variance, over all places between channels."""
    return (2 + torch.cos(2 * math.pi * frequency * pitch)) / 3


@pytest.mark.parametrize("kind", BEAMS)
@pytest.mark.parametrize("place", [(0.0, 0.0), (21.0, -13.0)])
def test_a_discs_projections_are_its_chords(kind, place):
    beam, radius = kind.around(PIXELS), 40.0
    integrals = beam.project(discs(PIXELS, (*place, radius)), PIXELS.spacing_mm)[0]
    turn = beam._turn(beam._angles(CPU))
    offset = beam.distances(CPU) - (place[0] * turn.cos() + place[1] * turn.sin())
    chords = 2 * (radius**2 - offset.square()).clamp(min=0).sqrt()
    inner = offset.abs() < radius - 3
    assert (integrals - chords).abs()[inner].max() < 0.01 * 2 * radius
    assert (integrals - chords).mean().abs() < 0.002 * chords.mean()
    assert integrals[offset.abs() > radius + 3].abs().max() == 0


def test_fan_rays_start_at_the_source():
    beam = FanBeam.around(PIXELS)
    turn, distance = beam._turn(beam._angles(CPU)[:5]), beam.distances(CPU)
    angle = beam._angles(CPU)[:5, None]
    source = beam.source_mm * torch.stack([angle.sin(), -angle.cos()])
    assert (source[0] * turn.cos() + source[1] * turn.sin() - distance).abs().max() < 1e-3


@pytest.mark.parametrize("kind", BEAMS)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_reconstruction_undoes_projection(kind, kernel):
    rows, columns = PIXELS.places(CPU)
    smooth = torch.exp(-((rows - 20) ** 2 + (columns + 15) ** 2) / (2 * 16**2)).reshape(1, *PIXELS.shape)
    beam = kind.around(PIXELS)
    elsewhere = Pixels((61, 47), (1.3, 2.1))
    sinogram = beam.project(smooth, PIXELS.spacing_mm)
    assert (beam.reconstruct(sinogram, kernel, PIXELS) - smooth).abs().max() < 0.01
    rows, columns = elsewhere.places(CPU)
    there = torch.exp(-((rows - 20) ** 2 + (columns + 15) ** 2) / (2 * 16**2)).reshape(1, 61, 47)
    assert (beam.reconstruct(sinogram, kernel, elsewhere) - there).abs().max() < 0.01


@pytest.mark.parametrize("kind", BEAMS)
def test_beyond_the_field_nothing_is_reconstructed(kind):
    beam, wide = kind.around(Pixels((20, 20), (5.0, 5.0))), Pixels((40, 40), (5.0, 5.0))
    image = beam.reconstruct(torch.ones(1, beam.views, beam.channels), KERNELS["ramp"], wide)[0]
    rows, columns = wide.places(CPU)
    distance = torch.hypot(rows, columns).reshape(40, 40)
    assert not image[distance > math.hypot(50, 50) + 15].any()
    assert image[distance < math.hypot(50, 50)].all()


def test_kernels_transfer_half_at_half_their_cut_off():
    for kernel in list(KERNELS.values())[1:]:
        share = kernel.window(torch.tensor([0, 0.5, 0.795, 1, 2]) * kernel.cut_off_per_mm)
        assert share.tolist() == pytest.approx([1, 0.5, 0.1, 0, 0], abs=1e-3)
    assert KERNELS["ramp"].window(torch.tensor([0.0, 5.0])).tolist() == [1, 1]


@pytest.mark.parametrize("kind", BEAMS)
def test_reconstruction_is_that_of_the_book(kind):
    """Kak and Slaney eq. 3.3.1 and 3.4.1 written out, sum by sum, at some pixels of a sinogram of noise."""
    wide = Pixels((24, 24), (20.0, 20.0))
    beam = replace(kind.around(wide), views=20)
    sinogram = torch.randn(1, beam.views, beam.channels, generator=torch.Generator().manual_seed(3))
    found = beam.reconstruct(sinogram, KERNELS["ramp"], wide)[0].numpy()
    number, pitch = np.arange(beam.channels) - (beam.channels - 1) / 2, beam.pitch_mm
    fan = kind is FanBeam
    unit = pitch / beam.source_mm if fan else pitch  # the angle, or the distance, from channel to channel
    lag = np.subtract.outer(np.arange(beam.channels), np.arange(beam.channels))
    spread = np.sin(lag * unit) if fan else lag * unit
    odd = lag % 2 == 1
    taps = np.where(odd, -1 / (np.pi * np.where(odd, spread, 1)) ** 2, 0) / (2 if fan else 1)
    taps[lag == 0] = 1 / ((8 if fan else 4) * unit**2)
    for i, j in ((3, 5), (12, 11), (17, 20)):
        x, y, total = (i - 11.5) * 20, (j - 11.5) * 20, 0.0
        for view, line in enumerate(sinogram[0].double().numpy()):
            angle = (view + 0.5) * (2 if fan else 1) * np.pi / beam.views
            across, ahead = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            ahead += beam.source_mm if fan else 0
            filtered = taps @ (line * (beam.source_mm * np.cos(number * unit) if fan else 1)) * unit
            place = np.arctan2(across, ahead) if fan else across
            seen = np.interp(place, number * unit, filtered) / ((across**2 + ahead**2) if fan else 1)
            total += seen * (2 if fan else 1) * np.pi / beam.views
        assert found[i, j] == pytest.approx(total, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", BEAMS)
def test_variance_in_a_water_cylinder_is_that_of_theory(kind):
    """(π² Δ / V) σ² ∫ f² W² df over both signs, of white noise in line integrals (Kak and Slaney eq. 3.3.2)."""
    water, scanner, beam = (
        cylinder(96, 2.0, 80.0, 32),
        replace(SILENT, beam=kind),
        kind.around(Pixels((96, 96), (2, 2))),
    )
    # Not the very middle: there all views see the same place between two channels.
    ring = within(water, 20) & ~within(water, 10)
    paths = 2 * (80**2 - (15 * torch.linspace(0, math.pi, 181).cos()).square()).sqrt()
    opacity = (WATER_PER_MM * paths).exp().mean().item()
    frequency = torch.linspace(0, 1 / (2 * beam.pitch_mm), 2001, dtype=torch.float64)
    left = scanner.kernel.window(frequency).square() * linear_interpolation(frequency, beam.pitch_mm)
    filtered = 2 * torch.trapezoid(frequency.square() * left, frequency).item()
    for dose in (0.05, 0.1, 0.25, 0.5):
        of_a_ray = opacity / PHOTONS * (1 / dose - 1)
        expected = math.pi**2 * beam.pitch_mm / beam.views * of_a_ray * filtered * (1000 / WATER_PER_MM) ** 2
        assert added(water, dose, 1, scanner, PHOTONS)[ring].var() == pytest.approx(expected, rel=0.04), dose


@pytest.mark.parametrize("kind", BEAMS)
@pytest.mark.parametrize("name", KERNELS)
def test_noise_power_is_the_ramp_times_the_kernels_square(kind, name):
    """πΔσ²/V · f · W², and sinc⁴ for linear interpolation, in pixels so fine that nothing folds back."""
    beam, kernel = replace(kind.around(Pixels((128, 128), (0.4, 0.4))), pitch_mm=0.8, views=320), KERNELS[name]
    white = torch.randn(16, beam.views, beam.channels, generator=torch.Generator().manual_seed(1))
    noise = beam.reconstruct(white, kernel, Pixels((128, 128), (0.4, 0.4))).permute(1, 2, 0).numpy()
    spectrum = noise_power(noise, Patches(np.array([(16, 16, k) for k in range(16)]), (96, 96), (0.4, 0.4)))
    frequency = torch.from_numpy(spectrum.frequency_per_mm[spectrum.frequency_per_mm < 0.55])
    theory = math.pi * 0.8 / beam.views * frequency * kernel.window(frequency) ** 2 * torch.sinc(frequency * 0.8) ** 4
    found = torch.from_numpy(spectrum.power_hu2_mm2[: len(frequency)])
    assert (found - theory).abs().max() < 0.15 * theory.max()
    assert (found - theory).abs().mean() < 0.05 * theory.max()


def test_neighbours_are_correlated_as_the_kernel_says():
    water = cylinder(128, 0.8, 46.0, 12)
    middle = within(water, 20)

    def correlation(name, lag):
        noise = added(water, 0.25, 3, replace(SILENT, kernel=KERNELS[name]), PHOTONS)
        return np.corrcoef(noise[middle].ravel(), np.roll(noise, lag, axis=0)[middle].ravel())[0, 1]

    def theory(name, lag):
        frequency = torch.linspace(0, 1.25, 5001, dtype=torch.float64)
        left = KERNELS[name].window(frequency).square() * linear_interpolation(frequency, 0.4)
        power = frequency.square() * left  # a circle's length times the power
        return ((power * torch.special.bessel_j0(2 * math.pi * frequency * 0.8 * lag)).sum() / power.sum()).item()

    for name, lag in itertools.product(("ramp", "standard", "soft"), (1, 2)):
        assert correlation(name, lag) == pytest.approx(theory(name, lag), abs=0.04), (name, lag)
    assert theory("ramp", 1) < -0.05 < 0.2 < theory("soft", 1)


def test_moderate_doses_have_no_bias():
    water = cylinder(160, 2.2, 150.0, 16)
    noise = added(water, 0.25, 4, photons=PHOTONS)
    for radius in (40, 140):
        assert abs(noise[within(water, radius)].mean()) < 1


def test_noise_streaks_between_dense_rods():
    pixels = Pixels((128, 128), (1.5, 1.5))
    rods = 6000 * discs(pixels, (0, -35, 8), (0, 35, 8), fine=4)
    noise = added(
        ct_of(1000 * discs(pixels, (0, 0, 80), fine=4) - 1000 + rods, (1.5, 1.5, 2.0), 8), 0.25, 5, SILENT, 1e6
    )
    # Between the rods noise runs along their line: neighbours along it are alike, across it they are not.
    between = noise[60:68, 52:76]
    along, across = (np.diff(between, axis=axis).var() for axis in (1, 0))
    assert across > 2 * along
    aside = noise[20:28, 52:76]
    assert between.var() > 2 * aside.var()


@pytest.mark.parametrize("electronic", [0.0, 20.0])
def test_added_noise_makes_up_for_the_missing_dose(electronic):
    counts, share = 4000.0, 0.2
    scanner, reached = Scanner(electronic=electronic), torch.ones(400, 500)

    def drawn(photons, dose, seed):
        return scanner.missing_noise(reached, photons, dose, np.random.default_rng(seed)).double().var().item()

    def law(photons):
        return 1 / photons + electronic**2 / photons**2

    assert law(counts) + drawn(counts, share, 1) == pytest.approx(law(share * counts), rel=0.02)
    # A tenth of the dose is a fifth of it, halved.
    assert drawn(counts, share, 2) + drawn(share * counts, 0.5, 3) == pytest.approx(drawn(counts, 0.1, 4), rel=0.02)


def test_rays_without_counts_stay_finite():
    noise = Scanner().missing_noise(torch.full((50, 50), 1e-12), PHOTONS, 0.1, np.random.default_rng(0))
    assert torch.isfinite(noise).all()


@pytest.mark.parametrize("kind", BEAMS)
def test_a_thinned_beam_measures_what_gets_through(kind):
    pixels = Pixels((128, 128), (2.0, 2.0))
    hu = 1000 * discs(pixels, (0, 0, 100)) - 1000 + 1500 * discs(pixels, (10, 60, 12), (-40, 0, 6))
    beam = kind.around(pixels)
    paths = beam.project(WATER_PER_MM * (1 + hu / 1000), pixels.spacing_mm)
    thin = Scanner().transmission(hu, pixels, beam)
    assert (thin.log() + paths).std() < 0.03
    assert (1 / thin).mean() / paths.exp().mean() == pytest.approx(1, abs=0.005)


def test_a_bow_tie_weakens_the_rim_and_a_modulated_tube_helps_the_long_way():
    pixels = Pixels((60, 120), (2.0, 2.0))
    air, body = torch.full((1, *pixels.shape), -1000.0), torch.full((1, *pixels.shape), 0.0)
    beam = FanBeam.around(pixels)
    through = Scanner(bow_tie_mm=100.0).transmission(air, pixels, beam)[0, 0]
    rim = through[beam.distances(CPU).abs().sub(120).abs().argmin()].item()
    assert through.max().item() == pytest.approx(1, abs=1e-3)
    assert rim == pytest.approx(math.exp(-WATER_PER_MM * 100 * (1 - math.sqrt(1 - (120 / 250) ** 2))), rel=0.01)
    constant, square_root = (Scanner(modulation=power).transmission(body, pixels, beam)[0] for power in (0.0, 0.5))
    current = (square_root / constant).mean(1).numpy()
    assert current == pytest.approx((constant.amin(1) * math.exp(WATER_PER_MM * 300)).pow(-0.5).numpy(), rel=0.04)
    assert current.max() > 2 * current.min()


def test_the_anatomy_is_neither_blurred_nor_moved():
    pixels = Pixels((64, 64), (3.0, 3.0))
    step = ct_of(500 * discs(pixels, (12, -9, 30)) + 1000 * discs(pixels, (0, 0, 80)) - 1000, (3.0, 3.0, 2.0))
    every = np.stack([made.image.voxels for made in low_doses(step, 0.25, range(64), SILENT, PHOTONS)])
    spread = every.std(axis=0)
    error = (every.mean(axis=0) - step.voxels)[spread > 0] / (spread[spread > 0] / 8)
    assert error.std() == pytest.approx(1, abs=0.15)
    assert np.abs(error).max() < 6


def test_without_noise_the_stored_file_is_the_same(tmp_path):
    water = cylinder(48, 4.0, 80.0, 2)
    water = replace(water, voxels=np.rint(water.voxels))
    for name, image in (("given", water), ("made", low_dose(water, 0.25, 1, photons=1e15).image)):
        write(replace(image, facts={}), tmp_path / f"{name}.nii")
    assert (tmp_path / "given.nii").read_bytes() == (tmp_path / "made.nii").read_bytes()


def test_noise_follows_from_the_seed_and_the_slices_number_alone():
    water = cylinder(48, 4.0, 80.0, 20)
    first, again, other = (added(water, 0.1, seed, photons=PHOTONS) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 10
    few = replace(water, voxels=water.voxels[..., :3])
    assert added(few, 0.1, 1, photons=PHOTONS) == pytest.approx(first[..., :3], abs=0.01)
    several = low_doses(few, 0.1, (7, 1), photons=PHOTONS)
    assert (several[1].image.voxels - few.voxels)[0] == pytest.approx(first[..., :3], abs=0.01)


def test_slices_are_axial_whatever_the_order_of_the_axes():
    water = cylinder(48, 4.0, 80.0, 3)
    orientation = Orientation((2, 0, 1), (True, False, True))
    turned = Image(orientation.undo(water.voxels), np.eye(4), "HU")
    turned = replace(turned, affine=_affine_before(orientation, water))
    made = low_dose(turned, 0.1, 1, photons=PHOTONS).image
    assert made.grid.matches(turned.grid)
    assert np.array_equal(
        made.with_orientation(orientation).voxels, low_dose(water, 0.1, 1, photons=PHOTONS).image.voxels
    )


def _affine_before(orientation, image):
    """The affine that re-ordering turns into the image's, a little oblique."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    shape = orientation.undo(image.voxels).shape[1:]
    for world, (axis, flip) in enumerate(zip(orientation.axes, orientation.flips, strict=True)):
        affine[:3, axis] = image.affine[:3, world] * (-1 if flip else 1)
        affine[:3, 3] += image.affine[:3, world] * (shape[axis] - 1 if flip else 0)
    return affine


@pytest.mark.parametrize("value", [-1000.0, -1024.0, -2000.0])
def test_what_only_fills_the_matrix_stays_as_it_is(value):
    water = cylinder(64, 4.0, 80.0, 3)
    outside = ~within(water, 128)
    cut = np.where(outside[..., None], np.float32(value), water.voxels)[..., 10:, :, :] if value < -1000 else None
    voxels = np.where(outside[..., None], np.float32(value), water.voxels) if cut is None else cut
    filled, seen = (voxels[0] == value).all(-1), replace(water, voxels=voxels)
    if cut is None:
        filled &= outside
    noise = added(seen, 0.1, 1, photons=PHOTONS)
    assert filled.any()
    assert not noise[filled].any()
    assert (noise[~filled] != 0).mean() > 0.99


def test_every_slice_draws_a_dose_of_its_own():
    water = cylinder(48, 4.0, 80.0, 60)
    made = low_dose(water, (0.02, 0.5), 1, SILENT, PHOTONS)
    doses = np.array(made.provenance["dose"])
    assert len(doses) == 60
    assert 0.02 <= doses.min() < 0.04
    assert 0.25 < doses.max() <= 0.5
    assert np.median(doses) == pytest.approx(0.1, rel=0.4)
    spread = (made.image.voxels - water.voxels)[0][within(water, 60)].std(axis=0)
    assert np.corrcoef(np.log(spread), np.log(1 / doses - 1))[0, 1] > 0.99


def test_exposure_and_kernel_are_found_in_the_scans_noise():
    # At half the dose what is added is the noise of one full dose, if its electronic part is made as large.
    scanner, halved = Scanner(electronic=30.0), Scanner(electronic=30 / math.sqrt(3))
    scan = low_dose(cylinder(192, 1.0, 85.0, 6), 0.5, 3, halved, 3e4).image
    found = exposure(replace(scan, facts={}), scanner)
    assert found.photons == pytest.approx(3e4, rel=0.1)
    assert found.patches >= 8
    assert kernel_of(scan).cut_off_per_mm == pytest.approx(scanner.kernel.cut_off_per_mm, rel=0.08)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"unit": "SUV"}, "only a CT in HU"),
        ({"facts": {"modality": "MR"}}, "MR in HU: only a CT"),
        ({"voxels": np.full((1, 8, 8, 2), np.nan, np.float32)}, "100.00% of the voxels are NaN"),
        ({"voxels": np.zeros((3, 8, 8, 2), np.float32)}, "expected one value"),
        ({"voxels": np.full((1, 8, 8, 2), 40, np.float32)}, "not those of a CT with air"),
    ],
)
def test_what_is_no_ct_in_hu_is_refused(change, said):
    with pytest.raises(ImageError, match=said):
        low_dose(replace(cylinder(16, 8.0, 40.0, 2), **change), 0.25, 1, photons=PHOTONS)


@pytest.mark.parametrize("dose", [0.0, 1.0, -0.5, (0.5, 0.1), (0.5, 1.0), math.nan])
def test_doses_without_sense_are_refused(dose):
    with pytest.raises(ImageError, match=r"^dose .*above 0 and below 1"):
        low_dose(cylinder(16, 8.0, 40.0, 2), dose, 1, photons=PHOTONS)


def test_a_scan_without_noise_or_soft_tissue_says_nothing_of_its_dose():
    with pytest.raises(ImageError, match=r"0\.00 HU of noise.*say photons"):
        low_dose(cylinder(96, 2.0, 85.0, 8), 0.25, 1)
    with pytest.raises(ImageError, match=r"0 flat patches of soft tissue.*say photons"):
        low_dose(cylinder(96, 2.0, 10.0, 8), 0.25, 1)


def test_progress_is_told_and_may_cancel():
    told = []
    low_dose(cylinder(16, 8.0, 40.0, 40), 0.25, 1, photons=PHOTONS, progress=lambda *now: told.append(now))
    assert told == [(14, 40), (28, 40), (40, 40)]

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        low_dose(cylinder(16, 8.0, 40.0, 2), 0.25, 1, photons=PHOTONS, progress=cancel)


def test_a_real_chest_at_a_quarter_of_its_dose_has_twice_the_noise(shared_data):
    scan = read(shared_data / "chest_ct" / "rider_pilot_0117.nii.gz", "HU")
    # Cropped near the body: the time goes by pixels.
    scan = replace(scan, voxels=scan.voxels[:, 40:-40, 90:-110, 29:31])
    made = low_dose(scan, 0.25, 1, Scanner(kernel=kernel_of(scan))).image
    orientation = Orientation.nearest(scan.affine)
    before, after = (image.with_orientation(orientation).voxels[0] for image in (scan, made))
    patches = flat_patches(before, np.ones(before.shape, bool), scan.grid.spacing_mm)
    ratio = noise_power(after, patches).deviation_hu / noise_power(before, patches).deviation_hu
    assert ratio == pytest.approx(2, rel=0.08)
    fine, added_fine = (noise_power(of, patches).mean_frequency_per_mm() for of in (before, after - before))
    assert added_fine == pytest.approx(fine, rel=0.1)
