"""The same layers with less to do: normalisation folded into convolutions, results written over what is not needed."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ssan.accel.reach import is_constant_normalisation


def folded(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Layers that compute, one after the other, what `layers` compute in evaluation mode; these stay as they are.

    Batch normalisation by constants multiplies and adds, and so does a convolution: one behind a convolution goes into
    its weights. A ReLU behind a convolution writes over what that returned. The channels of a pixel lie side by side in
    memory, which is how the processor's convolutions are fastest. Only the rounding differs.
    """
    found: list[nn.Module] = []
    for layer in layers:
        behind_convolution = bool(found) and type(found[-1]) is nn.Conv2d
        if behind_convolution and is_constant_normalisation(layer):
            found[-1] = fuse_conv_bn_eval(found[-1].eval(), layer)
        elif behind_convolution and type(layer) is nn.ReLU:
            found.append(nn.ReLU(inplace=True))
        else:
            found.append(copy.deepcopy(layer) if type(layer) is nn.Conv2d else layer)
    return [layer.to(memory_format=torch.channels_last) if type(layer) is nn.Conv2d else layer for layer in found]
