"""What describing pictures takes, said before a captioner is loaded: memory by the headers of its weights, and time."""

from __future__ import annotations

from flenlib.models import placement
from flenlib.models.captioners import LONGEST, Found
from flenlib.predict.gpus import GPU, pick_gpu

SPEED = 0.5
"""The share of a GPU's nominal memory bandwidth that writing reaches, each token reading all weights once: assumed."""


def expected(found: Found, precision: str, pictures: int, gpu: GPU | str | None = None, device: str = "auto") -> str:
    """Return in words what describing so many pictures takes on a GPU, by default this machine's; predicted.

    Raises RuntimeError, in one sentence with what would fit, when it does not fit.
    """
    machine = pick_gpu(gpu, placement.pick_device(device) if gpu is None else None)
    weights = found.gib("fp32" if machine.cpu and precision == "fp32" else precision)
    needed = weights + placement.ENCODING_GIB
    said = f"captioner {found.name} at {precision} takes about {needed:.1f} GiB"
    if needed > machine.gib:
        small = f"bf16 takes {found.gib('bf16') + placement.ENCODING_GIB:.1f}" if precision == "fp32" else ""
        better = "bf16" if small and found.gib("bf16") + placement.ENCODING_GIB <= machine.gib else "florence-2"
        raise RuntimeError(f"{said}, and {machine.name} has {machine.gib:.0f} GiB: use {better}, or another machine")
    if not machine.bandwidth:
        return f"{said} of the {machine.gib:.0f} of {machine.name}; how fast that is, is not known"
    seconds = LONGEST * weights * 2**30 / (machine.bandwidth * 1e9 * SPEED)
    return f"{said} of the {machine.gib:.0f} of {machine.name}, about {seconds * pictures / 60:.0f} min (predicted)"
