"""The caption editor: a `CaptionDesk` shown in a notebook by anywidget, on the review widget's parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anywidget

from flenlib.dataset.caption_lint import Tokens
from flenlib.dataset.images import thumbnail
from flenlib.dataset.records import Dataset
from flenlib.params import Captions, Character
from flenlib.review.captions import CaptionDesk, difference
from flenlib.review.undo import Answer
from flenlib.review.widget import BROWSER, Question, Reply

SIZE = 512
"""The longer side of a picture beside its caption, in pixels."""


class CaptionWidget(anywidget.AnyWidget):
    """Mend captions by key; a change is on disk before it is shown as saved. The arguments are those of `CaptionDesk`.

    Enter accepts what the rules propose, e edits, u takes back, arrows go on; words can be replaced in all captions
    after a preview.
    """

    _esm = "\n".join((BROWSER / name).read_text(encoding="utf-8") for name in ("parts.js", "captions.js"))
    _css = "\n".join((BROWSER / name).read_text(encoding="utf-8") for name in ("widget.css", "captions.css"))

    def __init__(self, dataset: Dataset, character: Character, table: Captions, tokens: Tokens | None = None) -> None:
        super().__init__()
        self.desk = CaptionDesk(dataset, character, table, tokens)
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        return f"captions of {len(self.desk.dataset.images)} pictures, {len(self.desk.findings)} findings"

    def _receive(self, _: Any, question: Question, buffers: Sequence[bytes]) -> None:
        try:
            content, answer = getattr(self, f"_on_{question['ask']}")(question)
        except (ValueError, OSError, KeyError) as error:
            self.send({"to": question["id"], "error": str(error) or type(error).__name__})
        else:
            self.send({"to": question["id"], **content}, answer)

    def _on_view(self, question: Question) -> Reply:
        everything = [{"severity": f.severity, "sentence": f.sentence} for f in self.desk.findings if not f.picture]
        faulty = self.desk.names(faulty=True)
        names = faulty if question.get("faulty") else self.desk.names()
        return {"names": names, "faulty": len(faulty), "of_all": everything}, []

    def _on_item(self, question: Question) -> Reply:
        return self.desk.describe(question["name"]), []

    def _on_thumbnail(self, question: Question) -> Reply:
        path = self.desk.dataset.path(self.desk.dataset.get(question["picture"]))
        return {"type": "image/jpeg"}, [thumbnail(path, SIZE)]

    def _on_write(self, question: Question) -> Reply:
        return self._said(self.desk.write(question["changes"])), []

    def _on_undo(self, question: Question) -> Reply:
        return self._said(self.desk.undo()), []

    def _on_replace(self, question: Question) -> Reply:
        made = self.desk.replace(question["find"], question["by"])
        shown = {name: difference(self.desk.dataset.get(name).caption, text) for name, text in made.items()}
        return {"changes": made, "differences": shown}, []

    def _said(self, answer: Answer) -> dict[str, Any]:
        return {"said": "; ".join([answer.said, *answer.refused.values()]), "changed": answer.names}
