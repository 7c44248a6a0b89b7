"""Every metric against a closed form or an independent implementation (SciPy, MONAI), never against itself."""

import math

import numpy as np
import pytest
from scipy import ndimage

from MedGANLogic.evaluation import metrics
from MedGANLogic.evaluation.body import body_mask
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.images import Image, ImageError

SPACING_MM = (0.8, 1.5, 3.0)


@pytest.fixture
def pair():
    random = np.random.default_rng(3)
    reference = ndimage.gaussian_filter(random.normal(0, 900, (40, 36, 14)), 2) * 8
    return reference, reference + random.normal(20, 60, reference.shape)


def everywhere(voxels):
    return np.ones(voxels.shape, bool)


def half(voxels):
    mask = np.zeros(voxels.shape, bool)
    mask[8:30, 5:20, 3:12] = True
    return mask


def filtered(voxels):
    return ndimage.gaussian_filter(voxels, 1.5, mode="reflect", radius=5)


def similarity_of_wang_2004(x, y, span):
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mx, my = filtered(x), filtered(y)
    vx, vy, vxy = filtered(x * x) - mx**2, filtered(y * y) - my**2, filtered(x * y) - mx * my
    contrast = (2 * vxy + c2) / (vx + vy + c2)
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1) * contrast, contrast


@pytest.mark.parametrize("offset", [17.5, -40.0])
def test_constant_offset(pair, offset):
    reference, _ = pair
    arguments = (reference, reference + offset, half(reference))
    assert metrics.mean_error(*arguments) == pytest.approx(offset)
    assert metrics.mean_absolute_error(*arguments) == pytest.approx(abs(offset))
    assert metrics.root_mean_square_error(*arguments) == pytest.approx(abs(offset))
    assert metrics.peak_signal_to_noise_ratio(*arguments, 4095.0) == pytest.approx(20 * math.log10(4095 / abs(offset)))


def test_opposite_errors_cancel_in_the_bias_alone():
    reference = np.zeros((2, 2, 2), np.int16)
    prediction = np.array([3, -3, 3, -3, 3, -3, 3, 1], np.int16).reshape(2, 2, 2)
    arguments = (reference, prediction, everywhere(reference))
    assert metrics.mean_error(*arguments) == pytest.approx(0.5)
    assert metrics.mean_absolute_error(*arguments) == pytest.approx(22 / 8)
    assert metrics.root_mean_square_error(*arguments) == pytest.approx(math.sqrt(64 / 8))


def test_integers_do_not_wrap_around():
    reference, prediction = np.full((2, 2, 2), -30000, np.int16), np.full((2, 2, 2), 30000, np.int16)
    assert metrics.mean_error(reference, prediction, everywhere(reference)) == 60000


def test_ssim_is_that_of_wang_2004(pair):
    reference, prediction = pair
    mask = half(reference)
    x, y = (np.where(mask, voxels + 1024, 0) for voxels in pair)
    expected = similarity_of_wang_2004(x, y, 4095)[0][mask].mean()
    assert metrics.structural_similarity(reference, prediction, mask, -1024, 4095) == pytest.approx(expected, abs=1e-5)


def test_ssim_is_that_of_monai_where_no_edge_is_near(pair):
    torch = pytest.importorskip("torch")
    regression = pytest.importorskip("monai.metrics.regression")
    x, y = (((voxels + 1024) / 4095).astype(np.float32) for voxels in pair)
    tensors = (torch.tensor(voxels)[None, None] for voxels in (x, y))
    similarity, _ = regression.compute_ssim_and_cs(*tensors, 3, [11] * 3, [1.5] * 3, 1.0)
    ours, _ = metrics._similarity_maps(x, y)
    ours = ours[5:-5, 5:-5, 5:-5]
    # In float64 both agree with SciPy; in float32 MONAI's 1331 summands leave 1e-4 in a voxel, our 33 leave 1e-5.
    np.testing.assert_allclose(ours, similarity[0, 0].numpy(), atol=3e-4)
    assert ours.mean() == pytest.approx(float(similarity.mean()), abs=1e-6)


