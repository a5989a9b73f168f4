"""GPUs by name, and the one in this machine: how much memory, and the nominal speed predictions are made with."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from flenlib.models import placement

GIB = 2**30


@dataclass(frozen=True)
class GPU:
    """A GPU: GiB of memory, nominal dense bfloat16 TFLOP/s, GB/s of its memory and of its link to RAM; RAM in GiB.

    A rate of 0 is not known, and no time is predicted then. ``driver`` is a pattern of what the driver calls it.
    """

    name: str
    gib: float
    tflops: float = 0.0
    bandwidth: float = 0.0
    link: float = 20.0
    ram_gib: float = 64.0
    cpu: bool = False
    driver: str = ""


GPUS = {
    gpu.name: gpu
    for gpu in (
        GPU("RTX 4080 16 GB", 16, 97, 717, driver=r"RTX 4080$"),
        GPU("RTX 3090 24 GB", 24, 71, 936, driver=r"RTX 3090$"),
        GPU("RTX 4090 24 GB", 24, 165, 1008, driver=r"RTX 4090$"),
        GPU("RTX A6000 48 GB", 48, 155, 768, driver=r"RTX A6000$"),
        GPU("L40S 48 GB", 48, 362, 864, driver=r"L40S$"),
        GPU("A100 80 GB", 80, 312, 2039, ram_gib=128, driver=r"A100\b"),
        GPU("H100 80 GB", 80, 989, 3350, 40, ram_gib=128, driver=r"H100.*(HBM3|SXM)"),
    )
}
"""Nominal figures of the makers' data sheets: bfloat16 products summed in float32, no sparsity."""


def rates_of(name: str) -> GPU | None:
    """Return the GPU a driver's name means; None for all others: laptops' chips bear the names of faster ones."""
    return next((gpu for gpu in GPUS.values() if re.search(gpu.driver, name)), None)


def pick_gpu(gpu: GPU | str | None = None, device: torch.device | None = None) -> GPU:
    """Return a GPU by name, as given, or this machine's (``device``'s); a CPU is a GPU with the machine's memory.

    Raises ValueError for a name that is not in ``GPUS``.
    """
    if isinstance(gpu, GPU):
        return gpu
    if gpu is not None:
        if gpu not in GPUS:
            raise ValueError(f"GPU {gpu!r} is not known; it must be one of {', '.join(GPUS)}")
        return GPUS[gpu]
    ram = placement.memory_gib()
    device = device or placement.pick_device()
    if device.type == "cpu":
        return GPU("this processor", ram, ram_gib=ram, cpu=True)
    found = torch.cuda.get_device_properties(device)
    known = rates_of(found.name) or GPU("", 0)
    return GPU(found.name, found.total_memory / GIB, known.tflops, known.bandwidth, known.link, ram)
