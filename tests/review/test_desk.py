"""The desk: decisions are on disk before they are shown, others' are seen, and nothing is lost or guessed."""

import json
import random

import pytest
from filelock import FileLock
from PIL import Image

from flenlib.dataset.images import open_image, read_provenance, save_picture
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.review.desk import Desk
from flenlib.review.order import View


def flat(number):
    return Image.new("RGB", (48, 48), (10 * number % 256, 60, 90))


def write(folder, count=20, draw=flat):
    dataset = Dataset.open(folder, create=True)
    for number in range(count):
        path = folder / f"p{number:02d}.png"
        save_picture(draw(number), path, {"made_by": "mini", "seed": number})
        found = NOT_MEASURED if number % 5 == 4 else round(0.02 * number, 2)
        dataset.add(
            ImageRecord(
                path.name, caption="c", angle="front", expression="neutral",
                attributes={"edit": "lighting" if number % 2 else "style"},
                measurements={"face_distance": found, "threshold": 0.2},
            )
        )  # fmt: skip
    dataset.save()
    return dataset


@pytest.fixture
def dataset(tmp_path):
    return write(tmp_path / "enriched" / "v1")


@pytest.fixture
def journal(dataset):
    return Journal(dataset.folder / "journal.jsonl")


@pytest.fixture
def desk(dataset, journal):
    return Desk(dataset, journal)


def labels(journal):
    return {name: decision.label for name, decision in journal.decisions().items()}


def test_the_worst_come_first_with_a_tenth_elsewhere(desk):
    names = desk.names(View())
    strict = sorted(names, key=lambda n: (-_distance(desk, n), n))
    moved = [name for name in names if [n for n in strict if n != name] == [n for n in names if n != name]]
    assert sorted(names) == sorted(desk.records) and names != strict and len(moved) <= 2
    assert names == desk.names(View())  # the same every time
    assert desk.names(View(order="best"))[0] == "p00.png"


def _distance(desk, name):
    found = desk.records[name].measurements["face_distance"]
    return -1.0 if found == NOT_MEASURED else found


def test_filters(desk):
    desk.decide(["p01.png"], "reject", ["hands"])
    desk.journal.append("p02.png", "good", reviewer="auto")
    desk.refresh()
    assert desk.names(View(label="reject")) == ["p01.png"] == desk.names(View(reason="hands"))
    assert desk.names(View(label="suggested")) == ["p02.png"]
    assert len(desk.names(View(label="undecided"))) == 19  # a policy's label is a suggestion
    assert set(desk.names(View(face=NOT_MEASURED))) == {"p04.png", "p09.png", "p14.png", "p19.png"}
    assert set(desk.names(View(face="beyond", kind="style"))) == {"p12.png", "p16.png", "p18.png"}
    with pytest.raises(ValueError, match="view label is 'great'; it must be one of undecided"):
        View.of({"label": "great"})
    with pytest.raises(ValueError, match="view field 'size' is 3"):
        View.of({"size": 3})


def test_undo_and_redo_go_by_what_was_decided_together(desk, journal):
    desk.decide(["p00.png"], "reject", ["hands"])
    desk.decide(["p01.png", "p02.png", "p03.png"], "good")
    assert desk.undo().said == "taken back: 3 pictures good"
    assert labels(journal) == {"p00.png": "reject"}
    assert len(desk.redo().names) == 3 and len(labels(journal)) == 4
    desk.undo()
    desk.undo()
    assert labels(journal) == {} and desk.undo().said == "there is nothing to undo"
    desk.redo()
    assert journal.decisions()["p00.png"].reasons == ("hands",)


def test_undo_works_after_a_restart(desk, dataset, journal):
    desk.decide(["p00.png"], "reject")
    desk.decide(["p01.png", "p02.png"], "good")
    again = Desk(dataset, journal)
    again.undo()
    assert labels(journal) == {"p00.png": "reject"}