def test_ssim_of_one_slice_is_two_dimensional(pair):
    reference, prediction = (voxels[:, :, :1] for voxels in pair)
    x, y = (voxels[:, :, 0] + 1024 for voxels in (reference, prediction))
    expected = similarity_of_wang_2004(x, y, 4095)[0].mean()
    found = metrics.structural_similarity(reference, prediction, everywhere(reference), -1024, 4095)
    assert found == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_is_that_of_wang_2003():
    random = np.random.default_rng(5)
    reference = ndimage.gaussian_filter(random.normal(0, 900, (97, 100, 13)), 3) * 10
    prediction = reference + ndimage.gaussian_filter(random.normal(0, 900, reference.shape), 1.5)
    x, y = reference + 1024, prediction + 1024
    expected = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            x, y = (block_mean(voxels, (2, 2, 2 if scale == 1 else 1)) for voxels in (x, y))
        similarity, contrast = similarity_of_wang_2004(x, y, 4095)
        expected *= (similarity if scale == 4 else contrast).mean() ** weight
    assert x.shape == (6, 6, 6)
    assert 0.5 < expected < 0.99
    found = metrics.multi_scale_structural_similarity(reference, prediction, everywhere(reference), -1024, 4095)
    assert found == pytest.approx(expected, abs=1e-5)


def block_mean(voxels, block):
    for axis, size in enumerate(block):
        count = voxels.shape[axis] // size * size
        starts = np.arange(0, count, size)
        voxels = np.add.reduceat(np.take(voxels, np.arange(count), axis), starts, axis) / size
    return voxels


def test_ms_ssim_of_a_small_volume_is_undefined(pair):
    with pytest.raises(Undefined, match=r"40×36×14 voxels, at least 96"):
        metrics.multi_scale_structural_similarity(*pair, everywhere(pair[0]), -1024, 4095)


def test_equal_images():
    voxels = np.random.default_rng(1).normal(0, 200, (100, 100, 3))
    mask = everywhere(voxels)
    assert metrics.structural_similarity(voxels, voxels, mask, -1024, 4095) == pytest.approx(1)
    assert metrics.multi_scale_structural_similarity(voxels, voxels, mask, -1024, 4095) == pytest.approx(1)
    with pytest.raises(Undefined, match="infinite"):
        metrics.peak_signal_to_noise_ratio(voxels, voxels, mask, 4095)


@pytest.mark.parametrize(
    "measure",
    [
        metrics.mean_absolute_error,
        metrics.mean_error,
        metrics.root_mean_square_error,
        lambda *images: metrics.peak_signal_to_noise_ratio(*images, 4095.0),
        lambda *images: metrics.structural_similarity(*images, -1024.0, 4095.0),
        lambda *images: metrics.multi_scale_structural_similarity(*images, -1024.0, 4095.0),
    ],
)
def test_what_lies_outside_of_the_mask_changes_nothing(measure):
    random = np.random.default_rng(2)
    reference = random.normal(0, 100, (100, 97, 6))
    prediction = reference + random.normal(0, 50, reference.shape)
    mask = np.zeros(reference.shape, bool)
    mask[20:71, 13:90, 1:5] = True
    before = measure(reference, prediction, mask)
    spoilt = [np.where(mask, voxels, random.normal(0, 1e6, voxels.shape)) for voxels in (reference, prediction)]
    assert measure(*spoilt, mask) == before


@pytest.mark.parametrize("measure", [metrics.mean_error, lambda *i: metrics.structural_similarity(*i, 0.0, 1.0)])
def test_empty_mask_is_undefined(pair, measure):
    with pytest.raises(Undefined, match="no voxel in the mask"):
        measure(*pair, np.zeros(pair[0].shape, bool))


def test_range_of_zero_is_undefined(pair):
    with pytest.raises(Undefined, match="range is zero"):
        metrics.structural_similarity(*pair, everywhere(pair[0]), 0.0, 0.0)


def box(*corners):
    label = np.zeros((30, 24, 20), bool)
    label[tuple(slice(*ends) for ends in corners)] = True
    return label


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shifted_boxes(axis):
    ends = [[6, 16], [6, 16], [6, 16]]
    first = box(*ends)
    ends[axis] = [8, 18]
    second = box(*ends)
    assert metrics.dice(first, second) == pytest.approx(0.8)
    # The faces that the shift leaves behind are farthest: two voxels along the axis, well over 5 % of the surface.
    assert metrics.hausdorff_distance_95(first, second, SPACING_MM) == pytest.approx(2 * SPACING_MM[axis])


def test_plates_have_one_distance():
    first, second = box((0, 30), (0, 24), (4, 5)), box((0, 30), (0, 24), (9, 10))
    assert metrics.average_symmetric_surface_distance(first, second, SPACING_MM) == pytest.approx(15.0)
    assert metrics.hausdorff_distance_95(first, second, SPACING_MM) == pytest.approx(15.0)


