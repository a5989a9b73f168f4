"""Every measure of the kit as one object: what it is called, how it is computed, which way is better, how it is shown.

Records, tables, plots, ``watch.csv``, the model card, the editors' comparison and the review widget go through these
objects and name no column themselves. A new measure is one more `Measure` in `MEASURES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from PIL import Image

from flenlib.dataset.records import NOT_MEASURED
from flenlib.measure import quality
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.seen import Seen
from flenlib.measure.statistics import Way

SHARE = "share"
"""The unit of a measure that is 1 or 0 for one picture: its mean over many is a share."""

BLURRED = 0.5
"""An edit has an artefact when its face is less than half as sharp as its source's (variance of the Laplacian)."""

DIGITS = 4
"""Decimals of a measurement in a record."""


@dataclass(frozen=True)
class Measure:
    """A way to put a number on a picture, a face, a set of pictures or a LoRA.

    ``compute`` takes a `Seen` (of a picture or a face), a sequence of them (of a set) or a `Trained` (of a LoRA), and
    returns None when there is nothing to measure, which is never 0.
    """

    name: str
    """Its column in tables and files, such as ``face_distance``; `words` is the same for people."""
    applies_to: Literal["picture", "face", "set", "LoRA"]
    compute: Callable[..., float | None]
    missing: str = ""
    """What *not measured* means; empty where there is always a value."""
    unit: str = ""
    better: Way = "neither"
    needs: tuple[str, ...] = ()
    """The fields of a `Seen` without which it does not apply at all; ``compute`` is given them after the `Seen`."""
    form: str = ".2f"
    """How a value is written, as a format specification."""
    limit: str = ""
    """The entry of a record's measurements that says how far a good value goes; empty: there is no limit."""
    badge: bool = False
    """Whether a reviewer sees it on the small picture; beside the large one everything measured is shown."""

    def take(self, subject: Any) -> float | None:
        """Return its value for a `Seen`, a sequence of them, or a `Trained`; None where it cannot be measured."""
        return self.compute(subject, *(getattr(subject, name) for name in self.needs))

    @property
    def words(self) -> str:
        """Its name in words."""
        return self.name.replace("_", " ")

    @property
    def label(self) -> str:
        """What an axis says: the name, the unit, and which way is better."""
        notes = [self.unit, f"{self.better} is better" if self.better != "neither" else ""]
        noted = ", ".join(filter(None, notes))
        return f"{self.words} ({noted})" if noted else self.words

    def show(self, value: float | str | None) -> str:
        """Return a value as people read it; None, NaN and a record's *not measured* are said so."""
        if value is None or isinstance(value, str) or math.isnan(value):
            return NOT_MEASURED
        return format(value, self.form)

    def read(self, measurements: Mapping[str, float | str]) -> float | None:
        """Return its value among a record's measurements; None for *not measured* and for what was never looked at."""
        value = measurements.get(self.name, NOT_MEASURED)
        return None if value == NOT_MEASURED else float(value)

    def limit_in(self, measurements: Mapping[str, float | str]) -> float:
        """Return the limit of a good value among a record's measurements; NaN where it could not be calibrated.

        Raises KeyError where there is none.
        """
        limit = measurements[self.limit]
        return math.nan if limit == NOT_MEASURED else float(limit)

    def gain(self, difference: Any) -> Any:
        """Return a difference (later minus earlier), a number or a column, so that a positive one is better."""
        return -difference if self.better == "lower" else difference

    def shown(self, measurements: Mapping[str, float | str]) -> str:
        """Return its value among a record's measurements as people read it; yes or no where it is 1 or 0."""
        value = self.read(measurements)
        return self.show(value) if self.unit != SHARE or value is None else "yes" if value else "no"

    def state(self, measurements: Mapping[str, float | str]) -> str:
        """Return within or beyond, by the limit beside it; *not measured*; or nothing where there is no limit."""
        value = self.read(measurements)
        if value is None:
            return NOT_MEASURED
        if self.limit not in measurements:
            return ""
        return "within" if self.within(value, self.limit_in(measurements)) else "beyond"

    def within(self, value: float, limit: float) -> bool:
        """Say whether a value is as good as its limit or better."""
        return value >= limit if self.better == "higher" else value <= limit


class Trained(Protocol):
    """What a measure of a LoRA sees: one that is being trained, at a step, with samples held out from it."""

    def validation_loss(self) -> float:
        """Return the mean loss on the held-out samples."""


def applying(measures: Sequence[Measure], *known: str) -> list[Measure]:
    """Return the measures of a picture of which no more than these fields of a `Seen` are known."""
    return [m for m in measures if m.applies_to in ("picture", "face") and {*m.needs} <= {*known}]


def of_picture(seen: Seen, measures: Sequence[Measure]) -> dict[str, float | None]:
    """Return the value of every measure that applies to a picture, by name; None where it cannot be measured."""
    return {m.name: m.take(seen) for m in applying(measures, *seen.known)}


def of_set(pictures: Sequence[Seen], measures: Sequence[Measure]) -> dict[str, float | None]:
    """Return the value of every measure of a set, by name."""
    return {m.name: m.take(pictures) for m in measures if m.applies_to == "set"}


def recorded(values: Mapping[str, float | None]) -> dict[str, float | str]:
    """Return values as a record keeps them: rounded, and *not measured* where there is none (None or NaN)."""
    return {n: NOT_MEASURED if v is None or math.isnan(v) else round(float(v), DIGITS) for n, v in values.items()}


def among(names: Container[str], measures: Sequence[Measure]) -> list[Measure]:
    """Return the measures whose name is among these, such as the columns of a table, in their own order."""
    return [m for m in measures if m.name in names]


