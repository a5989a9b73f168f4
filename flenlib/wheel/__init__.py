"""Wheel 1, one module a notebook; wheel 2 is under ``wheel.editor``. Modules are imported as they are named."""

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """Return a module of this room, so that notebooks say whose function they call."""
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(name) from error
