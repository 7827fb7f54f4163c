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
    given, found = list(layers), []
    for number, layer in enumerate(given):
        before, behind = (given[i] if 0 <= i < len(given) else None for i in (number - 1, number + 1))
        if type(layer) is nn.Conv2d:
            normalised = is_constant_normalisation(behind)
            own = fuse_conv_bn_eval(layer, behind) if normalised else copy.deepcopy(layer)
            found.append(own.to(memory_format=torch.channels_last))
        elif is_constant_normalisation(layer) and type(before) is nn.Conv2d:
            continue
        elif type(layer) is nn.ReLU and found and type(found[-1]) is nn.Conv2d:
            found.append(nn.ReLU(inplace=True))
        else:
            found.append(layer)
    return found
