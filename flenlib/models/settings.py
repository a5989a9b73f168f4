"""The settings of a step in full: what is given, over what the model sets, over what its family sets, over the schema.

Each section belongs to one role (``Section.set_by``), and the model in that role speaks for it: the generator for
training and drawing the character, the editor for edits, corrections and its own LoRA. Precision and offload are chosen
by the larger of the two models for the memory of this machine's GPU; a machine without one is taken for 24 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

from flenlib import params
from flenlib.models import placement, registry
from flenlib.models.families.base import Family
from flenlib.models.registry import Model
from flenlib.params import FlowSettings, Iteration, Layer, Models, Section, Train, TrainRun
from flenlib.words import ROLES

PARTNERS = {"generator": "flux-dev", "editor": "qwen-image-edit-2509"}
"""The model for each role where only the other role's is named, and that one is published."""
WITHOUT_GPU = 24.0
"""GiB assumed where there is no GPU, so that a file reads on a laptop as on the machine it is written for."""

Settings = TypeVar("Settings", bound=FlowSettings)


class _OnlyModels(Section):
    models: Models = Models()


def check(*, models: dict[str, Any] | Models, of: type[FlowSettings] = Iteration, **sections: Any) -> tuple[Any, ...]:
    """Return sections as a notebook's parameters cell gives them, filled in and checked: ``models`` first, then others.

    ``of`` are the settings of the notebook's flow. A checked section is returned as it is, so that a cell can be run
    again. Raises ValueError in one sentence for a key or value that is wrong, and what ``registry.resolve`` raises for
    a model it does not know.
    """
    _refuse_extends()
    models = models if isinstance(models, Models) else _partner(models or {}) | (models or {})
    asked = params.check("models", models)
    known = _resolved(asked)
    filled = _filled("models", models, asked, known)
    return filled, *(_filled(section, values or {}, filled, known, of) for section, values in sections.items())


def load_iteration(path: str | Path) -> Iteration:
    """Return the settings of the wheel in a params file, in full. Raises as ``load`` does."""
    return load(path, Iteration)


def load(path: str | Path, of: type[Settings]) -> Settings:
    """Return the settings of a flow in a params file, in full.

    Raises FileNotFoundError, or ValueError naming file, key and value.
    """
    return params.build(of, _of_iteration(params.read(path, of), of))


def iteration(**given: Any) -> Iteration:
    """Return the settings of an iteration given in Python, in full. Raises ValueError as ``load`` does."""
    return params.build(Iteration, _of_iteration([Layer("settings", given)], Iteration))


def load_run(path: str | Path) -> TrainRun:
    """Return the settings of one training (``python -m flenlib.train``) in full. Raises as ``load`` does."""
    return params.build(TrainRun, _of_run(params.read(path, TrainRun)))


def load_any(path: str | Path) -> Iteration | TrainRun:
    """Return the settings in a params file, of an iteration or of one training, in full. Raises as ``load`` does."""
    return load_run(path) if _one_training(params.read(path)) else load_iteration(path)


def _one_training(given: Sequence[Layer]) -> bool:
    """Say whether a params file is of one training, which says where its ``output`` goes."""
    return "output" in params.merge(given)


def explain(path: str | Path) -> Iterator[tuple[str, Any, str]]:
    """Yield each setting of a params file in force as (name, value, the file, model or family it comes from).

    The file is that of an iteration, or of one training.
    """
    given = params.read(path)
    one_training = _one_training(given)
    found = _of_run(given) if one_training else _of_iteration(given, Iteration)
    for name, value in params.build(TrainRun if one_training else Iteration, found):
        fields = [((name, field), each) for field, each in value] if isinstance(value, Section) else [((name,), value)]
        for key, each in fields:
            yield ".".join(key), each, params.origin(found, key) or "schema"


def _of_iteration(given: Sequence[Layer], of: type[FlowSettings]) -> list[Layer]:
    """Return all that an iteration's settings come from but the schema: families and models, then what is given.

    A flow whose settings name no models has no more than what is given.
    """
    sections = params.sections(of)
    if "models" not in sections:
        return list(given)
    first = [_only(layer, {"models"}) for layer in given]
    named = params.merge(first).get("models")
    partner = Layer("goes with the other model", {"models": _partner(named if isinstance(named, dict) else {})})
    first, given = [partner, *first], [partner, *given]
    asked = _models(first)
    known = _resolved(asked)
    found = _defaults("models", Models, asked, known)
    models = _models([*found, *first])
    for section in sections.keys() - {"models"}:
        found += _defaults(section, sections[section], models, known)
    return [*found, *given]


