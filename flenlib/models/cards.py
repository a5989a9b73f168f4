"""Cards by name, and the one in this machine: how much memory, and the nominal speed predictions are made with."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from flenlib.models import placement

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """A card: GiB of memory, nominal dense bfloat16 TFLOP/s, GB/s of its memory and of its link to RAM; RAM in GiB.

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


CARDS = {
    card.name: card
    for card in (
        Card("RTX 4080 16 GB", 16, 97, 717, driver=r"RTX 4080$"),
        Card("RTX 3090 24 GB", 24, 71, 936, driver=r"RTX 3090$"),
        Card("RTX 4090 24 GB", 24, 165, 1008, driver=r"RTX 4090$"),
        Card("RTX A6000 48 GB", 48, 155, 768, driver=r"RTX A6000$"),
        Card("L40S 48 GB", 48, 362, 864, driver=r"L40S$"),
        Card("A100 80 GB", 80, 312, 2039, ram_gib=128, driver=r"A100\b"),
        Card("H100 80 GB", 80, 989, 3350, 40, ram_gib=128, driver=r"H100.*(HBM3|SXM)"),
    )
}
"""Nominal figures of the makers' data sheets: bfloat16 products summed in float32, no sparsity."""


def rates_of(name: str) -> Card | None:
    """Return the card a driver's name means; None for all others: laptops' chips bear the names of faster ones."""
    return next((card for card in CARDS.values() if re.search(card.driver, name)), None)


def pick_card(card: Card | str | None = None, device: torch.device | None = None) -> Card:
    """Return a card by name, as given, or this machine's (``device``'s); a CPU is a card with the machine's memory.

    Raises ValueError for a name that is not in ``CARDS``.
    """
    if isinstance(card, Card):
        return card
    if card is not None:
        if card not in CARDS:
            raise ValueError(f"card {card!r} is not known; it must be one of {', '.join(CARDS)}")
        return CARDS[card]
    ram = placement.memory_gib()
    device = device or placement.pick_device()
    if device.type == "cpu":
        return Card("this processor", ram, ram_gib=ram, cpu=True)
    found = torch.cuda.get_device_properties(device)
    known = rates_of(found.name) or Card("", 0)
    return Card(found.name, found.total_memory / GIB, known.tflops, known.bandwidth, known.link, ram)
