"""Decisions, the labels and folders made from them, and moves by hand read back."""

import json
import multiprocessing
import warnings
from datetime import datetime

import pytest
from PIL import Image

from flenlib.dataset.images import sha256
from flenlib.dataset.journal import Decision, Journal
from flenlib.dataset.label_folders import apply, sync
from flenlib.dataset.labels_file import read_labels_file
from flenlib.dataset.records import Dataset, ImageRecord

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "v1" / "review.jsonl")


@pytest.fixture
def dataset(tmp_path):
    dataset = Dataset.open(tmp_path / "v1", create=True)
    for number, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (number * 50, 0, 0)).save(dataset.folder / name)
        dataset.add(ImageRecord(name))
    dataset.save()
    return dataset


def shown(dataset):
    """What lies in the label folders."""
    found = {}
    for folder in ("good", "corrections", "rejected"):
        found[folder] = sorted(path.name for path in (dataset.folder / folder).glob("*"))
    return found


def labels(journal):
    return {name: decision.label for name, decision in journal.decisions().items()}


def test_the_last_decision_wins_and_undo_brings_back_the_one_before(journal):
    assert journal.decisions() == {}
    journal.append("a.png", "reject", ["blurred"], note="look again")
    journal.append("a.png", "good", reviewer="auto")
    journal.append("b.png", "needs_correction", ("hands", "eyes"))
    assert labels(journal) == {"a.png": "good", "b.png": "needs_correction"}
    journal.undo("a.png")
    assert labels(journal) == {"a.png": "reject", "b.png": "needs_correction"}
    decision = Journal(journal.path).decisions()["a.png"]
    assert (decision.reasons, decision.reviewer, decision.note) == (("blurred",), "human", "look again")
    assert decision.when.endswith("+00:00")
    journal.undo("a.png")
    assert labels(journal) == {"b.png": "needs_correction"}
    assert len(journal.path.read_text().splitlines()) == 5


def test_no_two_writes_have_one_date_even_when_the_clock_stands_still(journal, monkeypatch):
    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 1, tzinfo=tz)

    monkeypatch.setattr("flenlib.dataset.lines.datetime", Stopped)
    first = journal.append("a.png", "good")
    both = journal.extend([Decision("b.png", "good"), Decision("c.png", "good")])
    journal.undo("c.png")
    last = journal.append("c.png", "reject")
    assert both[0].when == both[1].when
    assert first.when < both[0].when < last.when


def test_what_is_to_be_corrected_is_kept_and_old_journals_still_load(journal):
    journal.append("a.png", "needs_correction", issue="six fingers", prompt="five fingers", corrected="corrected/a.png")
    decision = journal.decisions()["a.png"]
    assert (decision.issue, decision.prompt, decision.corrected) == ("six fingers", "five fingers", "corrected/a.png")
    journal.path.write_text('{"filename": "a.png", "label": "good", "reasons": [], "reviewer": "human", "when": "x"}\n')
    old = journal.decisions()["a.png"]
    assert (old.label, old.issue, old.corrected, old.person, old.second) == ("good", "", "", "", False)


def test_many_decisions_are_one_write(journal):
    journal.extend([Decision("a.png", "good"), Decision("b.png", "reject", ("blurred",))])
    assert labels(journal) == {"a.png": "good", "b.png": "reject"}
    before = journal.path.read_bytes()
    with pytest.raises(ValueError, match=r"'d\.png': label 'great' is not known"):
        journal.extend([Decision("c.png", "good"), Decision("d.png", "great")])
    assert journal.path.read_bytes() == before


