"""The plain grid: every click is on disk before it is shown, and it only collects decisions."""

import pytest
from PIL import Image

from flenlib.dataset.images import save_picture
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.review.grid import ReviewGrid


@pytest.fixture
def dataset(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    for number in range(7):
        path = tmp_path / f"p{number}.png"
        save_picture(Image.new("RGB", (48, 48), (30 * number, 60, 90)), path, {"made_by": "mini"})
        measured = {"face_distance": 0.1 * number, "threshold": 0.4} if number else {}
        dataset.add(ImageRecord(path.name, caption="c", measurements=measured, prompt="<b>'quoted'</b>"))
    dataset.save()
    return dataset


def choice(cell):
    return cell.children[2]


def test_the_worst_face_comes_first_and_pages_turn(dataset, tmp_path):
    grid = ReviewGrid(dataset, Journal(tmp_path / "journal.jsonl"), page_size=3)
    assert [r.filename for r in grid.records[:2]] == ["p6.png", "p5.png"] and grid.records[-1].filename == "p0.png"
    assert grid.pages == 3 and len(grid.cells.children) == 3
    grid.turn(1)
    grid.turn(1)
    grid.turn(1)
    assert grid.page == 2 and len(grid.cells.children) == 1


def test_a_click_is_in_the_journal_and_a_new_grid_shows_it(dataset, tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    grid = ReviewGrid(dataset, journal)
    choice(grid.cells.children[0]).value = "reject"
    grid.cells.children[0].children[3].value = "other nose"
    decided = Journal(tmp_path / "journal.jsonl").decisions()["p6.png"]
    assert (decided.label, decided.reasons, decided.reviewer) == ("reject", ("other nose",), "human")
    assert "1/7 decided" in grid.progress.value
    again = ReviewGrid(dataset, journal)
    assert choice(again.cells.children[0]).value == "reject"
    assert dataset.get("p6.png").label is None and not (tmp_path / "rejected").exists()


def test_no_pictures_is_an_empty_grid(tmp_path):
    grid = ReviewGrid(Dataset.open(tmp_path, create=True), Journal(tmp_path / "journal.jsonl"))
    assert grid.pages == 1 and "0/0 decided" in grid.progress.value


def test_prompts_cannot_break_the_page(dataset, tmp_path):
    grid = ReviewGrid(dataset, Journal(tmp_path / "journal.jsonl"))
    assert "<b>" not in grid.cells.children[0].children[1].value