def test_redo_leaves_what_has_changed_since(dataset, journal):
    one, two = Desk(dataset, journal), Desk(dataset, Journal(journal.path), person="bob")
    names = ["p00.png", "p01.png", "p02.png", "p03.png"]
    one.decide(names, "good")
    one.undo()
    two.decide(["p00.png"], "reject")
    (dataset.folder / "p01.png").unlink()
    answer = one.redo()
    assert answer.refused["p00.png"] == "p00.png was since labelled reject elsewhere and stays so"
    assert "p01.png is gone from" in answer.refused["p01.png"]
    assert labels(journal) == {"p00.png": "reject", "p02.png": "good", "p03.png": "good"}
    assert one.undo().said == "taken back: 2 pictures good" and labels(journal) == {"p00.png": "reject"}
    two.undo()
    two.decide(["p02.png"], "reject")
    two.undo()
    one.redo()  # what was decided and taken back again is as it was
    assert labels(journal) == {"p02.png": "good", "p03.png": "good"}


def test_two_decisions_on_one_picture_are_taken_back_and_made_again_in_turn(desk, journal):
    desk.decide(["p00.png"], "good")
    desk.decide(["p00.png"], "reject", ["hands"])
    desk.undo(), desk.undo()
    assert labels(journal) == {}
    assert desk.redo().said == "made again: p00.png good" and desk.redo().said == "made again: p00.png reject"
    assert journal.decisions()["p00.png"].reasons == ("hands",)
    assert desk.redo().said == "there is nothing to redo"


def test_a_step_that_could_not_be_written_is_not_lost(desk, journal, monkeypatch):
    desk.decide(["p00.png"], "good")
    monkeypatch.setattr("flenlib.dataset.lines.LOCK_SECONDS", 0.05)
    held = FileLock(journal.path.with_name(f".{journal.path.name}.lock"))
    with held, pytest.raises(TimeoutError, match="is held by another program"):
        desk.undo()
    assert desk.undo().names == ["p00.png"]
    with held, pytest.raises(TimeoutError, match="is held by another program"):
        desk.redo()
    assert desk.redo().names == ["p00.png"] and labels(journal) == {"p00.png": "good"}


def test_the_undo_of_many_is_one_write(desk, journal):
    desk.decide(list(desk.records), "good")
    before = journal.path.read_bytes()
    desk.undo()
    (entries,) = [json.loads(line) for line in journal.path.read_bytes()[len(before) :].splitlines()]
    assert len(entries) == 20 and len({entry["when"] for entry in entries}) == 1 and labels(journal) == {}


def test_what_another_kernel_decided_comes_with_the_next_answer(dataset, journal):
    one, two = Desk(dataset, journal), Desk(dataset, Journal(journal.path), person="bob")
    two.decide(["p07.png"], "reject")
    assert one.decide(["p00.png"], "good").names == ["p00.png", "p07.png"]
    two.decide(["p07.png"], "good")
    assert one.undo().names == ["p00.png", "p07.png"]
    one.decide(["p07.png"], "good", second=True)
    two.decide(["p07.png"], "reject")
    assert one.refresh().names == ["p07.png"]  # an opinion of one's own does not hide it


def test_a_label_for_all_says_what_it_covers_of_others(dataset, journal):
    one, two = Desk(dataset, journal), Desk(dataset, Journal(journal.path), person="bob")
    two.decide(["p07.png", "p08.png"], "reject")
    seen = {"p00.png": "", "p01.png": ""}  # the browser has loaded one page of several
    answer = one.decide(list(one.records), "good", seen=seen)
    assert "2 pictures were labelled by somebody else in another window; your labels now count" in answer.said
    one.undo()
    assert labels(journal) == {"p07.png": "reject", "p08.png": "reject"}


def test_two_windows_see_each_other_and_the_later_word_counts(dataset, journal):
    one, two = Desk(dataset, journal), Desk(dataset, journal, person="bob")
    one.decide(["p00.png"], "good", seen={"p00.png": ""})
    answer = two.decide(["p00.png"], "reject", seen={"p00.png": ""})
    assert "p00.png was labelled good by human in another window" in answer.said
    assert labels(journal) == {"p00.png": "reject"}
    assert one.refresh().names == ["p00.png"]
    assert "since labelled reject elsewhere; nothing was undone" in one.undo().said
    two.undo()
    assert labels(journal) == {"p00.png": "good"}