def test_many_are_taken_back_in_one_write_but_not_what_somebody_else_decided_since(journal):
    mine = journal.extend([Decision(name, "good") for name in NAMES])
    theirs = journal.append("b.png", "reject")
    assert journal.undo_many(mine) == [mine[0], mine[2]]
    assert journal.decisions() == {"b.png": theirs}
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert [len(line) for line in (lines[0], lines[2])] == [3, 2]  # one write is one line, with one date
    assert len({entry["when"] for entry in lines[2]}) == 1 and lines[2][0]["when"] > lines[1]["when"]
    before = journal.path.read_bytes()
    assert journal.undo_many(mine) == [] and journal.path.read_bytes() == before


def test_undo_leaves_what_somebody_else_decided_since(journal):
    mine = journal.append("a.png", "good")
    theirs = Journal(journal.path).append("a.png", "reject")
    with pytest.raises(ValueError, match="since labelled reject elsewhere; nothing was undone"):
        journal.undo("a.png", mine)
    assert labels(journal) == {"a.png": "reject"}
    journal.undo("a.png", theirs)
    assert labels(journal) == {"a.png": "good"}


def test_a_second_opinion_is_kept_beside_the_label(journal):
    journal.append("a.png", "good", person="ann")
    journal.append("a.png", "reject", person="bob", second=True)
    again = journal.append("a.png", "needs_correction", person="bob", second=True)
    journal.append("a.png", "good", person="ann", second=True)
    assert labels(journal) == {"a.png": "good"}
    assert {d.person: d.label for d in journal.opinions()} == {"bob": "needs_correction", "ann": "good"}
    journal.undo("a.png", again)
    assert {d.person: d.label for d in journal.opinions()} == {"bob": "reject", "ann": "good"}


def test_a_journal_edited_by_hand_is_read_anew(journal):
    journal.append("a.png", "good")
    journal.append("b.png", "good")
    assert labels(journal) == {"a.png": "good", "b.png": "good"}
    journal.path.write_text(journal.path.read_text().replace("good", "reject", 1))
    assert labels(journal) == {"a.png": "reject", "b.png": "good"}
    journal.path.unlink()
    assert labels(journal) == {}


def test_bad_decisions_are_not_written(journal):
    journal.append("a.png", "good")
    before = journal.path.read_bytes()
    with pytest.raises(ValueError, match="label 'great' is not known; it must be one of good, needs"):
        journal.append("a.png", "great")
    with pytest.raises(ValueError, match=r"reasons of 'a\.png' are 'blurred'; give a list"):
        journal.append("a.png", "good", "blurred")
    with pytest.raises(ValueError, match=r"no decision on 'b\.png' to undo"):
        journal.undo("b.png")
    assert journal.path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 10, 30, 60, 110])
def test_a_torn_last_line_is_left_out_then_repaired(journal, cut):
    journal.append("a.png", "good")
    whole = journal.path.read_bytes()
    journal.append("Zoë.png", "reject", ["blurred"])
    torn = journal.path.read_bytes()[: len(whole) + cut]
    journal.path.write_bytes(torn)
    with pytest.warns(UserWarning, match="the last line is torn and left out"):
        assert labels(journal) == {"a.png": "good"}
    assert journal.path.read_bytes() == torn  # reading changes nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journal.append("c.png", "good")
        assert labels(journal) == {"a.png": "good", "c.png": "good"}
    lines = journal.path.read_bytes().splitlines()
    assert lines[0] + b"\n" == whole and len(lines) == 3 and "torn" in json.loads(lines[1])