def test_concentric_spheres_on_anisotropic_voxels():
    centre = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip((60, 48, 30), (0.5, 0.6, 1.0), strict=True)]
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(*centre, indexing="ij")))
    found = metrics.average_symmetric_surface_distance(radius < 11, radius < 8, (0.5, 0.6, 1.0))
    assert found == pytest.approx(3, abs=0.25)
    assert metrics.dice(radius < 11, radius < 8) == pytest.approx(2 * 8**3 / (11**3 + 8**3), abs=0.01)


def test_surface_distances_are_those_of_scipy():
    random = np.random.default_rng(4)
    labels = [ndimage.gaussian_filter(random.normal(size=(30, 24, 20)), 3) > 0 for _ in range(2)]
    # SciPy's erosion with a border of ones leaves the volume's edge no surface, as we define it.
    edges = [label & ~ndimage.binary_erosion(label, border_value=1) for label in labels]
    distances = [
        ndimage.distance_transform_edt(~other, sampling=SPACING_MM)[edge]
        for edge, other in zip(edges, reversed(edges), strict=True)
    ]
    expected = np.concatenate(distances).mean()
    assert metrics.average_symmetric_surface_distance(*labels, SPACING_MM) == pytest.approx(expected, abs=1e-5)
    expected = max(np.percentile(d, 95) for d in distances)
    assert metrics.hausdorff_distance_95(*labels, SPACING_MM) == pytest.approx(expected, abs=1e-5)


def test_empty_labels():
    full, empty = box((6, 16), (6, 16), (6, 16)), box((0, 0), (0, 0), (0, 0))
    assert metrics.dice(full, empty) == 0
    with pytest.raises(Undefined, match="neither"):
        metrics.dice(empty, empty)
    with pytest.raises(Undefined, match="the prediction lacks"):
        metrics.hausdorff_distance_95(full, empty, SPACING_MM)
    with pytest.raises(Undefined, match="the reference lacks"):
        metrics.average_symmetric_surface_distance(empty, full, SPACING_MM)
    with pytest.raises(Undefined, match="fills the reference"):
        metrics.average_symmetric_surface_distance(~empty, full, SPACING_MM)


def test_tissues_do_not_overlap():
    hu = np.arange(-1100, 1500, dtype=float).reshape(-1, 1, 1)
    hits = np.stack([tissue.within(hu, everywhere(hu)) for tissue in metrics.TISSUES])
    assert hits.sum(axis=0).max() == 1
    assert [tissue.name for tissue, hit in zip(metrics.TISSUES, hits, strict=True) if hit[1100 + 60]] == ["soft tissue"]


def test_body_is_without_table_and_with_both_legs_and_lungs():
    i, j = np.meshgrid(np.arange(80), np.arange(70), indexing="ij")
    trunk, lung = np.hypot(i - 28, j - 40) < 20, np.hypot(i - 28, j - 42) < 8
    limb, table = np.hypot(i - 62, j - 40) < 9, (j > 18) & (j < 22)  # the table touches the trunk
    hu = np.where(trunk & ~lung | limb, 20.0, np.where(table, 300.0, -1000.0))
    voxels = np.repeat(hu[:, :, None], 6, axis=2)[None]
    expected = np.repeat((trunk | limb)[:, :, None], 6, axis=2)
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    found = body_mask(Image(voxels, affine, "HU"))
    assert metrics.dice(expected, found) > 0.98
    assert found[28, 42].all()
    assert not found[70:, 19:22].any()
    # The same patient stored with other axes has the same body: slices are axial by position, not by array order.
    turned = np.array([[0, 2.0, 0, 0], [0, 0, 2.0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1]])
    assert (body_mask(Image(voxels.transpose(0, 3, 1, 2), turned, "HU")) == found.transpose(2, 0, 1)).all()


def test_no_body_is_an_error():
    with pytest.raises(ImageError, match="no body found"):
        body_mask(Image(np.full((1, 8, 8, 8), -1000.0), np.eye(4), "HU"))


def test_fine_detail_is_the_noise_of_a_flat_image_less_what_its_mean_took_away():
    noise = np.random.default_rng(0).normal(0, 10, (80, 80, 6))
    whole = np.ones(noise.shape, bool)
    # A voxel less the mean of nine, itself among them, keeps 8/9 of the variance.
    assert metrics.fine_detail(50 + noise, whole) == pytest.approx(10 * (8 / 9) ** 0.5, rel=0.03)
    assert metrics.fine_detail(np.full(noise.shape, 7.0), whole) == pytest.approx(0, abs=1e-9)
    stepped = noise + 1000 * (np.arange(80) > 40)[:, None, None]
    assert metrics.fine_detail(stepped, whole) == pytest.approx(10 * (8 / 9) ** 0.5, rel=0.08)
