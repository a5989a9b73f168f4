"""Agreement and pairwise ranking against values worked out by hand."""

import pytest

from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.review import agreement, pairs


def test_kappa():
    # 50 pictures, yes/no: 20 both yes, 15 both no, 5 and 10 apart: observed 0.7, expected 0.5, kappa 0.4
    first = ["good"] * 20 + ["reject"] * 15 + ["good"] * 5 + ["reject"] * 10
    second = ["good"] * 20 + ["reject"] * 15 + ["reject"] * 5 + ["good"] * 10
    assert agreement.cohens_kappa(first, second) == pytest.approx(0.4)
    assert agreement.cohens_kappa(["good", "reject"], ["good", "reject"]) == 1
    assert agreement.cohens_kappa(["good"] * 3, ["good"] * 3) is None and agreement.cohens_kappa([], []) is None


def test_agreement_of_two_people_and_of_one_with_oneself(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    dataset.images = [ImageRecord(name, sha256=name) for name in "abcd"]
    journal = Journal(tmp_path / "journal.jsonl")
    assert agreement.sentence(agreement.agreement(dataset, journal)).startswith("nobody has looked twice")
    for name, first, second in zip(
        "abcd", ("good", "good", "reject", "reject"), ("good",) * 3 + ("reject",), strict=True
    ):
        journal.append(name, first, sha256=name, person="ann")
        journal.append(name, second, sha256=name, person="bob", second=True)
    journal.append("a", "good", sha256="a", person="ann", second=True)
    journal.append("b", "reject", sha256="since replaced", person="ann", second=True)
    table = agreement.agreement(dataset, journal)
    assert table.loc["ann and bob", ["pictures", "agreed", "kappa"]].tolist() == [4, 0.75, 0.5]
    assert table.loc["ann and bob", "differ"] == "c: reject / good"
    assert table.loc["ann, looking twice", "pictures"] == 1
    assert "ann and bob: 75% of 4 pictures the same, kappa 0.50" in agreement.sentence(table)
    assert "kappa not defined" in agreement.sentence(table)


def test_bradley_terry_finds_the_strengths_that_explain_the_answers():
    answers = [("a", "b", 1.0)] * 300 + [("b", "a", 1.0)] * 100  # a wins three of four
    found = pairs.strengths(["a", "b"], answers)
    assert found["a"] / found["b"] == pytest.approx(3, rel=0.02)
    chain = [("a", "b", 1.0), ("b", "c", 1.0), ("c", "d", 0.5)]
    assert pairs.ranks("dcba", chain) == {"a": 1, "b": 2, "d": 3, "c": 4}  # d has lost to nobody
    assert pairs.strengths(["x", "y"], []) == {"x": 1, "y": 1} and pairs.ranks("xy", []) == {}


def test_the_least_compared_is_asked_next_and_no_pair_twice():
    answers = [("a", "b", 1.0), ("b", "c", 0.0)]
    assert set(pairs.next_pair("abcd", answers)) >= {"d"}
    asked = []
    while pair := pairs.next_pair("abcd", asked):
        asked.append((*pair, 1.0))
    assert len({frozenset(answer[:2]) for answer in asked}) == 6 == len(asked)
    assert pairs.next_pair("a", []) is None


def test_answers_are_kept_undone_and_survive_a_crash(tmp_path):
    kept = pairs.Comparisons(tmp_path / "pairs.jsonl")
    with pytest.raises(ValueError, match="there is no comparison to undo"):
        kept.undo()
    kept.append("a", "b", 1, "ann")
    kept.append("b", "c", 0.5)
    assert kept.undo() == ("b", "c", 0.5) and kept.answers() == [("a", "b", 1.0)]
    with kept.path.open("a") as file:
        file.write('{"pair": ["a"')
    assert kept.answers() == [("a", "b", 1.0)]
    kept.append("c", "a", 0)
    assert kept.answers() == [("a", "b", 1.0), ("c", "a", 0.0)]
    with pytest.raises(ValueError, match="must be on two pictures"):
        kept.append("a", "a", 1)
    kept.path.write_text('{"pair"}\n' + kept.path.read_text())
    with pytest.raises(ValueError, match="line 1 is damaged"):
        kept.answers()