def test_a_line_torn_inside_a_letter_and_a_missing_newline(journal):
    journal.append("a.png", "good")
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + '{"filename": "Zoë'.encode()[:-1] + b"\0\0")
    with pytest.warns(UserWarning, match="torn"):
        assert labels(journal) == {"a.png": "good"}
    journal.append("b.png", "good")
    assert labels(journal) == {"a.png": "good", "b.png": "good"}
    journal.path.write_bytes(whole.rstrip(b"\n"))
    journal.append("b.png", "reject")
    assert labels(journal) == {"a.png": "good", "b.png": "reject"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"filename": "b.p', "line 2 is damaged"),
        ("[1]", "line 2 is not a decision"),
        ('{"label": "good"}', "line 2 is not a decision"),
        ('{"filename": "b.png", "label": "great"}', "line 2: label 'great' is not known"),
        ('{"filename": "b.png", "label": "good", "reasons": "x"}', "line 2: reasons are 'x'"),
    ],
)
def test_a_bad_line_in_the_middle_is_named(journal, line, said):
    journal.append("a.png", "good")
    whole = journal.path.read_text()
    journal.path.write_text(whole + line + "\n" + whole)
    before = journal.path.read_bytes()
    with pytest.raises(ValueError) as caught:
        journal.decisions()
    assert said in str(caught.value) and str(journal.path) in str(caught.value) and "\n" not in str(caught.value)
    assert journal.path.read_bytes() == before


def append_many(path, name):
    for number in range(20):
        Journal(path).append(f"{name}_{number}.png", "good")


def test_two_processes_lose_nothing(journal):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append_many, args=(journal.path, name)) for name in "xy"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(journal.decisions()) == 40


def test_apply_makes_labels_and_folders(journal, dataset):
    before = {name: (dataset.folder / name).read_bytes() for name in NAMES}
    journal.append("a.png", "good")
    journal.append("b.png", "needs_correction", ["hands"])
    journal.append("gone.png", "reject")
    counts = apply(journal, dataset)
    assert counts == {"good": 1, "needs_correction": 1, "reject": 0, "unlabelled": 1, "unknown": 1}
    assert shown(dataset) == {"good": ["a.png"], "corrections": ["b.png"], "rejected": []}
    again = Dataset.open(dataset.folder)
    assert again.get("b.png").label["reasons"] == ["hands"] and again.get("c.png").label is None
    journal.append("a.png", "reject")
    journal.undo("b.png")
    apply(journal, again)
    assert shown(dataset) == {"good": [], "corrections": [], "rejected": ["a.png"]}
    assert again.get("b.png").label is None
    assert {name: (dataset.folder / name).read_bytes() for name in NAMES} == before


def test_apply_leaves_a_persons_own_file_alone(journal, dataset):
    (dataset.folder / "rejected").mkdir(exist_ok=True)
    (dataset.folder / "rejected" / "a.png").write_bytes(b"retouched")
    (dataset.folder / "rejected" / "notes.txt").write_text("mine")
    journal.append("a.png", "good")
    apply(journal, dataset)
    assert (dataset.folder / "rejected" / "a.png").read_bytes() == b"retouched"
    assert shown(dataset)["good"] == ["a.png"] and "notes.txt" in shown(dataset)["rejected"]
    assert len(sync(dataset, journal).unmatched) == 2


def test_no_file_in_the_folders_is_the_image_itself(journal, dataset):
    """An editor that saves in place would change the image through a link, wherever the file is dragged to."""
    for name, label in zip(NAMES, ("good", "needs_correction", "reject"), strict=True):
        journal.append(name, label)
    (dataset.folder / "good").mkdir()
    (dataset.folder / "good" / "a.png").hardlink_to(dataset.folder / "a.png")  # as older versions made them
    apply(journal, dataset)
    move(dataset, "c.png", ".", "rejected")  # the image itself, over its copy
    apply(journal, dataset)
    for name, folder in zip(NAMES, ("good", "corrections", "rejected"), strict=True):
        assert not (dataset.folder / folder / name).samefile(dataset.folder / name)
    move(dataset, "a.png", "good", "corrections")
    original = (dataset.folder / "a.png").read_bytes()
    sync(dataset, journal)
    apply(journal, dataset)
    with (dataset.folder / "corrections" / "a.png").open("r+b") as file:
        file.truncate(0)
        Image.new("RGB", (8, 8), "red").save(file, "PNG")
    assert sync(dataset, journal).corrected == ["a.png"]
    assert (dataset.folder / "a.png").read_bytes() == original


