"""One file a family: all that is special about it. ``FAMILIES`` holds the classes the registry has registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flenlib.models.families.base import Family

FAMILIES: dict[str, type[Family]] = {}
"""The families by name."""


def register(family: type[Family]) -> type[Family]:
    """Make a family known to the kit by its name, and return it."""
    FAMILIES[family.name] = family
    return family


def of_pipeline(class_name: str) -> type[Family] | None:
    """Return the family that loads a pipeline class of diffusers; None when there is none."""
    return next((each for each in FAMILIES.values() if each.pipeline_class.__name__ == class_name), None)
