"""Prediction does not depend on how windows are cut, and a translation lies where its input lies."""

import errno
import itertools
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter

from MedGANLogic.bundle import Bundle, open_bundle
from MedGANLogic.catalogue import RESEARCH_USE, Card, Model, NetworkCard, read
from MedGANLogic.check import RefusedError
from MedGANLogic.domain import CT, MR
from MedGANLogic.images import SUFFIXES, Image, ImageError, Orientation, write
from MedGANLogic.images import read as read_image
from MedGANLogic.inference import translate as translation
from MedGANLogic.inference.devices import DeviceError, choose_device, devices, why_no_gpu
from MedGANLogic.inference.plan import MemoryShortError, Plan, footprint, plan
from MedGANLogic.inference.predict import predict
from MedGANLogic.inference.translate import Request, sidecar_of, translate, translate_file
from MedGANLogic.parts.generators.plain_unet import PlainUNet
from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.parts.network import Network
from MedGANLogic.passes import MeanProbability, Pass, from_sides, mirrored_too

CPU = torch.device("cpu")
MIB = 2**20


class Copy(Network):
    """Returns one of its input channels."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, image):
        return image[:, self.channel : self.channel + 1]


def pass_of(dimensions, neighbours=0, multiple=4):
    return Pass("generator", ("mr",), ("ct",), dimensions, neighbours, multiple)


def through(network, volume, one, memory_bytes=None):
    """Run a volume through a network and return what it wrote, and the account of it."""
    done = predict([one], {"generator": network}, {"mr": volume}, CPU, memory_bytes=memory_bytes)
    return done.volumes["ct"], done.account[0]


def random_unet(dimensions, neighbours=0, levels=2):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = PlainUNet(dimensions, 2 * neighbours + 1, 1, width=8, levels=levels)
        torch.nn.init.normal_(network.output.weight, std=0.5)
    return network.eval()


def smooth(shape, seed=0):
    """A volume as smooth as an image is, in the network's range."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.clip(gaussian_filter(noise, [2 if n > 8 else 0 for n in shape]) * 4, -1, 1).astype(np.float32)


SHAPES = [(1, 1, 1), (3, 17, 33), (5, 64, 64), (40, 250, 31), (7, 130, 257)]


@pytest.mark.parametrize("memory_bytes", [4e4, 1e6, 1e9])
@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_plan_covers_every_voxel_within_the_memory_from_multiples(dimensions, shape, multiple, memory_bytes):
    bytes_per_voxel = 1.5 if multiple < 8 else 1.0
    planned = plan(pass_of(dimensions, multiple=multiple), shape, bytes_per_voxel, memory_bytes)
    counted = np.zeros(planned.padded, int)
    for start in planned.starts:
        place = tuple(slice(begin, begin + length) for begin, length in zip(start, planned.size, strict=True))
        counted[place] += 1
    assert counted.min() > 0
    assert math.prod(planned.size) * planned.batch * bytes_per_voxel <= memory_bytes
    cut = [axis for axis in range(3) if dimensions == 3 or axis > 0]
    for axis in cut:
        assert planned.size[axis] % multiple == 0
        assert all(start[axis] % multiple == 0 for start in planned.starts)
        assert shape[axis] <= planned.padded[axis] < shape[axis] + multiple
    if dimensions == 2:
        assert planned.size[0] == 1
        assert planned.padded[0] == shape[0]


@pytest.mark.parametrize(("dimensions", "windows"), [(2, 20), (3, 1)])
def test_whole_slices_or_volumes_go_through_when_they_fit(dimensions, windows):
    planned = plan(pass_of(dimensions, multiple=8), (20, 250, 310), 1, 2e6)
    assert planned.size[1:] == (256, 312)
    assert len(planned.starts) == windows


@pytest.mark.parametrize(("share", "windows"), [(1.0, 1), (0.9, 2), (0.6, 3), (0.4, 4)])
def test_no_more_windows_are_cut_than_the_memory_asks_for(share, windows):
    planned = plan(pass_of(3, multiple=4), (64, 64, 64), 1, share * 64**3)
    assert len(planned.starts) == windows


@pytest.mark.parametrize("memory_bytes", [2e5, 5e5, 2e6])
def test_neighbouring_windows_overlap_by_a_quarter(memory_bytes):
    planned = plan(pass_of(3), (90, 200, 150), 1, memory_bytes)
    for axis in range(3):
        starts = sorted({start[axis] for start in planned.starts})
        assert all(later - earlier <= 0.75 * planned.size[axis] for earlier, later in itertools.pairwise(starts))


