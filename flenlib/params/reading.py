"""Reading settings from YAML or a notebook's parameters cell, and saying in a sentence what is wrong with them."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from flenlib.params.sections import Iteration, Section

File = TypeVar("File", bound=Section)


def _is_section(model: type[Section], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, Section)


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation for name, field in Iteration.model_fields.items() if _is_section(Iteration, name)
}


def check(section: str, values: dict[str, Any] | Section) -> Any:
    """Return the validated model of one section; a checked one is returned as it is, so that a cell can be run again.

    Raises ValueError in one sentence a line: which key, which value, what was expected; an unknown key names the
    nearest known one.
    """
    if section not in SECTIONS:
        raise ValueError(f"section {section!r} is not known; it must be one of {', '.join(SECTIONS)}")
    if isinstance(values, SECTIONS[section]):
        return values
    return _validate(SECTIONS[section], values, section)


def load(path: str | Path, model: type[File] = Iteration) -> File:
    """Read a params file, of an iteration or of a ``TrainRun``.

    Raises FileNotFoundError, or ValueError naming the file, the key and the value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"params file {path} does not exist; give PARAMS=params/<character>/<iteration>.yaml")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _OnceEach)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold sections such as 'character:' and 'train:', not {type(values).__name__}")
    empty = {name for name, value in values.items() if value is None and _is_section(model, name)}
    return _validate(model, values | {name: {} for name in empty}, str(path))


class _OnceEach(yaml.SafeLoader):
    """YAML as ever, but a key given twice is refused: the last would win, and nobody would be told."""

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


def _validate(model: type[Section], values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{where} must be a dict of settings, not {values!r}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError("\n".join(_sentence(model, where, item) for item in error.errors())) from None


def _sentence(model: type[Section], where: str, item: Any) -> str:
    key = ".".join(map(str, item["loc"]))
    if not key:
        return f"{where}: {item['msg']}"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown parameter {key!r}{_nearest(model, item['loc'])}"
    if item["type"] == "missing":
        return f"{where}: parameter {key!r} is missing; add it to the file or the parameters cell"
    return f"{where}: parameter {key!r} is {item['input']!r}: {item['msg']}"


def _nearest(model: type[BaseModel], loc: tuple[Any, ...]) -> str:
    for part in loc[:-1]:
        if isinstance(part, str):
            found = model.model_fields[part].annotation
            model = next(iter(get_args(found)), found)
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
