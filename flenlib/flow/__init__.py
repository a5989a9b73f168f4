"""Flows of steps: running them, knowing what is done, recording runs, reporting what came out."""

from flenlib.flow.clock import Clock
from flenlib.flow.wheel import WHEEL

__all__ = ["WHEEL", "Clock"]