def test_windows_are_no_thin_slabs():
    planned = plan(pass_of(3, multiple=1), (256, 256, 256), 1, 4e6)
    assert min(planned.size) > 75


def test_memory_for_not_even_the_smallest_window_is_said_in_a_sentence():
    with pytest.raises(MemoryShortError, match="smallest window needs 16 MiB of memory, 1 may be used"):
        plan(pass_of(3, multiple=4), (64, 64, 64), 4096, 1 * MIB)


def test_voxels_near_a_windows_middle_count_most_where_windows_overlap():
    weights = Plan((1, 16, 16), ((0, 0, 0), (0, 8, 0)), 1).weights()
    assert weights.shape == (1, 16, 16)
    assert weights.min() > 0
    profile = weights[0, :, 0]
    assert np.array_equal(profile, profile[::-1])
    assert (np.diff(profile[:8]) > 0).all()
    # Along the axis that is not cut every voxel counts the same.
    assert np.ptp(weights, axis=2).max() == 0


# In a process of its own: the peak of the tests' process is also that of its other threads. On one thread: what more of
# them hold while they work does not grow with the image.
PEAK = """
import ctypes, sys, torch
from pathlib import Path
from MedGANLogic.parts.generators.{module} import {network}

def kibibytes(key):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])

network, image = {network}({dimensions}, 1, 1, width=8, levels=2).eval(), torch.zeros(1, 1, *{shape})
with torch.no_grad():
    network(image[..., :16, :16])
    # What was freed before must go back to the system, or the measured network would take it from there unseen.
    ctypes.CDLL(None).malloc_trim(0)
    before = kibibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    network(image)
print(kibibytes("VmHWM") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux can measure a peak of memory from here on"
)
@pytest.mark.parametrize("network_of", [PlainUNet, StridedUNet])
@pytest.mark.parametrize(("dimensions", "shape"), [(2, (768, 1024)), (3, (96, 96, 96))])
def test_footprint_is_an_upper_bound_of_what_is_measured_and_not_far_above(network_of, dimensions, shape):
    module = network_of.__module__.rpartition(".")[2]
    program = PEAK.format(module=module, network=network_of.__name__, dimensions=dimensions, shape=shape)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    measured = int(ran.stdout) / 1024
    bound = footprint(network_of(dimensions, 1, 1, width=8, levels=2), pass_of(dimensions)) * math.prod(shape) / MIB
    assert 0.1 * bound < measured < bound


def test_footprint_of_a_gigantic_network_costs_nothing():
    with torch.device("meta"):
        network = PlainUNet(3, 1, 1, width=512, levels=6)
    assert footprint(network, pass_of(3, multiple=64)) > 1e4


def test_footprint_leaves_the_network_as_it_is():
    network = random_unet(2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    footprint(network, pass_of(2))
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("memory_bytes", [7e4, 2e5, 1e9])
@pytest.mark.parametrize(("dimensions", "shape"), [(2, (5, 61, 90)), (3, (33, 61, 50))])
def test_network_that_copies_gives_the_volume_back_whatever_the_plan(dimensions, shape, memory_bytes):
    volume = smooth(shape)
    copied, _ = through(Copy(0), volume, pass_of(dimensions), memory_bytes)
    assert copied.dtype == np.float32
    assert np.abs(copied - volume).max() < 1e-5


@pytest.mark.parametrize(("dimensions", "shape", "tight"), [(2, (3, 160, 160), 4), (3, (24, 24, 192), 10)])
def test_random_network_differs_at_the_seams_alone_whatever_the_plan(dimensions, shape, tight):
    """A network that pads with zeros sees its window's edge: blending keeps that to 5 % of the image's spread."""
    volume, network = smooth(shape), random_unet(dimensions)
    whole, plenty = through(network, volume, pass_of(dimensions), memory_bytes=1e10)
    cut, few = through(network, volume, pass_of(dimensions), memory_bytes=tight * MIB)
    windows = [int(account.split()[1]) for account in (plenty, few)]
    assert windows[1] >= 3 * windows[0]
    difference = np.abs(cut - whole)
    assert difference.mean() < 0.05 * whole.std()
    assert np.median(difference) < 1e-5


def test_slices_of_a_batch_do_not_see_each_other():
    volume, network, one = smooth((20, 32, 32)), random_unet(2, neighbours=1), pass_of(2, neighbours=1)
    together, _ = through(network, volume, one)
    for k in (0, 7, 19):
        below, above = max(k - 1, 0), min(k + 1, 19)
        with torch.no_grad():
            alone = network(torch.from_numpy(volume[[below, k, above]][None]))[0, 0].numpy()
        assert np.allclose(together[k], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("channel", "expected"),
    [(0, [0, 0, 0, 1, 2]), (1, [0, 0, 1, 2, 3]), (2, [0, 1, 2, 3, 4]), (4, [2, 3, 4, 4, 4])],
)
def test_first_and_last_slice_stand_in_for_those_beyond(channel, expected):
    volume = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 6, 9), np.float32)
    shown, _ = through(Copy(channel), volume, pass_of(2, neighbours=2))
    assert shown[:, 3, 3].tolist() == expected


def test_padding_is_dark_and_cut_off_again():
    volume, network = smooth((2, 30, 45)), random_unet(2)
    predicted, _ = through(network, volume, pass_of(2, multiple=8))
    padded = np.pad(volume, [(0, 0), (0, 2), (0, 3)], constant_values=-1)
    with torch.no_grad():
        expected = network(torch.from_numpy(padded[:, None]))[:, 0, :30, :45].numpy()
    assert predicted.shape == volume.shape
    assert np.allclose(predicted, expected, atol=1e-6)


def test_pass_reads_several_volumes_and_what_an_earlier_pass_wrote():
    volumes = {"a": smooth((3, 8, 8), 1), "b": smooth((3, 8, 8), 2)}
    passes = [
        Pass("second", ("a", "b"), ("c",), 2, 0, 4),
        Pass("first", ("c", "a"), ("d",), 2, 0, 4),
    ]
    done = predict(passes, {"first": Copy(0), "second": Copy(1)}, volumes, CPU)
    assert set(done.volumes) == {"c", "d"}
    assert np.array_equal(done.volumes["d"], volumes["b"])
    assert len(done.account) == 2


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("memory_bytes", [2e5, 1e9])
def test_pass_along_another_axis_sees_the_volume_turned(axis, memory_bytes):
    volume, network, one = smooth((12, 17, 22)), random_unet(2, neighbours=1), pass_of(2, neighbours=1)
    there, _ = through(network, np.ascontiguousarray(np.moveaxis(volume, axis, 0)), one, memory_bytes)
    found, said = through(network, volume, replace(one, axis=axis), memory_bytes)
    assert found.shape == volume.shape
    assert found.flags.c_contiguous
    assert np.array_equal(np.moveaxis(found, axis, 0), there)
    assert not axis or not np.allclose(found, through(network, volume, one)[0], atol=1e-2)
    assert int(said.split()[1]) >= volume.shape[axis]


TISSUES = Pass("generator", ("mr",), ("none", "fat", "bone"), 2, 0, 4)


def random_opinions(steps, volume):
    """Run views of ``TISSUES`` and their mean with a random network: each view's probabilities, and the written."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = PlainUNet(2, 1, 3, width=4, levels=2).eval()
        torch.nn.init.normal_(network.output.weight)
    found = predict(steps, {"generator": network}, {"mr": volume}, CPU)
    assert found.account[-1] == f"mean probability of {len(steps) - 1} opinions"
    scores = [[found.volumes[name] for name in step.writes] for step in (*steps[:-1], TISSUES)]
    shares = torch.tensor(np.array(scores), dtype=torch.float64).softmax(1)
    return shares[:-1], shares[-1]


