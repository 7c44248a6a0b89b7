"""What tests of networks look at: noise, networks without memory, and the table of their convolutions."""

import torch
from torch import nn

CONVOLUTIONS = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d


def noise(*shape, seed=0):
    """Return noise in [-1, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def on_meta(build, *arguments):
    """Return a network without memory for its weights."""
    with torch.device("meta"):
        return build(*arguments)


def table(network):
    """Return the kernel, inputs, outputs and stride of every convolution."""
    return [
        (layer.kernel_size[0], layer.in_channels, layer.out_channels, layer.stride[0])
        for layer in network.modules()
        if isinstance(layer, CONVOLUTIONS)
    ]
