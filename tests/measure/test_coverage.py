"""Coverage: what a set has, what it lacks, and what is picked to fill it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flenlib.dataset import prompts
from flenlib.measure.coverage import coverage, gaps, pick, value_of


@dataclass
class Picture:
    angle: str | None = "front"
    expression: str | None = "neutral"
    attributes: dict[str, str] = field(default_factory=dict)
    nearness: float = 0.0


def test_values_come_from_the_record_its_attributes_or_what_captions_leave_unsaid():
    picture = Picture(angle=None, attributes={"angle": "back", "light": "sunset"})
    assert value_of(picture, "angle") == "back"
    assert value_of(picture, "light") == "sunset"
    assert value_of(picture, "pose") == "portrait"
    assert value_of(picture, "background") is None


def test_coverage_counts_every_known_value_and_marks_gaps():
    table = coverage([Picture(), Picture(expression="smiling"), Picture(angle=None)])
    counts = table.set_index(["field", "value"])["count"]
    assert list(table[table["field"] == "angle"]["value"]) == [*prompts.ANGLES, "unknown"]
    assert counts["angle", "front"] == 2
    assert counts["angle", "unknown"] == 1
    assert counts["expression", "smiling"] == 1
    assert table.set_index(["field", "value"])["gap"]["angle", "back"]


def test_gaps_are_the_cells_of_the_model_card_nothing_fills():
    assert len(gaps([])) == 23
    missing = gaps([Picture(), Picture(angle="front", attributes={"pose": "t-pose"})])
    assert len(missing) == 21
    assert {"angle": "front", "expression": "neutral", "pose": "portrait"} not in missing
    assert gaps([Picture()], [{"angle": "front"}, {"angle": "back"}]) == [{"angle": "back"}]


def test_pick_fills_gaps_first_and_takes_the_best_of_equals():
    have = [Picture(), Picture()]
    near_but_common = Picture(nearness=0.9)
    good, better = Picture("half-left", "smiling", nearness=0.3), Picture("half-left", "smiling", nearness=0.5)
    other = Picture("back", "sad", nearness=0.1)
    picked = pick([near_but_common, good, better, other], have, 3, score=lambda picture: picture.nearness)
    assert picked == [better, other, good]
    assert len(pick([good], have, 5, score=lambda picture: picture.nearness)) == 1


def test_pick_takes_pictures_of_unknown_angle_last():
    unknown = Picture(angle=None, nearness=0.9)
    assert pick([unknown, Picture()], [Picture()], 1, score=lambda picture: picture.nearness) == [Picture()]