def test_views_are_passes_along_each_axis_and_their_mean_probability():
    steps = from_sides(TISSUES, 3)
    assert [step.axis for step in steps[:3]] == [0, 1, 2]
    opinions, written = random_opinions(steps, smooth((8, 12, 16)))
    assert (opinions[0] - opinions[1]).abs().max() > 0.05
    assert written.allclose(opinions.mean(0), atol=1e-5)


@pytest.mark.parametrize("axes", [(1,), (1, 2), (0, 1, 2)])
def test_mirrored_views_of_a_mirrored_volume_are_the_same_answer_mirrored(axes):
    steps, volume = mirrored_too(TISSUES, axes), smooth((8, 12, 16))
    assert len(steps) == 2 ** len(axes) + 1
    opinions, written = random_opinions(steps, volume)
    assert (opinions[0] - opinions[-1]).abs().max() > 0.05
    assert written.allclose(opinions.mean(0), atol=1e-5)
    _, of_mirrored = random_opinions(steps, np.ascontiguousarray(np.flip(volume, axes)))
    assert of_mirrored.flip([axis + 1 for axis in axes]).allclose(written, atol=1e-5)


def test_an_axis_that_no_volume_has_is_not_mirrored():
    with pytest.raises(ValueError, match=r"mirrored is \[3\]: expected axes from 0 to 2"):
        replace(TISSUES, mirrored=(3,))


