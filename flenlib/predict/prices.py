"""What an hour of a GPU costs and how long a person looks at a picture: ``prices.yaml``, and a file of the user's."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from flenlib import params
from flenlib.params import Section
from flenlib.params.statements import Day
from flenlib.predict.gpus import GPUS
from flenlib.project import base

OURS = Path(__file__).with_name("prices.yaml")
YOURS = "prices.yaml"
"""The name of the user's own file, beside ``data/`` and ``outputs/``."""


class Price(Section):
    """What an hour of one GPU costs, and where and when that was read."""

    gpu: str = Field(description="a name of flenlib.predict.gpus.GPUS")
    hour: float = Field(ge=0, description="price of an hour")
    source: str = Field(min_length=1, description="where the price was read")
    date: Day = Field(description="when it was read")

    @field_validator("gpu")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in GPUS:
            raise PydanticCustomError("gpu", f"Input should be one of {', '.join(GPUS)}")
        return value


class Person(Section):
    """Seconds a person takes for one picture."""

    curate: float = Field(default=60, ge=0)
    review: float = Field(default=15, ge=0)
    correct: float = Field(default=180, ge=0)


class Prices(Section):
    """The content of a price list."""

    currency: str = "$"
    gpus: list[Price] = Field(default=[])
    person: Person = Person()

    def hour(self, gpu: str) -> float | None:
        """Return the price of an hour of a GPU; None where the list has none."""
        return next((each.hour for each in self.gpus if each.gpu == gpu), None)

    def money(self, amount: float | None) -> str:
        """Return an amount as people write it, under a tenth with two digits that count; ``-``: not known."""
        if amount is None:
            return "-"
        return f"{self.currency}{amount:.2f}" if amount >= 0.1 or not amount else f"{self.currency}{amount:.2g}"


def load(yours: Path | None = None) -> Prices:
    """Return the kit's price list with the user's over it, GPU by GPU.

    ``yours`` defaults to ``prices.yaml`` beside ``data/`` and ``outputs/``, where there is one. Raises ValueError in
    one sentence naming file, entry and value for what is wrong in it.
    """
    yours = yours or base() / YOURS
    ours = params.read(OURS, Prices)
    if not yours.is_file():
        return params.build(Prices, ours)
    theirs = params.read(yours, Prices)
    known, own = params.build(Prices, ours).gpus, params.build(Prices, theirs).gpus
    gpus = {each.gpu: each.model_dump() for each in [*known, *own]}
    return params.build(Prices, [*ours, *theirs, params.Layer(str(yours), {"gpus": list(gpus.values())})])
