"""The review widget: a `Desk` shown in a notebook by anywidget, its pictures sent over the comm as they are asked for.

The browser asks and gets an answer with the number of its question; no picture is a part of the widget's state, so an
executed notebook keeps none. Pictures are read in threads: a label never waits for one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anywidget

from flenlib.dataset.decode import read_picture
from flenlib.dataset.images import open_image, thumbnail
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.measure.face_store import faces_in
from flenlib.measure.measures import MEASURES, Measure
from flenlib.review import order
from flenlib.review.desk import REASONS, Answer, Desk
from flenlib.review.order import View
from flenlib.words import LABELS

BROWSER = Path(__file__).parent / "browser"
SCRIPTS = (
    "words.js", "parts.js", "stage.js", "saves.js", "tiles.js", "correction.js", "single.js", "pairs.js",
    "grid.js", "bars.js", "keys.js", "widget.js",
)  # fmt: skip
"""Parts of one script, in this order; each says what it holds in its first line."""

THUMBNAIL = 256
AS_IT_IS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
"""Formats a browser shows; other pictures are sent to it as PNG."""

MAXIMUM_UPLOAD = 200_000_000

Question = dict[str, Any]
"""What the browser asks: a kind, and what that kind needs, as plain JSON."""

Reply = tuple[dict[str, Any], list[bytes]]


class ReviewWidget(anywidget.AnyWidget):
    """Label pictures by key or mouse; every label is in the journal before it is shown as saved.

    The arguments are those of `Desk`, and ``page_size`` pictures to a page (24 to 48 are shown at once without delay).
    """

    _esm = "\n".join((BROWSER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    _css = BROWSER / "widget.css"

    def __init__(
        self,
        dataset: Dataset,
        journal: Journal,
        records: Sequence[ImageRecord] | None = None,
        *,
        sources: Sequence[Dataset] = (),
        have: Sequence[ImageRecord] | None = None,
        target: tuple[int, int] = (10, 20),
        person: str = "",
        page_size: int = 24,
        seed: int = 0,
        measures: Sequence[Measure] = MEASURES,
    ) -> None:
        super().__init__()
        self.desk = Desk(
            dataset, journal, records, sources=sources, have=have, target=target, person=person, seed=seed,
            measures=measures,
        )  # fmt: skip
        self.page_size = page_size
        self._places = {r.sha256 or r.filename: (dataset, r) for r in self.desk.records.values()}
        self._places |= {sha: place for sha, place in self.desk.parents.items()}
        self._uploads: dict[str, list[bytes]] = {}
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="review")
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        return f"review of {len(self.desk.records)} pictures, {len(self.desk.decided)} decided"

    def _receive(self, _: Any, question: Question, buffers: Sequence[bytes]) -> None:
        """Answer one question of the browser, at once or, where a picture has to be read, from a thread."""
        slow: dict[str, Callable[..., Reply]] = {"thumbnail": self._thumbnail, "full": self._full, "faces": self._faces}
        asked = question["ask"]
        if asked in slow:
            self._readers.submit(self._reply, question["id"], slow[asked], question)
        else:
            self._reply(question["id"], getattr(self, f"_on_{asked}"), question, buffers)

    def _reply(self, number: str, work: Callable[..., Reply], *arguments: Any) -> None:
        try:
            content, buffers = work(*arguments)
        except Exception as error:
            self.send({"to": number, "error": str(error) or type(error).__name__})
            if not isinstance(error, ValueError | OSError):  # a fault of this program: also into the log
                raise
        else:
            self.send({"to": number, **content}, buffers)

    def _on_open(self, question: Question, _: Sequence[bytes]) -> Reply:
        """What a new window needs: the filters' words, and the saved views (none, with a message, when damaged)."""
        records = self.desk.records.values()
        views, said = {}, ""
        try:
            views = self.desk.saved_views()
        except ValueError as error:
            said = str(error)
        reasons = {reason for d in (*self.desk.decided.values(), *self.desk.suggested.values()) for reason in d.reasons}
        return {
            "reasons": REASONS, "labels": list(LABELS), "person": self.desk.person, "page_size": self.page_size,
            "kinds": sorted({order.kind_of(r) for r in records}),
            "known_reasons": sorted({*REASONS.values(), *(r for r in reasons if len(r) < 40)}),
            "views": views, "said": said, "strict": self.desk.have is not None,
            "folder": str(self.desk.dataset.folder), "total": len(records),
        }, []  # fmt: skip

    def _on_view(self, question: Question, _: Sequence[bytes]) -> Reply:
        """The filenames of a view, the dates of the decisions on them, and where the first undecided one is."""
        changed = self.desk.refresh()
        second = bool(question.get("second"))
        names = self.desk.second_look() if second else self.desk.names(View.of(question["view"]))
        decided = self.desk.opinions if second else self.desk.decided
        start = next((place for place, name in enumerate(names) if name not in decided), 0)
        dates = [decided[name].when if name in decided else "" for name in names]
        state = self._state({"second": names if second else ()}, Answer(said=changed.said))
        return state | {"names": names, "dates": dates, "start": start}, []

    def _on_items(self, question: Question, _: Sequence[bytes]) -> Reply:
        return self._state(question, Answer(question["names"])), []

    def _on_decide(self, question: Question, _: Sequence[bytes]) -> Reply:
        given = (question["names"], question["label"], question["reasons"], question.get("seen"))
        return self._state(question, self.desk.decide(*given, second=bool(question.get("second")))), []

    def _on_undo(self, question: Question, _: Sequence[bytes]) -> Reply:
        return self._state(question, self.desk.undo(bool(question.get("second")))), []

    def _on_redo(self, question: Question, _: Sequence[bytes]) -> Reply:
        return self._state(question, self.desk.redo(bool(question.get("second")))), []

    def _on_look(self, question: Question, _: Sequence[bytes]) -> Reply:
        """Whatever another window, kernel or run has decided since this one was last asked."""
        return self._state(question, self.desk.refresh()), []

    def _on_upload(self, question: Question, buffers: Sequence[bytes]) -> Reply:
        """One part of a corrected picture; a message to a notebook server may not be larger than 10 MiB."""
        parts = self._uploads.setdefault(question["upload"], [])
        parts.append(bytes(buffers[0]))
        if sum(map(len, parts)) > MAXIMUM_UPLOAD:
            del self._uploads[question["upload"]]
            raise ValueError(
                f"the file is over {MAXIMUM_UPLOAD // 10**6} MB; save the corrected picture as PNG or JPEG"
            )
        return {}, []

    def _on_correct(self, question: Question, _: Sequence[bytes]) -> Reply:
        parts = self._uploads.pop(question.get("upload", ""), None)
        content = b"".join(parts) if parts is not None else None
        given = (question["name"], question["issue"], question["prompt"])
        answer = self.desk.correct(*given, content, question.get("file", ""), second=bool(question.get("second")))
        return self._state(question, answer), []

    def _on_save_view(self, question: Question, _: Sequence[bytes]) -> Reply:
        view = View.of(question["view"]) if question["view"] else None
        return {"views": self.desk.saved_views(question["name"], view)}, []

    def _on_pair(self, question: Question, _: Sequence[bytes]) -> Reply:
        """Keep the answer on a pair, if one is given or taken back, and say which pair is next."""
        said = ""
        if question.get("won") is not None:
            first, second = question["pair"]
            self.desk.compare(first, second, question["won"])
        elif question.get("undo"):
            said = self.desk.undo_comparison()
        answer = self.desk.next_pair()
        more = {"pair": answer.names, "standing": self.desk.standing(), "count": len(self.desk.compared())}
        return self._state({}, Answer(answer.names, said or answer.said)) | more, []

    def _state(self, question: Question, answer: Answer) -> dict[str, Any]:
        """What an answer comes to: its pictures and those of the ``page`` that the browser wants again.

        In a ``second`` look the pictures are blind; the question then names all that are looked at again.
        """
        second = question.get("second", ())
        names = dict.fromkeys([*answer.names, *question.get("page", ())])
        return {
            "items": [self.desk.describe(name, bool(second)) for name in names], "changed": answer.names,
            "said": answer.said, "refused": answer.refused, "second": bool(second),
            "progress": self.desk.progress(second), "gaps": self.desk.gaps(),
        }  # fmt: skip

    def _path(self, question: Question) -> Path:
        if question["picture"].startswith("corrected/"):
            folder = self.desk.dataset.folder
            path = (folder / question["picture"]).resolve()
            if not path.is_relative_to((folder / "corrected").resolve()):
                raise ValueError(f"{question['picture']!r} is not a corrected picture of this dataset")
            return path
        dataset, record = self._places[question["picture"]]
        return self.desk.picture(record, dataset)

    def _thumbnail(self, question: Question) -> Reply:
        return {"type": "image/jpeg"}, [thumbnail(self._path(question), THUMBNAIL)]

    def _full(self, question: Question) -> Reply:
        path = self._path(question)
        picture = open_image(path)  # so that a damaged one gives a message and no half picture
        kind = AS_IT_IS.get(read_picture(path, lambda image: image.format) or "")
        if kind:
            return {"type": kind, "size": picture.size}, [path.read_bytes()]
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return {"type": "image/png", "size": picture.size}, [buffer.getvalue()]

    def _faces(self, question: Question) -> Reply:
        path = self._path(question)
        return {"boxes": [face.box for face in faces_in([path])[0]], "size": open_image(path).size}, []