def test_one_view_is_the_pass_itself_and_four_are_refused():
    assert from_sides(pass_of(2), 1) == mirrored_too(pass_of(2), ()) == (pass_of(2),)
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"{count} views: expected 1 to 3"):
            from_sides(pass_of(2), count)


def test_mean_probability_is_finite_where_a_class_is_out_of_the_question():
    scores = {name: np.full((1, 1, 1), value, np.float32) for name, value in zip("abcd", (0, 900, 0, 500), strict=True)}
    first, second = MeanProbability(tuple("abcd"), ("x", "y")).blended(scores)
    assert first.item() == pytest.approx(math.log(1e-6))
    assert second.item() == 0


def test_scores_that_are_not_of_all_classes_are_no_opinion():
    with pytest.raises(ValueError, match="3 scores are no opinions on 2 classes"):
        MeanProbability(("a", "b", "c"), ("x", "y"))


def test_prediction_uses_running_statistics_and_keeps_no_gradient():
    network = random_unet(2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    through(network, smooth((2, 16, 16)), pass_of(2))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


CUDA_IS_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nDetails follow.")
CPU_IS_FULL = RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")
CUDNN_IS_FULL = RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


def failing(network, error, times):
    """Let a network fail as often as said, and count its calls."""
    forward, calls = network.forward, []

    def fail(image):
        calls.append(image.shape)
        if len(calls) <= times:
            raise error
        return forward(image)

    network.forward = fail
    return calls


@pytest.mark.parametrize("error", [CUDA_IS_FULL, CPU_IS_FULL, CUDNN_IS_FULL, MemoryError("no")])
def test_smaller_windows_are_tried_when_memory_runs_out_in_spite_of_the_plan(error):
    volume, network = smooth((2, 96, 96)), Copy(0)
    calls = failing(network, error, times=1)
    copied, account = through(network, volume, pass_of(2), memory_bytes=4 * 2 * 96 * 96 * 2)
    assert np.abs(copied - volume).max() < 1e-5
    assert math.prod(calls[1]) < math.prod(calls[0])
    assert f"after: {str(error).splitlines()[0]}" in account


def test_memory_that_is_never_enough_is_said_in_a_sentence():
    network = Copy(0)
    calls = failing(network, CUDA_IS_FULL, times=99)
    with pytest.raises(MemoryShortError, match=r"does not fit the memory in windows of any size: CUDA out of memory"):
        through(network, smooth((2, 32, 32)), pass_of(2))
    assert len(calls) == 3


def test_other_errors_of_a_network_are_not_taken_for_a_want_of_memory():
    network = Copy(0)
    calls = failing(network, RuntimeError("a size does not fit"), times=1)
    with pytest.raises(RuntimeError, match="a size does not fit"):
        through(network, smooth((2, 32, 32)), pass_of(2))
    assert len(calls) == 1


def test_progress_counts_all_windows_up_to_the_end():
    told = []
    predict([pass_of(2)], {"generator": Copy(0)}, {"mr": smooth((40, 8, 8))}, CPU, lambda *step: told.append(step))
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


# Translation of images.


@pytest.fixture
def copying(tmp_path):
    """Make a bundle whose network shows its input again, from the MR's window to the CT's."""

    def make(spacing_mm=None, plane="axial", inputs=None):
        one = Pass("generator", ("mr",), ("ct",), dimensions=2, neighbours=1, multiple=4)
        card = Card(
            name="copy",
            title="Copies",
            task="mr-to-ct",
            inputs=inputs or {"mr": MR},
            targets={"ct": CT},
            spacing_mm=spacing_mm,
            plane=plane,
            networks={"generator": NetworkCard("Copy", {})},
            passes=(one,),
            validity={},
            training={},
            departures=(),
            measured={},
            licence="none",
        )
        return Bundle(Model(card, tmp_path, "0" * 64), {"generator": Copy(1)})

    return make


def reordered(image, axes, flips):
    """Store an image in another order of its voxel axes; every voxel keeps its place in the world."""
    old_from_new = np.zeros((4, 4))
    old_from_new[3, 3] = 1
    voxels = np.transpose(image.voxels, (0, *(axis + 1 for axis in axes)))
    for new, (old, flipped) in enumerate(zip(axes, flips, strict=True)):
        old_from_new[old, new] = -1 if flipped else 1
        if flipped:
            old_from_new[old, 3] = image.voxels.shape[old + 1] - 1
            voxels = np.flip(voxels, new + 1)
    return Image(np.ascontiguousarray(voxels), image.affine @ old_from_new, image.unit)


ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product([False, True], repeat=3)))


