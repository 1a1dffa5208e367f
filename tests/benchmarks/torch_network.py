"""The article's network in PyTorch, channels last, in float32 and bfloat16; only where torch is installed."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    """A residual block."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(filters, filters, 3, padding=1) for _ in range(2))
        self.before, self.between, self.after = (nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(self.before(torch.relu(x)))
        return x + self.after(self.second(torch.relu(self.between(y))))


def level(inputs: int, filters: int) -> nn.Sequential:
    """One level of the network."""
    return nn.Sequential(nn.Conv2d(inputs, filters, 3, padding=1), Block(filters), Block(filters), nn.ReLU())


class ResidualUnet(nn.Module):
    """The residual U-Net."""

    def __init__(self, filters: int = 16) -> None:
        super().__init__()
        widths = [filters << step for step in range(5)]
        self.down = nn.ModuleList(level(i, o) for i, o in zip([3, *widths[:3]], widths[:4], strict=True))
        self.middle = level(widths[3], widths[4])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width * 2, width, 3, stride=2, padding=1, output_padding=1) for width in widths[3::-1]
        )
        self.join = nn.ModuleList(level(width * 2, width) for width in widths[3::-1])
        self.out = nn.Conv2d(filters, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        drop = nn.functional.dropout
        skips = []
        for step, down in enumerate(self.down):
            x = down(x)
            skips.append(x)
            x = drop(nn.functional.max_pool2d(x, 2), 0.25 if step == 0 else 0.5, self.training)
        x = self.middle(x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(drop(torch.cat([up(x), skips.pop()], 1), 0.5, self.training))
        return torch.sigmoid(self.out(drop(x, 0.25, self.training)).float())


def steps(images: np.ndarray, masks: np.ndarray) -> dict[str, Callable[[], None]]:
    """A training step and a prediction of some pairs, in each precision."""
    found: dict[str, Callable[[], None]] = {}
    x, t = (torch.from_numpy(array).permute(0, 3, 1, 2).float() for array in (images, masks))
    x = (x / 255).contiguous(memory_format=torch.channels_last)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        network = ResidualUnet().to(memory_format=torch.channels_last)
        assert (
            sum(parameter.numel() for parameter in network.parameters())
            + sum(buffer.numel() for key, buffer in network.named_buffers() if "running" in key)
            == 5_123_089
        )
        optimizer = torch.optim.Adam(network.parameters(), 1e-3, eps=1e-7, fused=True)

        def train(network=network, optimizer=optimizer, dtype=dtype) -> None:  # type: ignore[no-untyped-def]
            network.train()
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                p = network(x)
            overlap = (p * t).sum()
            dice = (2 * overlap + 1) / (p.sum() + t.sum() + 1)
            (nn.functional.binary_cross_entropy(p, t) + 1 - dice).backward()
            optimizer.step()

        def predict(network=network, dtype=dtype) -> None:  # type: ignore[no-untyped-def]
            network.eval()
            with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                network(x)

        found[f"train {name}"], found[f"predict {name}"] = train, predict
    return found
