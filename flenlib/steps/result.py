"""What a step came to: a sentence, its criteria, and the typed fields that later steps and reports read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator

from flenlib.steps.criteria import Blocked, Criterion


def _table(rows: Any) -> pd.DataFrame:
    """Return a table as it is, or made of recorded rows, whose first column is its index."""
    if isinstance(rows, pd.DataFrame):
        return rows
    frame = pd.DataFrame(rows)
    return frame.set_index(frame.columns[0]) if len(frame.columns) else frame


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows with its index as first column; a missing number is None."""
    frame = table.reset_index().astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


Table = Annotated[pd.DataFrame, PlainValidator(_table), PlainSerializer(_rows)]
"""A DataFrame with one index column: kept as rows in a step's record, and read back as it was."""


Facts = Mapping[str, Any]
"""What a record keeps of the models that worked: name, hash, precision, LoRAs."""


class StepResult(BaseModel):
    """The base of every step's result. A subclass names its notebook, and adds what later steps read as fields."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    notebook: ClassVar[str]
    """The name of the step's notebook, such as ``12_enrich``, which is also its record's."""

    sentence: str
    criteria: Sequence[Criterion] = ()
    models: Facts = {}

    def check(self, anyway: bool = False) -> Self:
        """Return the result, or raise Blocked for the first blocking criterion that does not hold.

        With ``anyway`` nothing blocks.
        """
        failed = [c for c in self.criteria if c.blocking and not c.holds]
        if failed and not anyway:
            raise Blocked(
                f"{self.notebook} stops here. It needs {failed[0].name}; it found {failed[0].found}. Mend that and run "
                "it again, or set `anyway: true` to go on all the same"
            )
        return self