def _models(layers: Sequence[Layer]) -> Models:
    return params.build(_OnlyModels, layers).models


def _of_run(given: Sequence[Layer]) -> list[Layer]:
    """Return all that the settings of one training come from but the schema."""
    first = [_only(layer, TrainRun.model_fields.keys() - {"train", "captions"}) for layer in given]
    asked = params.build(TrainRun, first)
    model = registry.resolve(asked.model, asked.role)
    found = [Layer(source, fields) for source, fields in _wants(model, "models", Models, device=asked.device)]
    precision = params.build(TrainRun, [*found, *first]).precision
    role = asked.role or ("editor" if "editor" in model.family.roles else "generator")
    training, drawing = ("train_editor", "enrich") if role == "editor" else ("train", "generate")
    kinds = params.sections(Iteration)
    for source, fields in _wants(model, training, kinds[training], precision):
        found.append(Layer(source, {"train": {k: v for k, v in fields.items() if k in Train.model_fields}}))
    for source, fields in _wants(model, "captions", kinds["captions"], precision):
        found.append(Layer(source, {"captions": fields}))
    for source, fields in _wants(model, drawing, kinds[drawing], precision):
        found.append(Layer(source, {f"preview_{k}": fields[k] for k in ("steps", "guidance") if k in fields}))
    return [*found, *given]


def _partner(named: Mapping[str, Any]) -> dict[str, str]:
    """Return the model for a role nobody names where the other's is a published one; beside a small one, nothing."""
    for role, other in zip(ROLES, reversed(ROLES), strict=True):
        name = named.get(other)
        if isinstance(name, str) and role not in named:
            model = registry.resolve(name, other)
            return {} if model.small else {role: model.partner or PARTNERS[role]}
    return {}


def _filled(
    section: str, values: Any, models: Models, known: dict[str, Model], of: type[FlowSettings] = Iteration
) -> Any:
    kind = params.sections(of).get(section)
    if isinstance(values, dict) and kind is not None:
        values = params.merge([*_defaults(section, kind, models, known), Layer(section, {section: values})])[section]
    return params.check(section, values, of)


def _resolved(models: Models) -> dict[str, Model]:
    return {role: registry.resolve(getattr(models, role), role) for role in ROLES}


def _defaults(section: str, kind: type[Section], models: Models, known: dict[str, Model]) -> list[Layer]:
    """Return what the model that speaks for a section sets in it, each later layer over the earlier.

    For the models themselves the larger speaks; one whose size is not known counts as the largest.
    """
    model = known[kind.set_by]
    if section == "models":
        model = max(known["editor"], known["generator"], key=lambda each: each.size_gib or float("inf"))
    wanted = list(_wants(model, section, kind, models.precision, models.device))
    if all(each.small for each in known.values()):
        wanted.append((f"{model.name} beside a small model", model.among_small.get(section, {})))
    return [Layer(source, {section: fields}) for source, fields in wanted]


def _wants(
    model: Model, section: str, kind: type[Section], precision: str = "", device: str = "auto"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a model's family and then the model itself set in a section, each with the name of who does."""
    family, name = model.family, f"family {model.family.name}"
    yield name, family.settings.get(section, {})
    if section == "models":
        yield _for_memory(family, device)
    else:
        yield f"{name} at {precision}", family.settings_at.get(precision, {}).get(section, {})
    sized = {"resolution": [model.resolution]} if "resolution" in kind.model_fields else {}
    yield model.name, sized | model.settings.get(section, {})


def _for_memory(family: type[Family], device: str) -> tuple[str, dict[str, Any]]:
    """Return the precision and offload a family is used at on this machine's GPU, and why."""
    gib = placement.gpu_gib(device)
    chosen = family.for_memory(gib or WITHOUT_GPU)
    why = f"this GPU's {gib:.0f} GiB" if gib else f"{WITHOUT_GPU:.0f} GiB, no GPU being here"
    return f"family {family.name} for {why}", dict(zip(("precision", "offload"), chosen, strict=True))


def _only(layer: Layer, names: Set[str]) -> Layer:
    return Layer(layer.source, {name: value for name, value in layer.values.items() if name in names})


def _refuse_extends() -> None:
    """Raise ValueError in a notebook that plain papermill gave a file with ``extends``, which papermill cannot follow.

    Papermill makes every key of the file a variable of the notebook; what the extended file says would be lost.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and params.EXTENDS in shell.user_ns:
        raise ValueError(
            f"papermill does not follow {params.EXTENDS}: give it the whole file, which "
            "`python -m flenlib.params whole FILE` prints"
        )
