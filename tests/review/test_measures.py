"""Agreement and pairwise ranking against values worked out by hand."""

from itertools import pairwise

import pytest

from flenlib.dataset.journal import Decision, Journal
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


def test_what_was_drawn_for_a_second_look_stays_drawn_when_more_is_labelled():
    decided = [Decision(f"p{n:02d}.png", "good", person="ann") for n in range(40)]
    looks = [agreement.second_look(decided[:count], "ann", seed=0) for count in range(40)]
    assert [len(look) for look in looks[:16]] == [0] + [1] * 14 + [2] and len(looks[-1]) == 4
    kept = [len(set(a) & set(b)) / len(a) for a, b in pairwise(looks[1:])]
    assert sum(share == 1 for share in kept) > 30  # a picture drawn later takes the place of one now and then
    others = agreement.second_look(decided, "bob", seed=0)
    assert sorted(others) == [d.filename for d in decided] != others


def test_bradley_terry_finds_the_strengths_that_explain_the_answers():
    answers = [("a", "b", 1.0)] * 300 + [("b", "a", 1.0)] * 100  # a wins three of four
    found = pairs.strengths(answers)
    assert found["a"] / found["b"] == pytest.approx(3, rel=0.02)
    chain = [("a", "b", 1.0), ("b", "c", 1.0), ("c", "d", 0.5)]
    assert pairs.ranks("dcba", chain) == {"a": 1, "b": 2, "d": 3, "c": 4}  # d has lost to nobody
    assert pairs.strengths([]) == {} == pairs.ranks("xy", [])
    even = pairs.strengths([("a", "b", 1.0), ("b", "c", 1.0), ("c", "a", 1.0)])
    assert even == pytest.approx({"a": 1, "b": 1, "c": 1})  # as strong as one never compared


def test_a_long_list_is_ranked_by_what_was_compared_alone():
    names = [f"p{n}" for n in range(1000)]
    answers = [(f"p{n}", f"p{n + 1}", 1.0) for n in range(0, 20, 2)]
    assert len(pairs.strengths(answers)) == 20 == len(pairs.ranks(names, answers))
    first, second = pairs.next_pair(names, answers)
    assert {first, second} == {"p20", "p21"}  # never compared, and nearest: neither was the other


def test_the_least_compared_is_asked_next_and_no_pair_twice():
    answers = [("a", "b", 1.0), ("b", "c", 0.0)]
    assert set(pairs.next_pair("abcd", answers)) >= {"d"}
    asked = []
    while pair := pairs.next_pair("abcd", asked):
        asked.append((*pair, 1.0))
    assert len({frozenset(answer[:2]) for answer in asked}) == 6 == len(asked)
    assert pairs.next_pair("a", []) is None


def stands(kept):
    return [answer[:3] for answer in kept.answers()]


def test_answers_are_kept_undone_and_survive_a_crash(tmp_path):
    kept = pairs.Comparisons(tmp_path / "pairs.jsonl", dict.fromkeys("abc", ""), "ann")
    with pytest.raises(ValueError, match="there is no answer of yours to undo"):
        kept.undo()
    kept.append("a", "b", 1)
    kept.append("b", "c", 0.5)
    assert kept.undo()[:3] == ("b", "c", 0.5) and stands(kept) == [("a", "b", 1.0)]
    with kept.file.path.open("a") as file:
        file.write('{"pair": ["a"')
    assert stands(kept) == [("a", "b", 1.0)]
    kept.append("c", "a", 0)
    assert stands(kept) == [("a", "b", 1.0), ("c", "a", 0.0)]
    with pytest.raises(ValueError, match="must be on two pictures"):
        kept.append("a", "a", 1)
    with pytest.raises(ValueError, match="must be on two pictures"):
        kept.append("a", "stranger", 1)
    kept.file.path.write_text('{"pair": 1}\n' + kept.file.path.read_text())
    with pytest.raises(ValueError, match="line 1 is no answer on a pair"):
        kept.answers()


def test_a_whole_last_line_without_a_newline_counts_and_stays(tmp_path):
    kept = pairs.Comparisons(tmp_path / "pairs.jsonl", dict.fromkeys("abc", ""))
    kept.append("a", "b", 1)
    kept.file.path.write_bytes(kept.file.path.read_bytes().rstrip(b"\n"))
    assert len(kept.answers()) == 1
    kept.append("b", "c", 1)
    assert len(kept.answers()) == 2


def test_an_answer_is_taken_back_by_whom_it_is_of_alone(tmp_path):
    path, names = tmp_path / "pairs.jsonl", dict.fromkeys("abc", "")
    ann, other, bob = (pairs.Comparisons(path, names, person) for person in ("ann", "ann", "bob"))
    ann.append("a", "b", 1)
    bob.append("b", "c", 1)
    assert ann.undo()[:2] == ("a", "b") and stands(ann) == [("b", "c", 1.0)]
    with pytest.raises(ValueError, match="there is no answer of yours to undo"):
        ann.undo()
    ann.append("a", "c", 1)
    assert pairs.Comparisons(path, names, "ann").undo()[:2] == ("a", "c")  # after a restart
    with pytest.raises(ValueError, match="the answer on a and c was taken back elsewhere"):
        ann.undo()
    other.append("a", "b", 0)
    assert stands(ann) == [("b", "c", 1.0), ("a", "b", 0.0)]


def test_an_answer_on_a_picture_since_replaced_does_not_count(tmp_path):
    path = tmp_path / "pairs.jsonl"
    pairs.Comparisons(path, {"a": "1", "b": "2"}).append("a", "b", 1)
    assert len(pairs.Comparisons(path, {"a": "1", "b": "2"}).answers()) == 1
    assert pairs.Comparisons(path, {"a": "1", "b": "3"}).answers() == []
    path.write_text('{"pair": ["a", "b"], "won": 1}\n' * 2 + '{"undo": true}\n')  # of an older version
    assert stands(pairs.Comparisons(path, {"a": "1", "b": "3"})) == [("a", "b", 1.0)]
