"""One run in one process or in several: started by ``accelerate launch``, they share each batch and one folder.

Only the LoRA's gradients are summed, once an optimiser step, so quantised and offloaded models need nothing special.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from filelock import FileLock, Timeout

from flenlib.dataset.files import sweep
from flenlib.models.families.base import Family

PATIENCE = timedelta(hours=12)
"""How long processes wait while the first encodes or draws: far longer than the libraries' ten or thirty minutes."""


def start(family: Family, batch_size: int) -> Accelerator:
    """Return the accelerator of this process, on the family's device.

    Raises ValueError when there are more processes than pictures in a batch: some would never compute anything.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # one process trains on several devices
    accelerator = Accelerator(
        cpu=torch.device(family.device).type == "cpu",
        mixed_precision="no",  # `autocast` says where
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    count = accelerator.num_processes
    if batch_size < count:
        raise ValueError(
            f"batch_size is {batch_size}, of all processes together, and there are {count}: some would compute "
            f"nothing; set batch_size to {count} (and accumulate lower), or start fewer processes"
        )
    return accelerator


def autocast(family: Family) -> torch.autocast:
    """Return what runs a float32 LoRA in the bfloat16 of its base, and does nothing where the base is float32."""
    return torch.autocast(torch.device(family.device).type, torch.bfloat16, enabled=family.dtype == torch.bfloat16)


@contextmanager
def alone(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Keep other runs out of the folder; of the processes of one run, the first holds the lock for all.

    Raises RuntimeError when another run has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not accelerator.is_main_process:
        yield
        return
    try:
        with FileLock(folder / ".lock", timeout=0):
            sweep(folder)
            yield
    except Timeout:
        raise RuntimeError(f"another process is training in {folder}; wait for it, or give another folder") from None


def add_up(accelerator: Accelerator, parameters: Sequence[torch.nn.Parameter], errors: torch.Tensor) -> torch.Tensor:
    """Sum the gradients over the processes, in place, and return the sum of their ``errors``.

    Parameters the model never reads have no gradient, in every process: a last block's text stream ends unread.
    """
    if accelerator.num_processes == 1:
        return errors
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    summed = accelerator.reduce(torch.cat([grad.flatten() for grad in grads]), "sum")
    for grad, part in zip(grads, summed.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))
    return accelerator.reduce(errors, "sum")
