"""Feature networks: from a file or a seed, frozen, and never from the net."""

import hashlib
from copy import deepcopy

import pytest
import torch
from safetensors.torch import save_file

from MedGANLogic.catalogue import resource
from MedGANLogic.parts.dimensions import AVERAGE_POOL
from MedGANLogic.parts.features.frozen import FeaturesError, frozen_features
from MedGANLogic.parts.features.small import SmallFeatures
from MedGANLogic.parts.features.vgg19 import VGG19Features
from MedGANLogic.parts.losses.feature import feature_square


def random_image(channels, size=32, dimensions=2):
    return torch.rand(1, channels, *[size] * dimensions, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def vgg19():
    torch.manual_seed(5)
    network = VGG19Features(2)
    for name, weight in network.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.kaiming_normal_(weight)
    return network


def save_to(path, weights):
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def test_vgg19_has_torchvisions_names_and_shapes():
    with torch.device("meta"):
        state = VGG19Features(64).state_dict()
    numbers = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    assert list(state) == [f"features.{number}.{kind}" for number in numbers for kind in ("weight", "bias")]
    assert state["features.0.weight"].shape == (64, 3, 3, 3)
    # What torchvision counts for VGG19's features.
    assert sum(value.numel() for value in state.values()) == 20_024_384


def test_vgg19_answers_after_the_last_relu_at_a_sixteenth(vgg19):
    features = vgg19(random_image(3))
    assert features.shape == (1, 16, 2, 2)
    assert features.min() == 0


def test_grey_is_shown_as_three_equal_channels(vgg19):
    grey = random_image(1)
    assert torch.equal(vgg19(grey), vgg19(grey.repeat(1, 3, 1, 1)))


def test_vgg19_sees_images_as_torchvision_scales_them(vgg19):
    image = random_image(3)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = ((image + 1) / 2 - mean[:, None, None]) / deviation[:, None, None]
    assert torch.allclose(vgg19(image), vgg19.features(scaled), atol=1e-6)


@pytest.mark.parametrize("name", ["vgg19.safetensors", "vgg19.pth"])
def test_a_local_file_of_vgg19_is_read_and_its_hash_noted(tmp_path, vgg19, name):
    # torchvision's own file also holds the classifier, which no feature needs.
    path = save_to(tmp_path / name, {**vgg19.state_dict(), "classifier.0.weight": torch.ones(2)})
    loaded = frozen_features(path, 2, 1)
    assert torch.equal(loaded(random_image(1)), vgg19(random_image(1)))
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("width", "levels"), [(4, 2), (6, 3)])
def test_a_local_file_of_the_small_network_is_read_at_the_size_that_it_has(tmp_path, width, levels):
    trained = SmallFeatures(3, 2, width, levels)
    path = save_to(tmp_path / "small.safetensors", trained.state_dict())
    image = random_image(2, 8, dimensions=3)
    loaded = frozen_features(str(path), 3, 2)
    assert torch.equal(loaded(image), trained(image))
    assert loaded.departures


