"""ResNet-20 for pictures of 3 x 32 x 32, as in He et al. 2016 (Deep Residual Learning for Image Recognition, 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

WIDTHS = (16, 32, 64)
DEPTH = 3
"""Blocks of each width: 6 x 3 + 2 = 20 layers with weights."""


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters (the paper's option A).

    Args:
        before: channels that come in.
        channels: that go out.
        stride: of the first convolution; the shortcut takes every so many-th pixel.
    """

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        self._stride = stride
        self._new = channels - before

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, channels, h / stride, w / stride)."""
        y = self.second_norm(self.second(relu(self.first_norm(self.first(x)))))
        # What is new has zeros for a shortcut.
        shortcut = pad(x[:, :, :: self._stride, :: self._stride], (0, 0, 0, 0, 0, self._new))
        return relu(y + shortcut)


def resnet20(classes: int) -> nn.Module:
    """0.27M parameters, and 41M multiplications for a picture: much computing for its size."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
    before = WIDTHS[0]
    for width in WIDTHS:
        for place in range(DEPTH):
            layers.append(Block(before, width, stride=2 if place == 0 and width > WIDTHS[0] else 1))
            before = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    model = nn.Sequential(*layers)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)  # the paper's, too (He et al. 2015)
    return model