def darkness_mm(image, inside):
    """Return the centre, in RAS millimetres, of what is dark in a region, whatever its scale."""
    dark, usual = np.quantile(image.voxels[0][inside], [0.02, 0.5])
    places = np.argwhere(inside & (image.voxels[0] < (dark + usual) / 2))
    return (image.affine @ [*places.mean(axis=0), 1])[:3]


def test_all_48_voxel_orders_of_an_oblique_image_translate_alike(toy_bundle, mr):
    expected = translate(toy_bundle, mr, "cpu").image
    assert len(ORDERS) == 48
    for axes, flips in ORDERS:
        given = reordered(mr, axes, flips)
        found = translate(toy_bundle, given, "cpu").image
        assert np.array_equal(found.affine, given.affine), (axes, flips)
        assert found.voxels.shape == given.voxels.shape
        assert np.allclose(found.voxels, reordered(expected, axes, flips).voxels, atol=0.01), (axes, flips)


def turned(affine, degrees):
    """Turn an image around its origin, about all axes."""
    turn = np.eye(4)
    for first, second, angle in ((0, 1, degrees[0]), (1, 2, degrees[1]), (0, 2, degrees[2])):
        one = np.eye(4)
        c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        one[[first, first, second, second], [first, second, first, second]] = c, -s, s, c
        turn = turn @ one
    return turn @ affine


@pytest.mark.parametrize("spacing_mm", [None, (3.0, 3.0, 3.0)], ids=["native", "resampled"])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (30, 0, 0), (10, 25, -15), (44, -40, 80)])
@pytest.mark.parametrize("order", ORDERS[::7])
def test_landmark_stays_at_its_physical_place(order, degrees, spacing_mm, mr, copying):
    straight = replace(mr, affine=turned(mr.affine, degrees))
    given = reordered(straight, *order)
    box = np.zeros_like(mr.voxels)
    box[:, 12:34, 10:30, 2:10] = 1
    egg = reordered(replace(straight, voxels=box), *order).voxels[0] > 0
    found = translate(copying(spacing_mm), given, "cpu").image
    assert np.array_equal(found.affine, given.affine)
    bone = darkness_mm(given, egg)
    # A mirrored, shifted or turned bone would be elsewhere: it lies off the middle of the image.
    assert np.linalg.norm(bone - (given.affine @ [*((n - 1) / 2 for n in given.grid.shape), 1])[:3]) > 5
    assert np.linalg.norm(darkness_mm(found, egg) - bone) < (0.1 if spacing_mm is None else 0.5)


def test_result_is_in_hu_by_the_targets_window(mr, copying):
    done = translate(copying(), mr, "cpu")
    body = mr.voxels > 50
    low, high = np.percentile(mr.voxels[body], [0.5, 99.5])
    expected = -1024 + np.clip((mr.voxels - low) / (high - low), 0, 1) * 4095
    assert done.image.unit == "HU"
    assert done.image.voxels.dtype == np.float32
    inside = body & (np.roll(body, 3, 1) & np.roll(body, -3, 1) & np.roll(body, 3, 2) & np.roll(body, -3, 2))
    assert np.abs(done.image.voxels - expected)[inside].max() < 20


