"""Layers by number of spatial dimensions, so that no part is written twice for 2D and 3D."""

from torch import Tensor, nn

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
BATCH_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOL: dict[int, type[nn.AvgPool2d] | type[nn.AvgPool3d]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
#: How torch's ``interpolate`` calls straight lines between neighbours.
LINEAR: dict[int, str] = {2: "bilinear", 3: "trilinear"}
#: Of whole channels.
DROPOUT: dict[int, type[nn.Dropout2d] | type[nn.Dropout3d]] = {2: nn.Dropout2d, 3: nn.Dropout3d}


class _ContiguousGradient(nn.Module):
    """A norm whose gradient comes back in the plain layout.

    On a CPU torch's instance norm has a wrong gradient for a batch of one where that is channels last (torch 2.13).
    """

    def forward(self, image: Tensor) -> Tensor:
        normed: Tensor = super().forward(image)
        if normed.requires_grad:
            normed.register_hook(Tensor.contiguous)
        return normed


class InstanceNorm2d(_ContiguousGradient, nn.InstanceNorm2d):
    """torch's, with the right gradient."""


class InstanceNorm3d(_ContiguousGradient, nn.InstanceNorm3d):
    """torch's, with the right gradient."""


INSTANCE_NORM: dict[int, type[nn.InstanceNorm2d] | type[nn.InstanceNorm3d]] = {2: InstanceNorm2d, 3: InstanceNorm3d}


def initialise(network: nn.Module, deviation: float = 0.02) -> None:
    """Draw weights as pix2pix and DCGAN do (arXiv:1611.07004, arXiv:1511.06434).

    N(0, .02) for convolutions and linear layers, N(1, .02) for batch norms, biases 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, deviation)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.weight, 1.0, deviation)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def initialise_unnormed(network: nn.Module, slope: float = 0.0) -> None:
    """Draw weights so that activations keep their size without norms, biases 0 (He et al. 2015, arXiv:1502.01852).

    ``slope`` is that of the leaky ReLU between the layers.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=slope)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
