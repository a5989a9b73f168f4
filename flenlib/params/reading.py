"""Reading settings from YAML or a notebook's parameters cell, and one sentence for each thing wrong with them."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError

from flenlib.params.character import Section
from flenlib.params.sections import FlowSettings, Iteration

EXTENDS = "extends"
LARGEST = 200_000
"""Bytes of the largest params file that is read; a whole one has about 5,000."""
MOST = 10_000
"""The most entries of a params file, its aliases written out."""
File = TypeVar("File", bound=Section)


@dataclass(frozen=True)
class Layer:
    """Settings from one source, such as a params file: fields by section, and what stands outside of sections."""

    source: str
    values: Mapping[str, Any]


def sections(model: type[Section]) -> dict[str, type[Section]]:
    """Return the fields of a model that are sections themselves."""
    kinds: dict[str, Any] = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}


def check(section: str, values: dict[str, Any] | Section, of: type[FlowSettings] = Iteration) -> Any:
    """Return one validated section, over the schema's defaults alone; a checked one is returned as it is.

    ``of`` are the settings it is a section of. Raises ValueError in one sentence a line: which key, which value, what
    was expected; an unknown key names the nearest known one.
    """
    known = sections(of)
    if section not in known:
        raise ValueError(f"section {section!r} is not known; it must be one of {', '.join(known)}")
    if isinstance(values, known[section]):
        return values
    return _validate(known[section], values, lambda key: section)


def read(path: str | Path, model: type[Section] = Iteration) -> list[Layer]:
    """Return what a params file gives, unchecked, after what the files it ``extends`` give, the furthest first.

    ``extends`` is a path beside the file. Raises FileNotFoundError, or ValueError naming the file and what is wrong.
    """
    layers: list[Layer] = []
    paths = [Path(path)]
    while True:
        values = _parse(paths[-1], named_by=paths[-2] if len(paths) > 1 else None)
        further = values.pop(EXTENDS, None)
        values |= {name: {} for name in sections(model) if name in values and values[name] is None}
        layers.insert(0, Layer(str(paths[-1]), values))
        if further is None:
            return layers
        if not isinstance(further, str):
            raise ValueError(f"{paths[-1]}: {EXTENDS} is {_short(further)}; give one file, such as v1.yaml")
        paths.append(paths[-1].parent / further)
        if paths[-1].resolve() in [each.resolve() for each in paths[:-1]]:
            raise ValueError(f"params files extend each other in a circle: {' -> '.join(map(str, paths))}")


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the values of layers put together: a later one replaces single fields of a section, not the section."""
    merged: dict[str, Any] = {}
    for name, value in (item for layer in layers for item in layer.values.items()):
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merged[name] | value if both else value
    return merged


def build(model: type[File], layers: Sequence[Layer]) -> File:
    """Return the validated whole of layers, the later over the earlier.

    Raises ValueError in one sentence a line, each naming the layer that gave the value.
    """
    return _validate(model, merge(layers), lambda key: origin(layers, key) or layers[-1].source)


def origin(layers: Sequence[Layer], key: Sequence[Any]) -> str:
    """Return the source of the last layer that gives a key such as ("train", "steps"); "" where none does."""
    return next((layer.source for layer in reversed(layers) if _gives(layer.values, key[:2])), "")


def _gives(values: Mapping[str, Any], key: Sequence[Any]) -> bool:
    inner = values.get(key[0]) if key else None
    return inner is not None and (len(key) == 1 or not isinstance(inner, dict) or key[1] in inner)


def _parse(path: Path, named_by: Path | None) -> dict[str, Any]:
    there = os.path.isfile(path)  # which a name too long for the system is not either
    if not there and named_by:
        raise FileNotFoundError(
            f"{named_by} extends {str(path)!r}, which does not exist; {EXTENDS} names a file beside it"
        )
    if not there:
        raise FileNotFoundError(f"params file {path} does not exist; give PARAMS=params/<character>/<iteration>.yaml")
    if path.stat().st_size > LARGEST:
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes and is no params file: {LARGEST:,} at most are read"
        )
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _OnceEach)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply; settings are two or three levels deep") from None
    except (yaml.YAMLError, *_OF_TAGS) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold sections such as 'character:' and 'train:', not {type(values).__name__}")
    return values


_OF_TAGS = (ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML raises for text under a tag that it is not, such as ``!!timestamp soon``."""


class _OnceEach(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which the last would win in silence, and aliases that multiply."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _entries(node, {}) > MOST:
            raise yaml.YAMLError(f"its aliases (*name) written out make more than {MOST:,} entries")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise yaml.YAMLError(
                    f"{key.value!r} is there twice, lines {lines[key.value]} and {line}; keep one of them"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


def _entries(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many entries a node has when its aliases are written out."""
    if id(node) not in known:
        known[id(node)] = MOST  # as long as it is not counted: one that holds itself has no end
        pairs = node.value if isinstance(node, yaml.MappingNode) else [[each] for each in node.value]
        inner = (each for pair in pairs for each in pair) if not isinstance(node, yaml.ScalarNode) else ()
        known[id(node)] = 1 + sum(_entries(each, known) for each in inner)
    return known[id(node)]


def _short(value: object) -> str:
    """Return a value as a sentence shows it: what is long or deep is cut, however large it would be written out."""
    shown = reprlib.Repr()
    shown.maxlevel, shown.maxstring, shown.maxother = 2, 100, 100
    return shown.repr(value)


def _validate(model: type[Section], values: Any, where: Callable[[tuple[Any, ...]], str]) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{where(())} must be a dict of settings, not {_short(values)}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(
            "\n".join(_sentence(model, where(item["loc"]), item) for item in error.errors()[:20])
        ) from None


def _sentence(model: type[Section], where: str, item: Any) -> str:
    key = ".".join(map(str, item["loc"]))
    if not key:
        return f"{where}: {item['msg']}"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown parameter {_short(key)}{_nearest(model, item['loc'])}"
    if item["type"] == "missing":
        return f"{where}: parameter {key!r} is missing; add it to the file or the parameters cell"
    return f"{where}: parameter {key!r} is {_short(item['input'])}: {item['msg']}"


def _nearest(model: Any, loc: tuple[Any, ...]) -> str:
    for part in loc[:-1]:
        if isinstance(part, str):
            found: Any = model.model_fields[part].annotation
            model = next(iter(get_args(found)), found)
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