def _face_distance(seen: Seen, reference: ReferenceSet) -> float | None:
    return reference.distance(seen.faces)


def _recognised(seen: Seen, training: ReferenceSet, threshold: float) -> float | None:
    """A face that should be there and is not counts as not recognised."""
    found = training.distance(seen.faces)
    if found is None:
        return 0.0 if seen.face_expected else None
    return float(found <= threshold)


def _face_sharpness(seen: Seen) -> float | None:
    return quality.sharpness(seen.image, seen.faces[0].box) if seen.faces else None


def _sharpness_kept(seen: Seen, source: Seen) -> float | None:
    """Only of a turned head without a face to measure: of every other edit the face says more."""
    shown = {source.attributes.get("angle"), seen.attributes.get("angle")}
    if seen.faces or seen.face_expected or seen.attributes.get("edit") != "camera" or "back" in shown:
        return None
    before = quality.sharpness(source.image)
    return quality.sharpness(seen.image) / before if before else 1.0


def _artefact(seen: Seen, source: Seen) -> float | None:
    now, before = _face_sharpness(seen), _face_sharpness(source)
    if now is None or before is None or seen.attributes.get("edit") == "style":
        return None
    return float(now < BLURRED * before)


def _edit_done(seen: Seen, source: Seen) -> float | None:
    return None if seen.done is None else float(seen.done)


def _unchanged(seen: Seen, source: Seen) -> float:
    """What the source showed already need not change: the target knows, or else whoever knows that it was done."""
    if not quality.unchanged(source.image, seen.image):
        return 0.0
    if seen.target is not None:
        return float(not quality.unchanged(source.image, seen.target))
    return float(not seen.done)


def _colour_difference(seen: Seen, target: Image.Image) -> float:
    return quality.colour_distance(seen.image, target.resize(seen.image.size))


FACE_DISTANCE = Measure(
    "face_distance", "face", _face_distance, "no face was found",
    better="lower", needs=("training",), limit="threshold", badge=True,
)  # fmt: skip
"""The least distance of a picture's faces to the sources trained on, between dlib encodings (see `measure.faces`)."""

HELD_OUT_FACE_DISTANCE = Measure(
    "held_out_face_distance", "face", _face_distance, "no face was found", better="lower", needs=("held_out",)
)
"""The same to sources no training has seen: the one by which LoRAs are compared."""

RECOGNISED = Measure(
    "recognised", "face", _recognised, "no face was found and none can be expected",
    unit=SHARE, better="higher", needs=("training", "threshold"),
)  # fmt: skip
"""Whether the face distance is within its threshold."""

FACES_FOUND = Measure("faces_found", "picture", lambda seen: len(seen.faces), form=".0f")
FACE_FOUND = Measure("face_found", "picture", lambda seen: float(bool(seen.faces)), unit=SHARE, better="higher")

SHARPNESS = Measure("sharpness", "picture", lambda seen: quality.sharpness(seen.image), form=".0f")
"""The variance of the Laplacian; how much is right depends on what the picture shows."""

FACE_SHARPNESS = Measure("face_sharpness", "face", _face_sharpness, "no face was found", form=".0f")

EXPOSURE = Measure("exposure", "picture", lambda seen: quality.exposure(seen.image).mean, unit="mean luminance")

SHARPNESS_KEPT = Measure(
    "sharpness_kept", "picture", _sharpness_kept, "a face says more, or a smear could not be told from a style",
    unit="of its source's", better="higher", needs=("source",),
)  # fmt: skip
"""How sharp a turned head without a face to measure is beside its source: one that is smeared keeps little."""

ARTEFACT = Measure(
    "artefact", "face", _artefact, "no face in the edit or in its source, or a style edit",
    unit=SHARE, better="lower", needs=("source",),
)  # fmt: skip
"""Whether an edit blurred the face."""

EDIT_DONE = Measure(
    "edit_done", "picture", _edit_done,
    "only a person can say, or whoever drew the source", unit=SHARE, better="higher", needs=("source",),
)  # fmt: skip

UNCHANGED = Measure("unchanged", "picture", _unchanged, unit=SHARE, better="lower", needs=("source",))
"""Whether an edit is its source again, though something else was asked."""

COLOUR_CHANGE = Measure(
    "colour_change", "picture", lambda seen, source: quality.colour_distance(source.image, seen.image),
    unit="Delta E 1976", needs=("source",), form=".1f",
)  # fmt: skip
"""How far an edit's colours lie from its source's."""

COLOUR_DIFFERENCE = Measure(
    "colour_difference", "picture", _colour_difference,
    unit="Delta E 1976", better="lower", needs=("target",), form=".1f",
)  # fmt: skip
"""How far a picture's colours lie from its target's."""

DIVERSITY = Measure(
    "diversity", "set", lambda pictures: quality.diversity([seen.image for seen in pictures]),
    "fewer than two pictures", unit="Delta E 1976", better="higher", form=".1f",
)  # fmt: skip
"""The mean colour difference between the pictures of a set."""

VALIDATION_LOSS = Measure(
    "validation_loss", "LoRA", lambda trained: trained.validation_loss(), "nothing is held out",
    better="lower", form=".3f",
)  # fmt: skip
"""The loss on held-out pictures, at fixed noise."""

MEASURES = (
    FACES_FOUND, FACE_FOUND, FACE_DISTANCE, HELD_OUT_FACE_DISTANCE, RECOGNISED, SHARPNESS, FACE_SHARPNESS, EXPOSURE,
    SHARPNESS_KEPT, ARTEFACT, EDIT_DONE, UNCHANGED, COLOUR_CHANGE, COLOUR_DIFFERENCE, DIVERSITY, VALIDATION_LOSS,
)  # fmt: skip