def test_saying_the_same_again_writes_nothing(desk, journal):
    desk.decide(["p00.png"], "good", ["light"])
    before = journal.path.read_bytes()
    desk.decide(["p00.png"], "good")  # and the reason stays
    assert journal.path.read_bytes() == before
    desk.decide(["p00.png"], "good", [])
    assert journal.decisions()["p00.png"].reasons == ()


def test_a_confirmed_suggestion_keeps_its_reason(dataset, journal):
    journal.append("p00.png", "reject", ["face distance 0.61 over 0.20"], reviewer="auto")
    desk = Desk(dataset, journal)
    assert desk.decided == {} and desk.describe("p00.png")["suggestion"]["label"] == "reject"
    desk.decide(["p00.png"], "reject")
    decision = journal.decisions()["p00.png"]
    assert (decision.reviewer, decision.reasons) == ("human", ("face distance 0.61 over 0.20",))


def test_a_picture_deleted_or_changed_gets_no_label_and_the_others_do(desk, dataset, journal):
    (dataset.folder / "p00.png").unlink()
    save_picture(Image.new("RGB", (48, 48), "red"), dataset.folder / "p01.png", {})
    answer = desk.decide(["p00.png", "p01.png", "p02.png"], "good")
    assert "p00.png is gone from" in answer.refused["p00.png"]
    assert "p01.png was changed on disk since" in answer.refused["p01.png"]
    assert labels(journal) == {"p02.png": "good"}


def test_a_line_cut_by_a_crash_is_said_and_the_rest_is_there(desk, journal):
    desk.decide(["p00.png"], "good")
    with journal.path.open("a") as file:
        file.write('{"filename": "p01.p')
    answer = desk.refresh()
    assert "the last line is torn and left out" in answer.said
    desk.decide(["p02.png"], "reject")
    assert labels(journal) == {"p00.png": "good", "p02.png": "reject"}


def test_a_hand_edited_line_with_an_unknown_label_is_named_and_nothing_is_written(desk, journal):
    desk.decide(["p00.png"], "good")
    with journal.path.open("a") as file:
        file.write('{"filename": "p01.png", "label": "great"}\n')
    before = journal.path.read_bytes()
    with pytest.raises(ValueError, match="line 2: label 'great' is not known"):
        desk.decide(["p02.png"], "good")
    with pytest.raises(ValueError, match="line 2"):
        desk.undo()
    assert journal.path.read_bytes() == before
    journal.path.write_bytes(before.replace(b"great", b"reject"))
    desk.undo()  # and the undo is still there
    assert labels(journal) == {"p01.png": "reject"}


def test_progress_and_time(desk, journal):
    lines = [
        {"filename": f"p0{n}.png", "label": "good", "reviewer": "human", "when": f"2026-01-01T10:0{m}:00+00:00"}
        for n, m in ((0, 0), (1, 1), (2, 2), (3, 9))  # a break of seven minutes does not count
    ]
    journal.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    desk.refresh()
    assert desk.progress()["words"] == ["4/20", "4 good", "0 fix", "0 reject", "60 s each", "16 min left"]


def png(tmp_path, size=(48, 48), colour="white"):
    path = tmp_path / "mine.png"
    Image.new("RGB", size, colour).save(path)
    return path.read_bytes()


