"""Labels from a file: a CSV that a person or another program wrote, instead of the review widget."""

from __future__ import annotations

import csv
from pathlib import Path

from flenlib.dataset.journal import Decision
from flenlib.dataset.records import check_label


def read_labels_file(path: str | Path) -> list[Decision]:
    """Read a CSV with the columns filename, label and, if wanted, reasons (separated by semicolons).

    Raises FileNotFoundError, or ValueError naming file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"labels file {path} does not exist; write one with the columns filename,label,reasons")
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"labels file {path} is not a CSV in UTF-8 ({error})") from None
    header = [name.strip() for name in rows[0]] if rows else []
    unknown = [name for name in header if name not in ("filename", "label", "reasons")]
    if unknown or "filename" not in header or "label" not in header:
        raise ValueError(f"labels file {path}, line 1: columns are {header}; they must be filename,label,reasons")
    decisions: dict[str, Decision] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        decision = _from_row(header, row, f"labels file {path}, line {number}")
        if decision.filename in decisions:
            raise ValueError(f"labels file {path}, line {number}: {decision.filename!r} is there twice")
        decisions[decision.filename] = decision
    return list(decisions.values())


def _from_row(header: list[str], row: list[str], where: str) -> Decision:
    if len(row) > len(header):
        raise ValueError(f"{where} has {len(row)} cells for {len(header)} columns; separate reasons by semicolons")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
    if not cells.get("filename"):
        raise ValueError(f"{where} has no filename")
    check_label(cells.get("label", ""), f"{where}: ")
    reasons = tuple(reason.strip() for reason in cells.get("reasons", "").split(";") if reason.strip())
    return Decision(cells["filename"], cells["label"], reasons, "file")
