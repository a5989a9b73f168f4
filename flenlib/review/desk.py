"""What a review knows and does, whatever shows it: the pictures, the decisions on them, undo, corrections, progress.

What is new in the journal is read before and after every change, because another window, kernel or run may have
written to it; what a decision costs does not grow with the number of pictures.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flenlib.dataset import corrected
from flenlib.dataset.images import sha256
from flenlib.dataset.journal import Decision, Journal
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.measure.measures import MEASURES, Measure
from flenlib.review import agreement, described, gaps, order, pairs, progress
from flenlib.review.order import View
from flenlib.review.undo import Answer, Steps, same

REASONS = {
    "d": "different person", "a": "anatomy", "h": "hands", "e": "expression", "t": "texture or artefact",
    "b": "blurred", "l": "light", "k": "background", "o": "outfit or hair", "w": "not what was asked",
}  # fmt: skip
"""The reasons that have a letter of their own."""


class Desk:
    """The pictures of one review, and the decisions on them.

    ``records`` are the pictures to review (default: all of the dataset), ``sources`` the datasets their parents are
    found in. With ``have``, the pictures there are already, the review is strict: it shows what they lack, and
    ``target`` says how many to pick. ``person`` is who decides; the labels of a policy only count as suggestions.
    ``measures`` are shown where a picture has them.
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
        measures: Sequence[Measure] = MEASURES,
    ) -> None:
        self.dataset, self.journal, self.person, self.seed = dataset, journal, person, seed
        self.measures = measures
        self.have, self.target = have, target
        self.had = gaps.counts(have or ())
        self.records = {r.filename: r for r in (dataset.images if records is None else records)}
        self.parents = {p.sha256: (s, p) for s in sources for p in s.images}
        digests = {name: record.sha256 for name, record in self.records.items()}
        self.comparisons = pairs.Comparisons(journal.path.with_name("pairs.jsonl"), digests, person)
        self.decided: dict[str, Decision] = {}
        self.suggested: dict[str, Decision] = {}
        self.opinions: dict[str, Decision] = {}
        self._counts, self._new = Counter[str](), Counter[gaps.Place]()  # of the labels, and of what is picked
        self._paces = {False: progress.Pace(), True: progress.Pace()}
        self._read = 0  # changes of the journal seen so far
        self.refresh()
        self.steps = {
            False: Steps(journal, filter(self._is_mine, self.decided.values())),
            True: Steps(journal, self.opinions.values()),
        }  # of labels, and of second opinions

    def refresh(self) -> Answer:
        """Read the journal again and return the pictures whose decision has changed since it was last read.

        Raises ValueError naming file and line for a damaged journal. A line torn by a crash is left out with a message.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._read, keys = self.journal.changes(self._read)
        changed = []
        for name, opinion_of in dict.fromkeys(keys):
            if name not in self.records:
                continue
            now = self.journal.last(name, self.records[name].sha256, opinion_of)
            if not opinion_of:
                automatic = now is not None and now.reviewer == "auto"
                self.suggested |= {name: now} if automatic else {}
                if not automatic:
                    self.suggested.pop(name, None)
                said = self._settle(False, name, None if automatic else now)
            else:
                said = opinion_of == (self.person or "human") and self._settle(True, name, now)
            changed += [name] if said else []
        return Answer(list(dict.fromkeys(changed)), str(caught[0].message) if caught else "")

    def names(self, view: View) -> list[str]:
        """Return the filenames a view shows, in its order."""
        chosen = [
            record
            for name, record in self.records.items()
            if order.matches(view, record, self.decided.get(name), self.suggested.get(name))
        ]
        ranks = pairs.ranks(list(self.records), self.compared()) if view.order == "ranked" else {}
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
        decision (its date, empty for none) the reviewer was shown, by default the one this desk knew last; a
        decision made in between is reported. Giving the same label again writes nothing. Raises ValueError for an
        unknown label or a damaged journal.
        """
        last = {name: self.decided[name].when for name in names if name in self.decided}
        changed = self.refresh().names
        decisions, answer, met = [], Answer(), []
        for name in dict.fromkeys(names):
            if refused := self._refusal(name):
                answer.refused[name] = refused
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
                decisions.append(decision)
            answer.names.append(name)
        if len(met) == 1:
            who = f"{met[0].label} by {met[0].person or met[0].reviewer} in another window"
            answer.said = f"{met[0].filename} was labelled {who}; your label now counts, u brings theirs back"
        elif met:
            what = f"{len(met)} pictures were labelled by somebody else in another window"
            answer.said = f"{what}; your labels now count, u brings theirs back"
        self.steps[second].write(decisions)
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
        """Take back the last decisions made together; what somebody else has decided since stays, with a message.

        Labels and second opinions (``second``) are taken back apart from each other.
        """
        changed = self.refresh().names

        def now() -> dict[str, Decision]:
            changed.extend(self.refresh().names)
            return self._known(second)

        return self.steps[second].undo(now).with_more(changed)

    def redo(self, second: bool = False) -> Answer:
        """Make the decisions taken back last once more, where nothing has changed since."""
        changed = self.refresh().names
        answer = self.steps[second].redo(self._known(second), self._refusal)
        return answer.with_more(changed + self.refresh().names)

    def progress(self, second: Sequence[str] = ()) -> dict[str, Any]:
        """Return how far the review is: done, total, counts by label, seconds each and minutes left (0: unknown).

        ``second`` are the pictures of a blind second look, when that is what is going on.
        """
        counts, total = self._counts, len(second) or len(self.records)
        if second:
            counts = Counter(self.opinions[name].label for name in second if name in self.opinions)
        found = progress.of(total, counts, self._paces[bool(second)].each)
        said = agreement.sentence(agreement.agreement(self.dataset, self.journal)) if second else ""
        return found | {"said": said}

    def describe(self, name: str, second: bool = False) -> dict[str, Any]:
        """Return what is known of one picture, as plain values; blind in a second look: without its label."""
        record = self._record(name)
        known = self._known(second).get(name)
        suggestion = None if second else self.suggested.get(name)
        facts = described.describe(record, self.parent(record), known, suggestion, self.measures)
        return facts | {"fills": self._fills(record)}

    def gaps(self) -> dict[str, Any] | None:
        """Return what a strict review has and lacks, and how many it has picked; None for another review.

        ``words`` says how that compares with the target.
        """
        if self.have is None:
            return None
        picked = self._counts["good"]
        return {
            "rows": gaps.table(self.had, self._new), "picked": picked, "target": list(self.target),
            "words": gaps.words(picked, self.target),
        }  # fmt: skip

    def next_pair(self) -> Answer:
        """Return the two pictures to compare next: among those labelled good."""
        names = [n for n, d in self.decided.items() if d.label == "good"]
        if len(names) < 2:
            return Answer(said="label at least two pictures good: pairs are asked among those")
        pair = pairs.next_pair(sorted(names), self.compared())
        return Answer(list(pair)) if pair else Answer(said="every pair has been compared")

    def compare(self, first: str, second: str, won: float) -> None:
        """Keep the answer on a pair: ``won`` is 1 when the first is better, 0 when the second is, 0.5 for a tie."""
        self.comparisons.append(first, second, won)

    def undo_comparison(self) -> str:
        """Take back the reviewer's own last answer on a pair and say which it was. Raises ValueError for none."""
        return "taken back: {} and {}".format(*self.comparisons.undo()[:2])

    def compared(self) -> list[pairs.Answer]:
        """Return the answers on pictures of this review as they are now."""
        return self.comparisons.answers()

    def standing(self) -> list[str]:
        """Return the compared pictures, the best first."""
        found = pairs.ranks(list(self.records), self.compared())
        return sorted(found, key=found.__getitem__)

    def saved_views(self, name: str = "", view: View | None = None) -> dict[str, dict[str, str]]:
        """Return the saved views by name, after saving ``view`` under ``name`` (or forgetting that one: None)."""
        return order.saved_views(self.journal.path.with_name("views.json"), name, view)

    def _record(self, name: str) -> ImageRecord:
        if name not in self.records:
            raise ValueError(f"{name!r} is not among the {len(self.records)} pictures of this review")
        return self.records[name]

    def _refusal(self, name: str) -> str:
        """Say why a picture cannot be judged: it is gone or has changed; empty when it can."""
        try:
            self.picture(self._record(name))
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def _known(self, second: bool) -> dict[str, Decision]:
        return self.opinions if second else self.decided

    def _reasons(self, name: str, label: str, like: Decision | None, second: bool) -> tuple[str, ...]:
        suggestion = None if second else self.suggested.get(name)
        if like is None and suggestion and suggestion.label == label:
            return suggestion.reasons
        return like.reasons if like else ()

    def _is_mine(self, decision: Decision) -> bool:
        return decision.reviewer == "human" and decision.person == self.person

    def _settle(self, second: bool, name: str, now: Decision | None) -> bool:
        """Take in the decision now in force on a picture and return whether it is another than before."""
        known = self._known(second)
        before = known.pop(name, None)
        known |= {name: now} if now else {}
        for decision, sign in ((before, -1), (now, 1)):
            if decision is None:
                continue
            if self._is_mine(decision):
                (self._paces[second].add if sign == 1 else self._paces[second].drop)(decision)
            if not second:
                self._counts[decision.label] += sign
            if not second and decision.label == "good":
                for place in gaps.counts([self.records[name]]):
                    self._new[place] += sign
        return before != now

    def _fills(self, record: ImageRecord) -> list[str]:
        if self.have is None:
            return []
        decision = self.decided.get(record.filename)
        return gaps.fills(record, self.had, self._new, decision is not None and decision.label == "good")
