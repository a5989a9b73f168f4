"""What a review knows and does, whatever shows it: the pictures, the decisions on them, undo, corrections, progress.

The journal is read again before and after every change, because another window, kernel or run may have written to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from flenlib.dataset import corrected, journal
from flenlib.dataset.images import sha256
from flenlib.dataset.journal import Decision, Journal
from flenlib.dataset.records import LABELS, NOT_MEASURED, Dataset, ImageRecord
from flenlib.review import agreement, gaps, order, pairs
from flenlib.review.order import FACE_DISTANCE, THRESHOLD, View
from flenlib.review.steps import Steps, same

REASONS = {
    "d": "different person", "a": "anatomy", "h": "hands", "e": "expression", "t": "texture or artefact",
    "b": "blurred", "l": "light", "k": "background", "o": "outfit or hair", "w": "not what was asked",
}  # fmt: skip
"""The reasons that have a letter of their own."""

BREAK_SECONDS = 180.0
"""A longer pause between two decisions is a break, and no part of the time a picture takes."""


@dataclass
class Answer:
    """What came of a request: the pictures it concerns, what to say, and which were refused and why."""

    names: list[str] = field(default_factory=list)
    said: str = ""
    refused: dict[str, str] = field(default_factory=dict)

    def with_more(self, names: Sequence[str]) -> Answer:
        """Return this answer with the pictures that others have changed after its own."""
        self.names = list(dict.fromkeys([*self.names, *names]))
        return self


class Desk:
    """The pictures of one review, and the decisions on them.

    ``records`` are the pictures to review (default: all of the dataset), ``sources`` the datasets their parents are
    found in. With ``have``, the pictures there are already, the review is strict: it shows what they lack, and
    ``target`` says how many to pick. ``person`` is who decides; the labels of a policy only count as suggestions.
    """

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
        seed: int = 0,
    ) -> None:
        self.dataset, self.journal, self.person, self.seed = dataset, journal, person, seed
        self.have, self.target = have, target
        self.records = {r.filename: r for r in (dataset.images if records is None else records)}
        self.parents = {p.sha256: (s, p) for s in sources for p in s.images}
        self.comparisons = pairs.Comparisons(journal.path.with_name("pairs.jsonl"))
        self.decided: dict[str, Decision] = {}
        self.suggested: dict[str, Decision] = {}
        self.opinions: dict[str, Decision] = {}
        self.refresh()
        self.steps = {
            False: Steps(journal, filter(self._is_mine, self.decided.values())),
            True: Steps(journal, self.opinions.values()),
        }  # of labels, and of second opinions

    def refresh(self) -> Answer:
        """Read the journal again and return the pictures whose decision has changed since it was last read.

        Raises ValueError naming file and line for a damaged journal. A line torn by a crash is said and left out.
        """
        before = [self.decided, self.opinions]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = journal.in_force(self.journal, self.dataset)
            opinions = self.journal.opinions()
        shown = {name: d for name, d in found.items() if name in self.records}
        self.decided = {name: d for name, d in shown.items() if d.reviewer != "auto"}
        self.suggested = {name: d for name, d in shown.items() if d.reviewer == "auto"}
        self.opinions = {d.filename: d for d in opinions if d.person == self.person and d.filename in self.records}
        changed: dict[str, None] = {}
        for then, now in zip(before, [self.decided, self.opinions], strict=True):
            changed |= dict.fromkeys(name for name in [*then, *now] if then.get(name) != now.get(name))
        return Answer(list(changed), str(caught[0].message) if caught else "")

    def names(self, view: View) -> list[str]:
        """Return the filenames a view shows, in its order."""
        chosen = [
            record
            for name, record in self.records.items()
            if order.matches(view, record, self.decided.get(name), self.suggested.get(name))
        ]
        ranks = pairs.ranks(list(self.records), self.comparisons.answers()) if view.order == "ranked" else {}
        return [record.filename for record in order.arrange(view, chosen, ranks, self.seed)]

    def second_look(self) -> list[str]:
        """Return the pictures to judge again, blindly."""
        decided = [d for d in self.decided.values() if d.reviewer in ("human", "folder")]
        return agreement.second_look(sorted(decided, key=lambda d: d.filename), self.person, self.seed)

    def picture(self, record: ImageRecord, dataset: Dataset | None = None) -> Path:
        """Return where a picture lies. Raises FileNotFoundError or ValueError when it is gone or no longer the same."""
        path = (dataset or self.dataset).path(record)
        if not path.is_file():
            raise FileNotFoundError(f"{record.filename} is gone from {path.parent}; put it back and press reload")
        if record.sha256 and sha256(path) != record.sha256:
            raise ValueError(f"{record.filename} was changed on disk since it was recorded; run the step that made it")
        return path

    def parent(self, record: ImageRecord) -> tuple[Dataset, ImageRecord] | None:
        """Return the source a picture was made from, and its dataset; None when there is none or it is not there."""
        return self.parents.get(record.parent) if record.parent else None

    def decide(
        self,
        names: Sequence[str],
        label: str,
        reasons: Sequence[str] | None = None,
        seen: dict[str, str] | None = None,
        second: bool = False,
    ) -> Answer:
        """Write one label for some pictures, all in one fsynced write, unless a picture is gone or has changed.

        Without ``reasons`` a picture keeps those it has, or was suggested, with the same label. ``seen`` says which
        decision (its date, empty for none) the reviewer was shown, by default the one this desk knew last; where
        another has come in between, that is said. Saying the same again writes nothing. Raises ValueError for an
        unknown label or a damaged journal.
        """
        last = {name: d.when for name, d in self.decided.items()}
        changed = self.refresh().names
        told, answer, met = [], Answer(), []
        for name in dict.fromkeys(names):
            if not self._is_there(name, answer):
                continue
            known = self._known(second).get(name)
            if not second and known and (seen or {}).get(name, last.get(name, "")) != known.when:
                met.append(known)
            like = known if known and known.label == label else None
            mended = {key: getattr(like, key) for key in ("issue", "prompt", "corrected")} if like else {}
            decision = Decision(
                name,
                label,
                tuple(self._reasons(name, label, like, second) if reasons is None else reasons),
                "human",
                sha256=self.records[name].sha256,
                person=self.person,
                second=second,
                **mended,
            )
            if not same(known, decision):
                told.append(decision)
            answer.names.append(name)
        if met:
            who = f"{met[0].label} by {met[0].person or met[0].reviewer}" if len(met) == 1 else "by somebody"
            answer.said = (
                f"{_count(met)} was labelled {who} in another window; your label now counts, u brings theirs back"
            )
        self.steps[second].write(told)
        return answer.with_more(changed + self.refresh().names)

    def correct(
        self,
        name: str,
        issue: str,
        prompt: str,
        content: bytes | None = None,
        given_name: str = "",
        second: bool = False,
    ) -> Answer:
        """Say what is to be corrected on one picture, and keep the corrected picture if there is one.

        Its label becomes ``needs_correction``. Raises ValueError for a corrected picture that cannot be one, in a
        second look, which must not change what is in force, and in a strict review, whose corrections nobody reads.
        """
        if second:
            raise ValueError(
                "a second look gives labels only, so that the first stay blind; go back to correct a picture"
            )
        if self.have is not None:
            raise ValueError("a strict review takes a picture or leaves it; corrections are read from step 1.3 alone")
        changed = self.refresh().names
        record = self._record(name)
        self.picture(record)
        known = self.decided.get(name)
        if known is None or known.label != "needs_correction":
            known = Decision(name, "needs_correction", known.reasons if known else ())
        path = known.corrected if content is None else corrected.store(self.dataset, record, content, given_name)
        decision = replace(
            known, reviewer="human", person=self.person, sha256=record.sha256, when="",
            issue=issue.strip(), prompt=prompt.strip(), corrected=path,
        )  # fmt: skip
        self.steps[False].write([decision])
        answer = Answer([name], f"corrected picture kept as {path}" if content is not None else "")
        return answer.with_more(changed + self.refresh().names)

    def undo(self, second: bool = False) -> Answer:
        """Take back the last decisions made together; what somebody else has decided since stays, and is said.

        Labels and second opinions (``second``) are taken back apart from each other.
        """
        steps = self.steps[second]
        if not steps.done:
            return Answer(said="there is nothing to undo")
        changed = self.refresh().names
        taken, left = steps.undo()
        changed += self.refresh().names
        known = self._known(second)
        steps.took(taken, known)
        answer = Answer([d.filename for d in taken])
        if left:
            first = left[0].filename
            what = f"labelled {known[first].label}" if first in known else "taken back"
            answer.said = f"{_count(left)} was since {what} elsewhere; " + (
                "that was left" if taken else "nothing was undone"
            )
        else:
            answer.said = f"taken back: {_count(taken)} {_word(taken[0].label)}"
        return answer.with_more(changed)

    def redo(self, second: bool = False) -> Answer:
        """Make the decisions taken back last once more, where nothing has changed since."""
        steps = self.steps[second]
        if not steps.undone:
            return Answer(said="there is nothing to redo")
        changed = self.refresh().names
        known, allowed, answer = self._known(second), [], Answer()
        for decision, before in steps.undone[-1]:
            name = decision.filename
            if not same(known.get(name), before):
                what = f"labelled {known[name].label}" if name in known else "taken back"
                answer.refused[name] = f"{name} was since {what} elsewhere and stays so"
            elif self._is_there(name, answer):
                allowed.append(decision)
        steps.redo(allowed)
        answer.names = [decision.filename for decision in allowed]
        if allowed:
            answer.said = f"made again: {_count(allowed)} {_word(allowed[0].label)}"
        return answer.with_more(changed + self.refresh().names)

    def progress(self, second: Sequence[str] = ()) -> dict[str, Any]:
        """Return how far the review is: done, total, counts by label, seconds each and minutes left (0: unknown).

        ``second`` are the pictures of a blind second look, when that is what is going on.
        """
        labels = self.opinions if second else self.decided
        names = list(second) or list(self.records)
        counts = {label: sum(name in labels and labels[name].label == label for name in names) for label in LABELS}
        times = sorted(datetime.fromisoformat(d.when) for d in self.decided.values() if self._is_mine(d) and d.when)
        gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
        gaps = [gap for gap in gaps if gap <= BREAK_SECONDS]
        each = sum(gaps) / len(gaps) if gaps else 0.0
        done = sum(counts.values())
        left = each * (len(names) - done) / 60
        words = [f"{done}/{len(names)}", *(f"{counts[label]} {_word(label)}" for label in LABELS)]
        words += [f"{each:.0f} s each" if each >= 1 else f"{each:.1f} s each"] if each else []
        words += [f"{left:.0f} min left" if left >= 1 else "under a minute left"] if each and done < len(names) else []
        said = agreement.sentence(agreement.agreement(self.dataset, self.journal)) if second else ""
        return {
            "done": done, "total": len(names), "counts": counts, "each": each, "left": left, "words": words,
            "said": said,
        }  # fmt: skip

    def describe(self, name: str, second: bool = False) -> dict[str, Any]:
        """Return what is known of one picture, as plain values; blind in a second look: without its label."""
        record = self._record(name)
        source = self.parent(record)
        decision = self.opinions.get(name) if second else self.decided.get(name)
        suggestion = None if second else self.suggested.get(name)
        limit = record.measurements.get(THRESHOLD)
        return {
            "name": name, "picture": record.sha256 or name, "source": source[1].sha256 if source else "",
            "source_name": source[1].filename if source else "", "kind": order.kind_of(record),
            "distance": record.measurements.get(FACE_DISTANCE, NOT_MEASURED), "threshold": limit,
            "face": order.face(record), "prompt": record.prompt or "", "seed": record.seed, "caption": record.caption,
            "angle": record.angle or "", "expression": record.expression or "",
            "attributes": record.attributes, "decision": _plain(decision), "suggestion": _plain(suggestion),
            "fills": gaps.fills([record], self.have, self._picked()).get(name, []) if self.have is not None else [],
        }  # fmt: skip

    def gaps(self) -> dict[str, Any] | None:
        """Return what a strict review has and lacks, and how many it has picked; None for another review.

        ``words`` says how that compares with the target, ``fills`` what each picture would add to the others.
        """
        if self.have is None:
            return None
        picked = self._picked()
        return {
            "rows": gaps.table(self.have, picked), "picked": len(picked), "target": list(self.target),
            "words": gaps.words(len(picked), self.target),
            "fills": gaps.fills(list(self.records.values()), self.have, picked),
        }  # fmt: skip

    def next_pair(self) -> Answer:
        """Return the two pictures to compare next: among those labelled good."""
        names = [n for n, d in self.decided.items() if d.label == "good"]
        if len(names) < 2:
            return Answer(said="label at least two pictures good: pairs are asked among those")
        pair = pairs.next_pair(sorted(names), self.comparisons.answers())
        return Answer(list(pair)) if pair else Answer(said="every pair has been compared")

    def compare(self, first: str, second: str, won: float) -> None:
        """Keep the answer on a pair: ``won`` is 1 when the first is better, 0 when the second is, 0.5 for a tie."""
        self.comparisons.append(first, second, won, self.person)

    def undo_comparison(self) -> str:
        """Take back the last answer on a pair and say which it was. Raises ValueError when there is none."""
        return "taken back: {} and {}".format(*self.comparisons.undo()[:2])

    def standing(self) -> list[str]:
        """Return the compared pictures, the best first."""
        found = pairs.ranks(list(self.records), self.comparisons.answers())
        return sorted(found, key=found.__getitem__)

    def saved_views(self, name: str = "", view: View | None = None) -> dict[str, dict[str, str]]:
        """Return the saved views by name, after saving ``view`` under ``name`` (or forgetting that one: None)."""
        return order.saved_views(self.journal.path.with_name("views.json"), name, view)

    def _record(self, name: str) -> ImageRecord:
        if name not in self.records:
            raise ValueError(f"{name!r} is not among the {len(self.records)} pictures of this review")
        return self.records[name]

    def _is_there(self, name: str, answer: Answer) -> bool:
        """Say whether a picture can be judged; where it is gone or has changed, refuse it in the answer."""
        try:
            self.picture(self._record(name))
        except (ValueError, OSError) as error:
            answer.refused[name] = str(error)
            return False
        return True

    def _known(self, second: bool) -> dict[str, Decision]:
        return self.opinions if second else self.decided

    def _reasons(self, name: str, label: str, like: Decision | None, second: bool) -> tuple[str, ...]:
        suggestion = None if second else self.suggested.get(name)
        if like is None and suggestion and suggestion.label == label:
            return suggestion.reasons
        return like.reasons if like else ()

    def _is_mine(self, decision: Decision) -> bool:
        return decision.reviewer == "human" and decision.person == self.person

    def _picked(self) -> list[ImageRecord]:
        return [self.records[name] for name, d in self.decided.items() if d.label == "good"]


def _plain(decision: Decision | None) -> dict[str, Any] | None:
    return asdict(decision) if decision else None


def _word(label: str) -> str:
    return {"good": "good", "needs_correction": "fix", "reject": "reject"}[label]


def _count(decisions: Sequence[Decision]) -> str:
    return decisions[0].filename if len(decisions) == 1 else f"{len(decisions)} pictures"