def move(dataset, name, start, end, new=None):
    (dataset.folder / end).mkdir(exist_ok=True)
    (dataset.folder / start / name).rename(dataset.folder / end / (new or name))


def test_a_file_dragged_between_folders_is_read_back(journal, dataset):
    journal.append("a.png", "good")
    journal.append("b.png", "good")
    apply(journal, dataset)
    move(dataset, "a.png", "good", "rejected")
    report = sync(dataset, journal)
    assert report.moved == [("a.png", "good", "reject")] and report.unmatched == []
    assert journal.decisions()["a.png"].reviewer == "folder"
    assert sync(dataset, journal).moved == []
    apply(journal, dataset)
    assert dataset.get("a.png").label["label"] == "reject"
    assert shown(dataset) == {"good": ["b.png"], "corrections": [], "rejected": ["a.png"]}


def test_a_renamed_and_a_never_reviewed_file_count_too(journal, dataset):
    journal.append("a.png", "good")
    apply(journal, dataset)
    move(dataset, "a.png", "good", "corrections", "fix these hands.png")
    move(dataset, "b.png", ".", "good")  # the image itself, not a link to it
    report = sync(dataset, journal)
    assert sorted(report.moved) == [("a.png", "good", "needs_correction"), ("b.png", None, "good")]
    apply(journal, dataset)
    assert sha256(dataset.folder / "b.png") == dataset.get("b.png").sha256  # it is back in its place
    assert shown(dataset)["good"] == ["b.png"] and "a.png" in shown(dataset)["corrections"]


def test_a_newer_review_is_not_mistaken_for_a_move(journal, dataset):
    journal.append("a.png", "good")
    apply(journal, dataset)
    journal.append("a.png", "reject")
    assert sync(dataset, journal).moved == []
    assert labels(journal) == {"a.png": "reject"}


def test_a_picture_edited_in_corrections_is_its_corrected_picture(journal, dataset):
    journal.append("a.png", "needs_correction", ["hands"], issue="six fingers", sha256=dataset.get("a.png").sha256)
    journal.append("b.png", "good")
    apply(journal, dataset)
    original = (dataset.folder / "a.png").read_bytes()
    Image.new("RGB", (8, 8), "white").save(dataset.folder / "corrections" / "a.png")  # in place, as editors do
    report = sync(dataset, journal)
    assert report.corrected == ["a.png"] and report.moved == [] and report.unmatched == []
    assert "a.png was corrected by hand" in report.sentences()[0]
    decision = journal.decisions()["a.png"]
    assert (decision.label, decision.reasons, decision.issue) == ("needs_correction", ("hands",), "six fingers")
    assert Image.open(dataset.folder / decision.corrected).getpixel((0, 0)) == (255, 255, 255)
    assert (dataset.folder / "a.png").read_bytes() == original
    apply(journal, dataset)
    again = sync(dataset, journal)
    assert (again.corrected, again.moved, again.unmatched) == ([], [], [])
    (dataset.folder / "corrections" / "a.png").write_text("oh no")
    assert "a.png is not a picture" in sync(dataset, journal).unmatched[0]
    (dataset.folder / "good" / "b.png").unlink()
    (dataset.folder / "good" / "b.png").write_bytes(b"something else")
    assert "b.png is not b.png as recorded; correct pictures in corrections/ only" in "".join(
        sync(dataset, journal).unmatched
    )


def test_a_picture_dragged_and_edited_in_one_go_is_corrected(journal, dataset):
    journal.append("a.png", "good")
    apply(journal, dataset)
    move(dataset, "a.png", "good", "corrections")
    Image.new("RGB", (8, 8), "white").save(dataset.folder / "corrections" / "a.png")
    Image.new("RGB", (8, 8), "blue").save(dataset.folder / "corrections" / "b.png")  # never labelled
    report = sync(dataset, journal)
    assert sorted(report.moved) == [("a.png", "good", "needs_correction"), ("b.png", None, "needs_correction")]
    assert sorted(report.corrected) == ["a.png", "b.png"] and report.unmatched == []
    decision = journal.decisions()["a.png"]
    assert (decision.label, decision.reviewer) == ("needs_correction", "folder")
    assert Image.open(dataset.folder / decision.corrected).getpixel((0, 0)) == (255, 255, 255)
    apply(journal, dataset)
    again = sync(dataset, journal)
    assert (again.corrected, again.moved, again.unmatched) == ([], [], [])


