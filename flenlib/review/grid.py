"""A plain grid of ipywidgets for labelling: it only collects decisions; applying them is another cell."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

import ipywidgets as widgets
from IPython.display import display

from flenlib.dataset.images import thumbnail
from flenlib.dataset.journal import Journal, in_force
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord

LABELS = {"good": "good", "needs_correction": "fix", "reject": "reject"}
COLOURS = {"good": "#2a9d4a", "needs_correction": "#d08a00", "reject": "#c0392b"}


class ReviewGrid:
    """A paged grid of pictures with a label and a reason for each; every click is on disk before it is shown.

    The worst face distance comes first, so that attention goes where it is needed.
    """

    def __init__(
        self,
        dataset: Dataset,
        journal: Journal,
        records: Sequence[ImageRecord] | None = None,
        *,
        page_size: int = 24,
        columns: int = 6,
        reviewer: str = "human",
        source_of: Callable[[ImageRecord], bytes | None] = lambda record: None,
    ) -> None:
        self.dataset, self.journal, self.reviewer, self.source_of = dataset, journal, reviewer, source_of
        self.records = sorted(records if records is not None else dataset.images, key=_worst_first)
        self.page_size, self.page = page_size, 0
        self.decided = in_force(journal, dataset)
        self.progress = widgets.HTML()
        self.cells = widgets.GridBox(
            layout=widgets.Layout(grid_template_columns=f"repeat({columns}, 150px)", gap="8px")
        )
        back, forward = widgets.Button(description="previous page"), widgets.Button(description="next page")
        back.on_click(lambda _: self.turn(-1))
        forward.on_click(lambda _: self.turn(1))
        self.box = widgets.VBox([widgets.HBox([back, forward, self.progress]), self.cells])
        self.turn(0)

    @property
    def pages(self) -> int:
        """The number of pages, at least 1."""
        return max(1, math.ceil(len(self.records) / self.page_size))

    def turn(self, by: int) -> None:
        """Show another page; beyond the ends it stays."""
        self.page = min(max(self.page + by, 0), self.pages - 1)
        start = self.page * self.page_size
        self.cells.children = [self._cell(r) for r in self.records[start : start + self.page_size]]
        self._show_progress()

    def decide(self, record: ImageRecord, label: str, reason: str = "") -> None:
        """Write one decision to the journal (fsynced) and then show it."""
        self.journal.append(record.filename, label, (reason,) if reason else (), self.reviewer, sha256=record.sha256)
        self.decided = in_force(self.journal, self.dataset)
        self._show_progress()

    def _cell(self, record: ImageRecord) -> widgets.Widget:
        known = self.decided.get(record.filename)
        pictures = [thumbnail(self.dataset.path(record), 128)]
        source = self.source_of(record)
        if source:
            pictures.insert(0, source)
        images = widgets.HBox([widgets.Image(value=p, width=128 // len(pictures)) for p in pictures])
        choice = widgets.ToggleButtons(
            options=[(word, label) for label, word in LABELS.items()],
            value=known.label if known else None,
            style={"button_width": "44px"},
        )
        reason = widgets.Text(
            value="; ".join(known.reasons) if known else "", placeholder="why", layout=widgets.Layout(width="142px")
        )
        choice.observe(lambda change: change.new and self.decide(record, change.new, reason.value), "value")
        reason.observe(lambda change: choice.value and self.decide(record, choice.value, change.new), "value")
        reason.continuous_update = False
        return widgets.VBox([images, widgets.HTML(_facts(record)), choice, reason])

    def _show_progress(self) -> None:
        counts = {label: 0 for label in LABELS}
        names = {r.filename for r in self.records}
        for name, decision in self.decided.items():
            if name in names:
                counts[decision.label] += 1
        parts = [f"<b style='color:{COLOURS[label]}'>{counts[label]} {LABELS[label]}</b>" for label in LABELS]
        done = sum(counts.values())
        self.progress.value = (
            f"page {self.page + 1} of {self.pages} &middot; {done}/{len(self.records)} decided: {', '.join(parts)}"
        )

    def show(self) -> None:
        """Display the grid in a notebook."""
        display(self.box)


def _worst_first(record: ImageRecord) -> tuple[float, str]:
    found = record.measurements.get("face_distance", NOT_MEASURED)
    return (math.inf if found == NOT_MEASURED else -float(found), record.filename)


def _facts(record: ImageRecord) -> str:
    found = record.measurements.get("face_distance", NOT_MEASURED)
    limit = record.measurements.get("threshold")
    distance = found if found == NOT_MEASURED else f"face {float(found):.2f} / {float(limit):.2f}"
    text = f"{html.escape(record.filename[:24])}<br>{distance}"
    return f"<div style='line-height:1.2;font-size:11px' title='{html.escape(record.prompt or '')}'>{text}</div>"