def test_a_correction_says_what_and_keeps_the_picture_with_its_provenance(desk, dataset, journal, tmp_path):
    desk.decide(["p00.png"], "needs_correction", ["hands"])
    answer = desk.correct("p00.png", " six fingers ", "five fingers", png(tmp_path), "C:\\fix\\mine.png")
    decision = journal.decisions()["p00.png"]
    assert (decision.label, decision.reasons, decision.issue) == ("needs_correction", ("hands",), "six fingers")
    assert decision.prompt == "five fingers" and decision.corrected in answer.said
    assert open_image(dataset.folder / decision.corrected).getpixel((0, 0)) == (255, 255, 255)
    provenance = read_provenance(dataset.folder / decision.corrected)
    assert provenance["made_by"] == "mini" and provenance["corrected_by"] == "person"
    assert provenance["corrects"] == dataset.get("p00.png").sha256 and provenance["corrected_from"] == "mine.png"
    desk.decide(["p00.png"], "needs_correction", ["hands", "light"])  # another reason keeps the correction
    assert journal.decisions()["p00.png"].corrected == decision.corrected
    desk.correct("p00.png", "seven fingers", "", png(tmp_path, colour="green"), "again.png")
    assert (dataset.folder / decision.corrected).is_file()  # the first correction is not written over
    desk.undo()
    assert journal.decisions()["p00.png"].corrected == decision.corrected


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: b"dear reader", "mine.png is not a picture, whatever its name says"),
        (lambda path: b"", "picture mine.png is empty"),
        (lambda path: png(path, (50, 48)), "mine.png is 50 x 48 pixels and p00.png is 48 x 48; save it at the size"),
        (lambda path: png(path)[:60], "mine.png is damaged or cut short"),
        (lambda path: png(path, colour=(0, 60, 90)), "mine.png is p00.png unchanged"),
    ],
)
def test_a_corrected_picture_that_cannot_be_one_is_refused(desk, journal, tmp_path, make, said):
    with pytest.raises(ValueError, match=r"^(picture )?mine\.png") as caught:
        desk.correct("p00.png", "x", "", make(tmp_path), "mine.png")
    assert said in str(caught.value) and str(tmp_path) not in str(caught.value)
    assert labels(journal) == {} and not (desk.dataset.folder / "corrected").exists()


def test_saved_views(desk):
    desk.saved_views("drift", View(face="beyond"))
    desk.saved_views("hands", View(reason="hands"))
    assert desk.saved_views()["drift"]["face"] == "beyond"
    assert list(desk.saved_views("drift", None)) == ["hands"]