def test_an_edited_file_does_not_win_over_a_newer_review(journal, dataset):
    journal.append("a.png", "needs_correction")
    apply(journal, dataset)
    Image.new("RGB", (8, 8), "white").save(dataset.folder / "corrections" / "a.png")
    journal.append("a.png", "good")
    report = sync(dataset, journal)
    assert "a.png lies in corrections/, but was since reviewed as good" in "".join(report.unmatched)
    apply(journal, dataset)
    report = sync(dataset, journal)
    assert "a.png lies in good/ and corrections/; leave it in one of them" in "".join(report.unmatched)
    assert labels(journal) == {"a.png": "good"} and report.corrected == report.moved == []


def test_what_is_ambiguous_is_said_and_left_alone(journal, dataset):
    for name in NAMES:
        journal.append(name, "good")
    apply(journal, dataset)
    (dataset.folder / "rejected").mkdir(exist_ok=True)
    (dataset.folder / "rejected" / "a.png").write_bytes((dataset.folder / "a.png").read_bytes())
    (dataset.folder / "good" / "b.png").unlink()
    move(dataset, "c.png", "good", "rejected")
    journal.append("c.png", "needs_correction")
    (dataset.folder / "good" / "stranger.png").write_bytes(b"?")
    (dataset.folder / "good" / ".DS_Store").write_bytes(b"?")
    before = journal.path.read_bytes()
    report = sync(dataset, journal)
    assert report.moved == [] and journal.path.read_bytes() == before
    said = "\n".join(sorted(report.unmatched))
    for words in (
        "a.png lies in good/ and rejected/; leave it in one of them",
        "b.png is labelled good but lies in no folder",
        "c.png lies in rejected/, but was since reviewed as needs_correction",
        "stranger.png is not an image of this dataset",
    ):
        assert words in said
    assert len(report.unmatched) == 4


def test_a_labels_file_is_read(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbffilename,label,reasons\r\na.png,good,\r\nb.png, reject ,blurred; too dark\r\n\r\n")
    first, second = read_labels_file(path)
    assert (first.filename, first.label, first.reasons, first.reviewer) == ("a.png", "good", (), "file")
    assert (second.label, second.reasons) == ("reject", ("blurred", "too dark"))
    path.write_text("filename,label\na.png,good\n")
    assert read_labels_file(path)[0].reasons == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: columns are []"),
        ("file,label\na.png,good\n", "line 1: columns are ['file', 'label']; they must be filename,label,reasons"),
        ("filename,label,reason\na.png,good,x\n", "line 1: columns are"),
        ("filename,label\na.png,great\n", "line 2: label 'great' is not known"),
        ("filename,label\na.png,good\n,good\n", "line 3 has no filename"),
        ("filename,label\na.png\n", "line 2: label '' is not known"),
        ("filename,label,reasons\na.png,reject,dark,blurred\n", "line 2 has 4 cells for 3 columns"),
        ("filename,label\na.png,good\na.png,reject\n", "line 3: 'a.png' is there twice"),
        (b"filename,label\n\xff.png,good\n", "is not a CSV in UTF-8"),
    ],
)
def test_a_bad_labels_file_gets_one_sentence_naming_the_line(tmp_path, text, said):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as caught:
        read_labels_file(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_labels_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"labels file .*none\.csv does not exist; write one"):
        read_labels_file(tmp_path / "none.csv")
