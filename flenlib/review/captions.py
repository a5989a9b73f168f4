"""What a caption editor knows and does, whatever shows it: proposals of the rules, changes in a journal, undo.

A change is in ``captions.jsonl`` beside the pictures before it is in ``metadata.json``, with the caption before it, so
that nothing anybody wrote is lost. Changes made together are one line, and one step of undo.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from flenlib.content import Refused, allow
from flenlib.dataset import caption_lint, captions
from flenlib.dataset.caption_lint import Captioned, Finding, Tokens
from flenlib.dataset.lines import Lines, parse
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.params import Captions, Character
from flenlib.review.undo import Answer

JOURNAL = "captions.jsonl"


class CaptionDesk:
    """The captions of a dataset, what is wrong with them, and the changes made to them."""

    def __init__(self, dataset: Dataset, character: Character, table: Captions, tokens: Tokens | None = None) -> None:
        self.dataset, self.character, self.table, self.tokens = dataset, character, table, tokens
        self.journal = Lines(dataset.folder / JOURNAL)
        self.findings: list[Finding] = []
        self.check()

    def check(self) -> None:
        """Look at all captions anew."""
        seen = [Captioned.of(record) for record in self.dataset.images]
        self.findings = caption_lint.lint(seen, self.character, self.table, self.tokens)

    def names(self, faulty: bool = False) -> list[str]:
        """Return the pictures, or those with a finding only."""
        found = {finding.picture for finding in self.findings}
        return [r.filename for r in self.dataset.images if not faulty or r.filename in found]

    def describe(self, name: str) -> dict[str, Any]:
        """Return a picture's caption, what is wrong with it, what is proposed, and the difference, as plain values."""
        record = self.dataset.get(name)
        mine = [finding for finding in self.findings if finding.picture == name]
        proposed = self.proposal(record)
        return {
            "name": name, "caption": record.caption, "proposed": proposed,
            "difference": difference(record.caption, proposed),
            "findings": [{"severity": f.severity, "sentence": f.sentence} for f in mine],
        }  # fmt: skip

    def proposal(self, record: ImageRecord) -> str:
        """Return the caption with every fault mended that a rule can mend; the caption itself where there is none."""
        caption = record.caption
        for _ in range(len(self.findings) + 1):
            seen = Captioned.of(record)
            found = caption_lint.lint([Captioned(**{**vars(seen), "caption": caption})], self.character, self.table)
            fix = next((f.fix for f in found if f.picture and f.fix and f.fix != caption), None)
            if fix is None:
                return caption
            caption = fix
        return caption

    def write(self, changes: Mapping[str, str]) -> Answer:
        """Keep new captions, all in one fsynced line; what the content gate refuses stays as it was, with the reason.

        Raises ValueError for a picture that is not there or a caption that is empty.
        """
        answer, kept = Answer(), []
        for name, caption in changes.items():
            record, caption = self.dataset.get(name), " ".join(caption.split())
            if not caption:
                raise ValueError(f"the caption of {name} is empty; write one, or leave it as it was")
            try:
                allow(self.character, caption, f"caption of {name}")
            except Refused as error:
                answer.refused[name] = str(error)
                continue
            answer.names.append(name)
            if caption != record.caption:
                kept.append({"filename": name, "before": record.caption, "after": caption})
        self._keep(kept, {})
        answer.said = f"{len(kept)} captions changed" if len(kept) != 1 else f"caption of {kept[0]['filename']} changed"
        return answer

    def undo(self) -> Answer:
        """Take back the last changes that were not taken back, where the caption is still what they made it."""
        steps = self._steps()
        if not steps:
            return Answer(said="there is nothing to undo")
        when, changes = steps[-1]
        now = {change["filename"]: self.dataset.find(change["filename"]) for change in changes}
        still = [c for c in changes if now[c["filename"]] and now[c["filename"]].caption == c["after"]]
        back = [{"filename": c["filename"], "before": c["after"], "after": c["before"]} for c in still]
        self._keep(back, {"undoes": when}, always=True)
        left = f"; {len(changes) - len(still)} had been changed since and stay" if len(still) < len(changes) else ""
        return Answer([c["filename"] for c in still], f"taken back: {len(still)} captions{left}")

    def replace(self, find: str, by: str) -> dict[str, str]:
        """Return the captions a replacement would make, by picture; nothing is changed.

        Words are found whole, in any case of letters. Raises ValueError when nothing is to be found.
        """
        if not find.strip():
            raise ValueError("say which words are to be replaced")
        pattern = re.compile(rf"(?<!\w){re.escape(find.strip())}(?!\w)", re.IGNORECASE)
        made = {}
        for record in self.dataset.images:
            text = pattern.sub(lambda _: by.strip(), record.caption)
            text = re.sub(r"(,\s*)+,", ",", re.sub(r"\s+([,.])", r"\1", text)).strip(" ,")
            if text != record.caption:
                made[record.filename] = text
        return made

    def _keep(self, changes: list[dict[str, str]], more: Mapping[str, str], always: bool = False) -> None:
        if not changes and not always:
            return
        with self.journal.lock():
            self.journal.write([{"changes": changes, "when": self.journal.date(), **more}])
        for change in changes:
            record = self.dataset.get(change["filename"])
            record.caption = change["after"]
            captions.write_txt(self.dataset.path(record), record.caption)
            self.dataset.keep(record)
        self.dataset.save()
        self.check()

    def _steps(self) -> list[tuple[str, list[dict[str, str]]]]:
        """Return the changes in force, the last step last."""
        steps: dict[str, list[dict[str, str]]] = {}
        for number, line in enumerate(self.journal.read()[0], start=1):
            for entry in parse(line, f"{self.journal.path} line {number}"):
                if "undoes" in entry:
                    steps.pop(entry["undoes"], None)
                else:
                    steps[entry["when"]] = entry["changes"]
        return list(steps.items())


def difference(before: str, after: str) -> list[tuple[str, str]]:
    """Return both texts as one, in pieces that are ``same``, ``cut`` or ``new``."""
    old, new = (re.findall(r"\s*[^\s,.]+|\s*[,.]", text) for text in (before, after))
    pieces: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(("same", "".join(old[a:b])))
        else:
            pieces += [("cut", "".join(old[a:b]))] * (b > a) + [("new", "".join(new[c:d]))] * (d > c)
    return pieces