def test_an_image_of_more_channels_is_described_channel_by_channel(tmp_path):
    path = save_to(tmp_path / "small.safetensors", SmallFeatures(2, 1, 4, 2).state_dict())
    image = random_image(3).repeat(2, 1, 1, 1) * torch.tensor([1, 0.5]).reshape(2, 1, 1, 1)
    alone = frozen_features(path, 2, 1)
    together = torch.cat([alone(image[:, channel : channel + 1]) for channel in range(3)], dim=1)
    assert torch.allclose(frozen_features(path, 2, 3)(image), together, atol=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_without_a_file_the_shipped_network_is_read_and_no_number_is_drawn(dimensions):
    path = resource(f"Features/small-{dimensions}d.safetensors")
    torch.manual_seed(1)
    shipped = frozen_features(None, dimensions, 1)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    assert path.stat().st_size < 2**20
    assert shipped.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    image = random_image(1, 16, dimensions)
    assert torch.equal(shipped(image), frozen_features(path, dimensions, 1)(image))
    assert shipped(image).shape[2:] == (4,) * dimensions


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_shipped_network_tells_texture_from_its_blur_about_as_much_as_pixels_do(dimensions):
    # What SRGAN divides features by brings them to a pixel term's size, so that its weights mean what they mean.
    image = random_image(1, 32, dimensions)
    coarse = AVERAGE_POOL[dimensions](4)(image)
    coarse = torch.nn.functional.interpolate(coarse, scale_factor=4.0)
    shipped = frozen_features(None, dimensions, 1)
    ratio = feature_square(shipped(image), shipped(coarse)) / (image - coarse).square().mean()
    assert 0.02 < ratio < 50


def test_on_no_memory_recipes_are_described_with_features_all_the_same():
    with torch.device("meta"):
        assert frozen_features(None, 2, 1).sha256 == frozen_features(None, 2, 1).sha256


def test_reading_a_file_does_not_move_the_draws_of_a_recipe(tmp_path, vgg19):
    path = save_to(tmp_path / "vgg19.safetensors", vgg19.state_dict())
    torch.manual_seed(1)
    frozen_features(path, 2, 1)
    found = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(found, torch.rand(1))


def test_gradients_reach_the_image_and_never_the_weights():
    features = frozen_features(None, 2, 1)
    before = deepcopy(features.state_dict())
    image = random_image(1).requires_grad_()
    feature_square(features.train()(image), features(random_image(1).flip(-1))).backward()
    assert image.grad.abs().sum() > 0
    assert not any(weight.requires_grad or weight.grad is not None for weight in features.parameters())
    assert not any(module.training for module in features.modules())
    assert all(torch.equal(before[name], value) for name, value in features.state_dict().items())


def refused(tmp_path, name, weights, dimensions=2, in_channels=1):
    path = save_to(tmp_path / name, weights)
    with pytest.raises(FeaturesError, match=name) as caught:
        frozen_features(path, dimensions, in_channels)
    return str(caught.value)


def test_weights_that_do_not_fit_are_refused(tmp_path, vgg19):
    state = vgg19.state_dict()
    assert "features.0.bias" in refused(
        tmp_path, "short.pth", {k: v for k, v in state.items() if k != "features.0.bias"}
    )
    assert "surplus" in refused(tmp_path, "long.safetensors", {**state, "surplus": torch.ones(1)})
    small = SmallFeatures(2, 2, 8, 2).state_dict()
    assert "SmallFeatures" in refused(tmp_path, "flat.pth", small, dimensions=3, in_channels=2)
    assert "of 3 channels" in refused(tmp_path, "two.pth", small, in_channels=3)
    assert "features.2.bias" in refused(
        tmp_path, "torn.pth", {k: v for k, v in small.items() if k != "features.2.bias"}, in_channels=2
    )


@pytest.mark.parametrize(("dimensions", "in_channels"), [(3, 1), (2, 2)])
def test_vgg19_is_refused_for_what_it_cannot_see(tmp_path, vgg19, dimensions, in_channels):
    message = refused(tmp_path, "vgg19.pth", vgg19.state_dict(), dimensions, in_channels)
    assert f"{dimensions}D with {in_channels}" in message


class Code:
    def __reduce__(self):
        return print, ("run",)


def test_code_and_other_files_are_refused_and_not_run(tmp_path, capsys):
    refused(tmp_path, "code.pth", {"features.34.weight": Code()})
    assert capsys.readouterr().out == ""
    assert "state_dict" in refused(tmp_path, "nested.pth", {"model": {"features.34.weight": torch.ones(1)}})
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "text.pth").write_text("no tensors")
    for path in (tmp_path / "text.safetensors", tmp_path / "text.pth", tmp_path / "absent.pth"):
        with pytest.raises(FeaturesError, match=path.name):
            frozen_features(path, 2, 1)