def test_result_says_that_it_is_synthetic_and_how_it_came_to_be(toy_bundle, mr):
    done = translate(toy_bundle, mr, "cpu")
    assert done.image.facts["notes"].startswith("SYNTHETIC CT (HU) by MedGAN toy")
    assert done.image.facts["modality"] == "CT"
    said = done.provenance
    assert said["synthetic"] is True
    assert said["use"] == RESEARCH_USE
    assert (said["model"], said["model_sha256"]) == ("toy", toy_bundle.model.sha256)
    assert (said["unit"], said["input_unit"]) == ("HU", "none")
    assert said["shape"] == list(mr.grid.shape)
    assert np.array_equal(said["affine_ras_mm"], mr.affine)
    assert said["spacing_mm"] == pytest.approx([2, 2.5, 4])
    assert said["passes"] == ["generator: 14 windows of 1×40×36 on cpu"]
    assert said["seconds"] >= 0
    json.dumps(said, allow_nan=False)


def test_mask_on_another_grid_limits_the_result(toy_bundle, mr):
    plain = translate(toy_bundle, mr, "cpu").image
    # The left half of the image's box, in voxels of another size and another order.
    half = mr.grid.with_spacing((5.0, 5.0, 5.0))
    inside = np.zeros((1, *half.shape), np.uint8)
    inside[:, : half.shape[0] // 2] = 7
    mask = reordered(Image(inside, half.affine, "label"), (2, 0, 1), (True, False, True))
    masked = translate(toy_bundle, mr, "cpu", mask=mask).image
    assert np.array_equal(masked.voxels[:, :18], plain.voxels[:, :18])
    assert (masked.voxels[:, 22:] == CT.background).all()
    assert masked.voxels.dtype == np.float32


@pytest.mark.parametrize("shift_mm", [0.0, 900.0])
def test_mask_that_misses_the_image_is_refused_before_any_work(shift_mm, toy_bundle, mr):
    affine = mr.affine.copy()
    affine[0, 3] += shift_mm
    mask = Image(np.full(mr.voxels.shape, shift_mm > 0, np.uint8), affine, "label")
    told = []
    with pytest.raises(ImageError, match="no voxel inside the image"):
        translate(toy_bundle, mr, "cpu", mask=mask, progress=lambda *step: told.append(step))
    assert not told


def test_some_nan_become_background_with_a_warning(toy_bundle, mr):
    voxels = mr.voxels.copy()
    voxels[:, :2] = np.nan
    voxels[:, -1, -1, -1] = np.inf
    done = translate(toy_bundle, replace(mr, voxels=voxels), "cpu")
    assert np.isfinite(done.image.voxels).all()
    assert any("NaN or infinite" in finding["text"] for finding in done.provenance["findings"])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_is_translated(axis, toy_bundle, mr):
    middle = mr.voxels.shape[axis + 1] // 2
    slice_ = replace(mr, voxels=np.take(mr.voxels, [middle], axis + 1))
    done = translate(toy_bundle, slice_, "cpu")
    assert done.image.grid.matches(slice_.grid)
    assert any("one slice thick" in finding["text"] for finding in done.provenance["findings"])


@pytest.mark.parametrize(
    ("voxels", "reason"),
    [
        (np.full((1, 9, 9, 9), 5.0), "every voxel has the value 5"),
        (np.full((1, 9, 9, 9), np.nan), "NaN or infinite: nothing is left"),
        (np.zeros((3, 9, 9, 9)), "3 values per voxel"),
        (np.zeros((1, 9, 0, 9)), "the image is empty"),
    ],
    ids=["constant", "NaN", "RGB", "empty"],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_shows_nothing_is_refused_even_by_force(voxels, reason, force, toy_bundle):
    with pytest.raises(RefusedError, match=reason):
        translate(toy_bundle, Image(voxels, np.eye(4), "none"), "cpu", force=force)


def test_wrong_modality_is_refused_but_may_be_forced(toy_bundle, ct):
    with pytest.raises(RefusedError, match=r"looks like a CT in HU.*--force"):
        translate(toy_bundle, replace(ct, unit="none"), "cpu")
    done = translate(toy_bundle, replace(ct, unit="none"), "cpu", force=True)
    assert done.provenance["findings"][0]["level"] == "error"


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_models_own_spacing_changes_little_on_a_smooth_image(plane, mr, copying):
    body = gaussian_filter((mr.voxels[0] > 50).astype(float), 2) > 0.98
    native = translate(copying(plane=plane), mr, "cpu").image
    resampled = translate(copying((2.6, 2.6, 2.6), plane), mr, "cpu").image
    assert resampled.grid.matches(mr.grid, tolerance_mm=0)
    assert not np.array_equal(resampled.voxels, native.voxels)
    # The scale follows the image's percentiles, which resampling moves: the pattern is what stays.
    assert np.corrcoef(resampled.voxels[0][body], native.voxels[0][body])[0, 1] > 0.95


def test_little_memory_gives_more_windows_and_the_same_image(mr, copying):
    plenty = translate(copying(), mr, "cpu")
    little = translate(copying(), mr, "cpu", memory_bytes=4000)
    assert plenty.provenance["passes"] != little.provenance["passes"]
    assert np.abs(plenty.image.voxels - little.image.voxels).max() < 0.01


def test_memory_for_nothing_is_an_error_in_words(toy_bundle, mr):
    with pytest.raises(MemoryShortError, match="smallest window needs"):
        translate(toy_bundle, mr, "cpu", memory_bytes=1000)


@pytest.mark.parametrize("name", ["cuda:99", "quantum", ""])
def test_device_that_is_not_there_is_refused(name):
    with pytest.raises(DeviceError):
        choose_device(name)


def test_devices_that_are_listed_can_be_chosen():
    assert devices()[-1].name == "cpu" and "cores" in devices()[-1].text
    assert [str(choose_device(device.name)) for device in devices()] == [device.name for device in devices()]


@pytest.mark.parametrize(
    ("count", "cuda", "said"), [(1, "13.0", ""), (0, None, "built without CUDA"), (0, "13.0", "finds no NVIDIA GPU")]
)
def test_reason_for_no_gpu_is_said(count, cuda, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert said in why_no_gpu() and bool(said) == bool(why_no_gpu())


def test_automatic_device_is_always_one_that_is_there():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


# Translation of files.


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path):
    """An empty folder for results."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_is_translated_into_every_format(suffix, toy_bundle, mr_file, out):
    provenance = translate_file(toy_bundle, str(mr_file), str(out / f"ct{suffix}"), "cpu")
    result, source = read_image(out / f"ct{suffix}", "HU"), read_image(mr_file, "none")
    assert names_in(out) == sorted([f"ct{suffix}", f"ct{suffix}.medgan.json"])
    assert result.grid.matches(source.grid)
    assert result.voxels.dtype == np.int16
    assert "SYNTHETIC" in result.facts["notes"]
    expected = np.rint(translate(toy_bundle, source, "cpu").image.voxels)
    assert np.array_equal(result.voxels, expected)
    sidecar = json.loads((out / f"ct{suffix}.medgan.json").read_text(encoding="utf-8"))
    assert sidecar == provenance
    assert (sidecar["input"], sidecar["output"]) == (str(mr_file), str(out / f"ct{suffix}"))


def test_paths_may_hold_any_letters_and_spaces(pristine_toy, mr, tmp_path):
    folder = tmp_path / "Ärzte 東京"
    folder.mkdir()
    write(mr, folder / "Müller T1.nii.gz")
    output = folder / "Ergebnis ©.nii.gz"
    translate_file(str(pristine_toy), str(folder / "Müller T1.nii.gz"), str(output), "cpu")
    assert output.exists()
    assert sidecar_of(output).name == "Ergebnis ©.nii.gz.medgan.json"


def test_dicom_folder_is_translated_on_its_own_grid(toy_bundle, mr, tmp_path, out):
    folder = tmp_path / "series"
    folder.mkdir()
    spacing, slices = mr.grid.spacing_mm, np.transpose(mr.voxels[0], (2, 1, 0)).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, values in enumerate(slices):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(spacing[:2])
        tags = {
            "0008|0060": "MR",
            "0018|0050": str(spacing[2]),
            "0020|000d": "1.2.3.4",
            "0020|000e": "1.2.3.4.5",
            "0020|0013": str(k),
            "0020|0032": f"-10\\-20\\{30 + k * spacing[2]}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0018": f"1.2.3.4.5.{k + 1}",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:03}.dcm"))
        writer.Execute(image)
    translate_file(toy_bundle, str(folder), str(out / "ct.nii.gz"), "cpu")
    result = read_image(out / "ct.nii.gz", "HU")
    assert result.grid.shape == mr.grid.shape
    assert np.allclose(result.affine[:3, 3], [10, 20, 30], atol=1e-3)
    assert len(names_in(folder)) == len(slices)


def test_input_is_never_overwritten(toy_bundle, mr_file, tmp_path):
    before = mr_file.read_bytes()
    (tmp_path / "by-another-name.nii.gz").hardlink_to(mr_file)
    (tmp_path / "link.nii.gz").symlink_to(mr_file)
    for name in ("mr.nii.gz", "../" + tmp_path.name + "/mr.nii.gz", "by-another-name.nii.gz", "link.nii.gz"):
        with pytest.raises(ImageError, match="user data are never overwritten"):
            translate_file(toy_bundle, str(mr_file), str(tmp_path / name), "cpu")
    assert mr_file.read_bytes() == before


def test_mask_is_never_overwritten(toy_bundle, mr_file, mr, tmp_path):
    mask = tmp_path / "mask.nii.gz"
    write(Image(np.ones(mr.voxels.shape, np.uint8), mr.affine, "label"), mask)
    with pytest.raises(ImageError, match="user data are never overwritten"):
        translate_file(toy_bundle, Request(str(mr_file), mask=str(mask)), str(mask), "cpu")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ct.dcm", "must end in one of"),
        ("ct", "must end in one of"),
        ("missing/ct.nii.gz", "does not exist"),
        ("folder.nii.gz", "is a folder"),
    ],
)
def test_output_that_cannot_be_is_refused_before_anything_is_read(name, reason, toy_bundle, out):
    (out / "folder.nii.gz").mkdir()
    with pytest.raises(ImageError, match=reason):
        translate_file(toy_bundle, "no-such-input.nii.gz", str(out / name), "cpu")


def test_folder_that_may_not_be_written_to_is_refused_before_any_work(toy_bundle, mr_file, out, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != out)
    told = []
    with pytest.raises(ImageError, match="may not be written to"):
        translate_file(toy_bundle, str(mr_file), str(out / "ct.nii.gz"), "cpu", progress=lambda *s: told.append(s))
    assert not told


def test_unit_that_does_not_fit_the_model_is_refused(toy_bundle, mr_file, out):
    with pytest.raises(ImageError, match="--input-unit HU gives HU, toy reads none"):
        translate_file(toy_bundle, Request(str(mr_file), input_unit="HU"), str(out / "ct.nii.gz"), "cpu")


def test_cancelling_leaves_nothing(toy_bundle, mr_file, out):
    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate_file(toy_bundle, str(mr_file), str(out / "ct.nii.gz"), "cpu", progress=cancel)
    assert names_in(out) == []


def full_disk(*_arguments, **_named):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["sidecar", "image"])
def test_full_disk_leaves_the_former_result(where, toy_bundle, mr_file, out, monkeypatch):
    (out / "ct.nii.gz").write_bytes(b"former")
    (out / "ct.nii.gz.medgan.json").write_text("former")
    if where == "sidecar":
        monkeypatch.setattr(Path, "write_text", full_disk)
    else:
        monkeypatch.setattr(translation, "write", full_disk)
    with pytest.raises(ImageError, match=r"ct\.nii\.gz could not be written: No space left"):
        translate_file(toy_bundle, str(mr_file), str(out / "ct.nii.gz"), "cpu")
    monkeypatch.undo()
    assert names_in(out) == ["ct.nii.gz", "ct.nii.gz.medgan.json"]
    assert (out / "ct.nii.gz").read_bytes() == b"former"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_disk_that_fills_up_while_voxels_are_written_leaves_nothing(suffix, toy_bundle, mr_file, out):
    resource = pytest.importorskip("resource")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, former[1]))
    try:
        with pytest.raises(ImageError, match="could not be written"):
            translate_file(toy_bundle, str(mr_file), str(out / f"ct{suffix}"), "cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert names_in(out) == []


def test_model_may_be_named_by_its_folder_or_given_open(pristine_toy, mr_file, out):
    translate_file(str(pristine_toy), str(mr_file), str(out / "a.nii"), "cpu")
    translate_file(open_bundle(read(pristine_toy)), str(mr_file), str(out / "b.nii"), "cpu")
    assert (out / "a.nii").read_bytes() == (out / "b.nii").read_bytes()


def test_orientation_of_the_toy_is_oblique(mr):
    """The images of this file would prove little if they lay straight."""
    assert Orientation.nearest(mr.affine).axes == (0, 1, 2)
    assert abs(mr.affine[0, 1]) > 0.5
