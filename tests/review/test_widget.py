"""Every question of the browser gets one answer: pictures as bytes, faults as sentences, labels on disk before it."""

import io
import time

import pytest
from PIL import Image

from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset
from flenlib.review.widget import ReviewWidget
from tests.review.test_desk import png, write


class Browser:
    """Asks a widget as the browser does, and waits for its answers."""

    def __init__(self, widget):
        self.widget, self.answers, self.count = widget, {}, 0
        widget.send = lambda content, buffers=None: self.answers.update({content["to"]: (content, buffers)})

    def ask(self, what, buffers=(), **content):
        self.count += 1
        number = str(self.count)
        self.widget._receive(self.widget, {"ask": what, "id": number, **content}, list(buffers))
        for _ in range(500):
            if number in self.answers:
                return self.answers[number]
            time.sleep(0.01)
        raise AssertionError(f"{what} got no answer")


@pytest.fixture
def dataset(tmp_path):
    return write(tmp_path / "v1", 6)


@pytest.fixture
def browser(dataset):
    return Browser(ReviewWidget(dataset, Journal(dataset.folder / "journal.jsonl"), page_size=4))


VIEW = {"label": "", "reason": "", "kind": "", "face": "", "order": "name"}


def test_a_label_is_on_disk_when_the_answer_comes(browser, dataset):
    names = browser.ask("view", view=VIEW)[0]["names"]
    answer, _ = browser.ask("decide", names=names[:2], label="good", reasons=None, seen={})
    assert [item["decision"]["label"] for item in answer["items"]] == ["good", "good"]
    assert set(Journal(dataset.folder / "journal.jsonl").decisions()) == set(names[:2])
    assert browser.ask("view", view=VIEW)[0]["start"] == 2  # the first undecided
    assert browser.ask("undo")[0]["progress"]["done"] == 0


def test_pictures_come_as_bytes_and_never_as_state(browser, dataset):
    item = browser.ask("items", names=["p00.png"])[0]["items"][0]
    _, (small,) = browser.ask("thumbnail", picture=item["picture"])
    assert Image.open(io.BytesIO(small)).format == "JPEG"
    answer, (full,) = browser.ask("full", picture=item["picture"])
    assert full == (dataset.folder / "p00.png").read_bytes() and answer["size"] == (48, 48)
    assert browser.ask("faces", picture=item["picture"])[0]["boxes"] == []
    state = browser.widget.get_state()
    assert sum(len(str(value)) for value in state.values()) < 120_000 and "p00.png" not in str(state)


def test_faults_are_sentences(browser, dataset, tmp_path):
    item = browser.ask("items", names=["p00.png"])[0]["items"][0]
    (dataset.folder / "p00.png").write_text("x")
    assert "was changed on disk" in browser.ask("thumbnail", picture=item["picture"])[0]["error"]
    assert "not a corrected picture" in browser.ask("full", picture="corrected/../../secret.png")[0]["error"]
    assert "is not among the 6 pictures" in browser.ask("items", names=["nobody.png"])[0]["error"]
    assert (
        "label 'great' is not known" in browser.ask("decide", names=["p01.png"], label="great", reasons=[])[0]["error"]
    )


def test_a_corrected_picture_comes_in_parts(browser, dataset, tmp_path):
    content = png(tmp_path)
    for part in (content[:50], content[50:]):
        browser.ask("upload", [part], upload="u1")
    answer, _ = browser.ask("correct", name="p00.png", issue="hands", prompt="", upload="u1", file="mine.png")
    kept = answer["items"][0]["decision"]["corrected"]
    assert browser.ask("full", picture=kept)[0]["type"] == "image/png"
    browser.ask("upload", [b"text"], upload="u2")
    refused = browser.ask("correct", name="p00.png", issue="hands", prompt="", upload="u2", file="a.txt")[0]
    assert refused["error"].startswith("a.txt is not a picture")


def test_a_thousand_pictures_and_none(tmp_path):
    dataset = write(tmp_path / "many", 40)
    record = dataset.images[0]
    dataset.images += [type(record)(f"x{n}.png", sha256=f"{n:064d}") for n in range(960)]
    browser = Browser(ReviewWidget(dataset, Journal(tmp_path / "many" / "journal.jsonl")))
    assert len(browser.ask("view", view=VIEW)[0]["names"]) == 1000
    answer = browser.ask("decide", names=["p00.png", "x1.png"], label="good", reasons=None)[0]
    assert list(answer["refused"]) == ["x1.png"] and answer["progress"]["done"] == 1
    empty = Browser(ReviewWidget(Dataset.open(tmp_path / "none", create=True), Journal(tmp_path / "none" / "j.jsonl")))
    assert empty.ask("view", view=VIEW)[0]["names"] == [] and empty.ask("open")[0]["total"] == 0


def test_what_was_shown_and_what_is_shown_still(browser, dataset):
    names = browser.ask("view", view=VIEW)[0]["names"]
    browser.ask("decide", names=names[:1], label="good", reasons=None, seen={})
    journal = Journal(dataset.folder / "journal.jsonl")
    dates = browser.ask("view", view=VIEW)[0]["dates"]
    assert dates == [journal.decisions()[names[0]].when, "", "", "", "", ""]
    answer, _ = browser.ask("decide", names=names[1:2], label="good", reasons=None, page=names[:3])
    assert answer["changed"] == names[1:2] and [item["name"] for item in answer["items"]] == [
        names[1], names[0], names[2]
    ]  # fmt: skip


def test_damaged_views_keep_nobody_from_reviewing(browser, dataset):
    (dataset.folder / "views.json").write_text("{bad")
    opened = browser.ask("open")[0]
    assert opened["views"] == {} and "views.json" in opened["said"]
    assert "views.json" in browser.ask("save_view", name="mine", view=VIEW)[0]["error"]


def test_a_second_look_takes_back_its_own_labels_and_no_correction(browser, dataset, tmp_path):
    names = browser.ask("view", view=VIEW)[0]["names"]
    browser.ask("decide", names=names, label="good", reasons=None)
    again = browser.ask("view", view=VIEW, second=True)[0]["names"]
    assert "nothing to undo" in browser.ask("undo", second=again)[0]["said"]
    browser.ask("decide", names=again[:1], label="reject", reasons=None, second=again)
    browser.ask("upload", [png(tmp_path)], upload="u1")
    refused = browser.ask("correct", name=again[0], issue="", prompt="", upload="u1", file="a.png", second=again)[0]
    assert "second look" in refused["error"]
    assert browser.ask("undo", second=again)[0]["changed"] == again[:1]
    journal = Journal(dataset.folder / "journal.jsonl")
    assert {d.label for d in journal.decisions().values()} == {"good"} and journal.opinions() == []
