"""The caption editor in a real JupyterLab: accept, edit, take back, replace, and no key reaches the notebook."""

import pytest

from flenlib.dataset.records import Dataset

pytestmark = pytest.mark.browser
lab = pytest.importorskip("tests.browser.lab", reason="playwright is not installed: pip install playwright")
if lab.CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install Debian's package chromium", allow_module_level=True)

CELL = """
from flenlib.dataset.records import Dataset
from flenlib.params import Captions, Character
from flenlib.review.caption_widget import CaptionWidget

maya = Character(name="maya", trigger="ohwx_maya", class_noun="woman", kind="fictional", age="adult")
CaptionWidget(Dataset.open({folder!r}), maya, Captions())
""".strip()
WORDS = [
    "ohwx_maya, close-up portrait, long brown hair, wearing a red hat, forest background, ohwx_maya",
    "ohwx_maya, front view, wearing a red hat",
    "ohwx_maya, half-left view, smiling",
]


def said(page, text):
    page.wait_for_function("(t) => document.querySelector('.fc-status').textContent.includes(t)", arg=text)


def at(page, name):
    """Wait until the editor shows a picture and its caption."""
    page.wait_for_selector(f'textarea[aria-label="caption of {name}"]')


def test_captions_are_mended_by_key_and_nothing_written_is_lost(folder, address, page):
    dataset, source = lab.make_datasets(folder / "captions", 3)
    for record, words in zip(dataset.images, WORDS, strict=True):
        record.caption = words
    dataset.save()
    lab.open_notebook(page, address, lab.write_notebook(folder / "captions.ipynb", dataset, source, cell=CELL).name)
    lab.run_cells(page)
    first, second, third = (record.filename for record in dataset.images)
    on_disk = lambda: [record.caption for record in Dataset.open(dataset.folder).images]  # noqa: E731
    at(page, first)
    page.wait_for_function("() => document.querySelector('.fc-pair img')?.naturalWidth")
    assert "long brown hair" in page.locator(".fc-difference del").first.inner_text()
    before = lab.cells(page)

    page.locator(".fc-root").focus()
    page.keyboard.press("Enter")
    said(page, f"caption of {first} changed")
    at(page, second)
    assert on_disk()[0] == "ohwx_maya, close-up portrait, wearing a red hat, forest background"
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(", axe")
    page.keyboard.press("Control+Enter")
    said(page, f"caption of {second} changed")
    at(page, third)
    assert on_disk()[1] == f"{WORDS[1]}, axe"
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    page.keyboard.type(", unsaved")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")  # going on saves what is written
    at(page, second)
    assert on_disk()[2] == f"{WORDS[2]}, unsaved"
    page.keyboard.press("u")
    said(page, "taken back: 1 captions")
    at(page, third)
    assert on_disk()[2] == WORDS[2]

    page.get_by_label("replace these words").fill("red hat")
    page.get_by_label("by these words", exact=True).fill("blue cap")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="replace in 2").wait_for()
    assert page.locator(".fc-preview ins").all_inner_texts() and "red hat" in on_disk()[0]
    page.get_by_role("button", name="replace in 2").click()
    said(page, "2 captions changed")
    assert "blue cap" in on_disk()[0] and "blue cap" in on_disk()[1]
    page.locator(".fc-root").focus()
    for key in "abdfhijklmnopqstvwxz0123456789":
        page.keyboard.press(key)
    assert lab.cells(page) == before