def test_damaged_saved_views_are_named(desk):
    path = desk.journal.path.with_name("views.json")
    for text in ("{bad", "[1]", '{"mine": {"label": "great"}}', '{"mine": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"saved views .*views\.json are damaged .*; mend or delete the file"):
            desk.saved_views("hands", View(reason="hands"))
        assert path.read_text() == text


def test_a_strict_review_shows_what_is_missing(dataset, journal):
    dataset.get("p00.png").angle = "half-left"
    desk = Desk(dataset, journal, have=[ImageRecord("s.png", angle="front", expression="neutral")])
    assert desk.describe("p00.png")["fills"] == ["half-left"] and desk.describe("p01.png")["fills"] == []
    desk.decide(["p00.png"], "good")
    gaps = desk.gaps()
    row = next(row for row in gaps["rows"] if row["value"] == "half-left")
    assert (row["have"], row["picked"], gaps["picked"], gaps["target"]) == (0, 1, 1, [10, 20])
    assert desk.describe("p00.png")["fills"] == ["half-left"]  # what it adds does not hide itself
    dataset.get("p01.png").angle = "half-left"
    assert desk.describe("p01.png")["fills"] == []
    assert gaps["words"] == "1 picked of 10 to 20: 9 more needed"
    desk.decide(list(desk.records)[:10], "good")
    assert desk.gaps()["words"] == "10 picked of 10 to 20"
    assert desk.describe("p00.png")["fills"] == []  # p01.png shows it too
    assert Desk(dataset, journal, have=[], target=(1, 5)).gaps()["words"].endswith("5 too many")
    assert Desk(dataset, journal).gaps() is None


def test_a_strict_review_corrects_nothing(dataset, journal, tmp_path):
    desk = Desk(dataset, journal, have=[])
    with pytest.raises(ValueError, match="a strict review takes a picture or leaves it; corrections are read from"):
        desk.correct("p00.png", "six fingers", "", png(tmp_path), "mine.png")
    assert labels(journal) == {} and not (dataset.folder / "corrected").exists()


def test_pairs_are_asked_among_the_good_and_make_a_ranking(desk):
    assert "label at least two pictures good" in desk.next_pair().said
    desk.decide(["p00.png", "p01.png", "p02.png"], "good")
    for _ in range(3):
        first, second = desk.next_pair().names
        desk.compare(first, second, float(first > second))
    assert desk.next_pair().said == "every pair has been compared"
    assert desk.standing() == ["p02.png", "p01.png", "p00.png"]
    assert desk.names(View(order="ranked"))[:3] == desk.standing()


def test_a_blind_second_look_hides_labels_and_changes_none(dataset, journal):
    ann = Desk(dataset, journal, person="ann")
    ann.decide(list(ann.records), "good")
    again = ann.second_look()
    assert len(again) == 2 and again == Desk(dataset, journal, person="ann").second_look()
    assert ann.describe(again[0], second=True)["decision"] is None
    ann.decide([again[0]], "reject", second=True)
    assert ann.describe(again[0], second=True)["decision"]["label"] == "reject"
    assert set(labels(journal).values()) == {"good"}
    assert ann.progress(again)["words"][0] == "1/2" and "ann, looking twice: 0% of 1" in ann.progress(again)["said"]
    bob = Desk(dataset, journal, person="bob")
    assert sorted(bob.second_look()) == sorted(bob.records)
    ann.undo(second=True)
    assert ann.describe(again[0], second=True)["decision"] is None and len(labels(journal)) == 20


def test_undo_and_redo_of_a_second_look_leave_the_labels_alone(dataset, journal):
    ann = Desk(dataset, journal, person="ann")
    ann.decide(list(ann.records), "good")
    assert ann.undo(second=True).said == "there is nothing to undo" and len(labels(journal)) == 20
    (name, *_) = ann.second_look()
    ann.decide([name], "reject", second=True)
    again = Desk(dataset, journal, person="ann")  # the kernel was restarted
    again.undo()
    assert labels(journal) == {} and again.opinions[name].label == "reject"
    assert again.undo(second=True).names[0] == name and again.opinions == {}
    again.redo()
    assert len(labels(journal)) == 20 and again.opinions == {}
    again.redo(second=True)
    assert again.opinions[name].label == "reject"
    before = journal.path.read_bytes()
    with pytest.raises(ValueError, match="a second look gives labels only"):
        again.correct(name, "six fingers", "", second=True)
    assert journal.path.read_bytes() == before


def test_no_pictures(tmp_path):
    dataset = Dataset.open(tmp_path / "v1", create=True)
    desk = Desk(dataset, Journal(tmp_path / "v1" / "journal.jsonl"))
    assert desk.names(View()) == [] and desk.progress()["words"][0] == "0/0" and desk.second_look() == []


@pytest.mark.parametrize("when", ["9999-12-31T23:59:59.999999+00:00", "2026-01-01T00:00:00", "yesterday", ""])
def test_an_odd_date_in_the_journal_does_not_lock_a_review(dataset, journal, when):
    line = {"filename": "p00.png", "label": "good", "reviewer": "human", "when": when}
    journal.path.write_text(json.dumps(line) + "\n")
    desk = Desk(dataset, journal)
    desk.decide(["p01.png"], "reject")
    desk.decide(["p00.png"], "reject")
    assert desk.progress()["counts"]["reject"] == 2 and desk.progress()["done"] == 2
    desk.undo()
    assert desk.decided["p00.png"].label == "good" and desk.progress()["counts"] == {
        "good": 1, "needs_correction": 0, "reject": 1,
    }  # fmt: skip


def test_progress_kept_up_is_progress_counted_anew(dataset, journal):
    """Labels, other labels, undo, redo and another person's: what the desk keeps up equals what a new one finds."""
    desk, chance = Desk(dataset, journal), random.Random(4)
    for _ in range(60):
        what, names = chance.random(), chance.sample(sorted(desk.records), chance.randint(1, 3))
        if what < 0.5:
            desk.decide(names, chance.choice(["good", "reject", "needs_correction"]))
        elif what < 0.7:
            desk.undo()
        elif what < 0.8:
            desk.redo()
        else:
            journal.append(names[0], "good", reviewer=chance.choice(["human", "auto"]), person="bob")
        desk.refresh()
        anew = Desk(dataset, Journal(journal.path))
        assert (anew.decided, anew.suggested) == (desk.decided, desk.suggested)
        assert anew.progress() == desk.progress()
