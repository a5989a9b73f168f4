"""The review widget with people in a hurry and slow networks: what is typed, dropped and pressed is not lost."""

import pytest
from PIL import Image

pytestmark = pytest.mark.browser
lab = pytest.importorskip("tests.browser.lab", reason="playwright is not installed: pip install playwright")
if lab.CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install Debian's package chromium", allow_module_level=True)

tile, shown, saved, status = lab.tile, lab.shown, lab.saved, lab.status
FOCUSED = "document.activeElement.className"


def mended(folder, name):
    """Write a picture as somebody has corrected it."""
    picture = Image.effect_noise((64, 64), 90).convert("RGB")
    picture.save(folder / name)
    return folder / name


def open_large(page, name):
    tile(page, name).dblclick()
    settled(page)


def settled(page):
    """Wait until the large pictures are shown: what cannot be seen gets no label."""
    page.wait_for_selector(".fr-single .fr-stage:not([data-waiting]) >> nth=1")
    page.wait_for_function("() => !document.querySelector('.fr-single .fr-stage[data-waiting]')")


def test_a_corrected_picture_is_dropped_where_it_belongs(folder, address, page, tmp_path):
    review = lab.Review(folder, "drops", 30)
    review.open(page, address)
    first, second, third = shown(page)[:3]
    assert lab.drop(page, f'.fr-tile[data-name="{second}"] img', mended(tmp_path, "second.png"))
    status(page, f"corrected picture kept as corrected/{second[:-4]}")
    assert list(review.labels().items()) == [(second, "needs_correction")]
    assert lab.drop(page, ".fr-progress", mended(tmp_path, "stray.png"))
    status(page, "drop a corrected picture on the picture it corrects")
    open_large(page, third)
    assert lab.drop(page, ".fr-single .fr-known", mended(tmp_path, "third.png"))
    status(page, f"corrected picture kept as corrected/{third[:-4]}")
    decisions = review.journal.decisions()
    assert decisions.keys() == {second, third} and all(d.corrected for d in decisions.values())

    settled(page)
    page.keyboard.press("1")  # what is in force is what a second look shows again
    page.keyboard.press("Escape")
    tile(page, first).click()
    page.keyboard.press("Control+a")
    page.keyboard.press("1")
    status(page, "24 pictures, good")
    page.get_by_role("button", name="second look").click()
    status(page, "a blind second look")
    before = review.journal.path.read_text()
    assert lab.drop(page, ".fr-tile", mended(tmp_path, "blind.png"))
    status(page, "a second look is blind")
    assert review.journal.path.read_text() == before


def test_typed_text_is_kept_until_it_is_on_disk(folder, address, page):
    review = lab.Review(folder, "drafts", 6)
    review.open(page, address)
    first, second = shown(page)[:2]
    issue, prompt = page.get_by_label("what is to be corrected"), page.get_by_label("improved prompt")
    open_large(page, first)
    lab.set_latency(page, 300)
    page.keyboard.press("i")
    page.keyboard.type("six fingers")
    page.keyboard.press("Tab")
    assert issue.input_value() == "six fingers"
    page.keyboard.type("five fingers")
    page.keyboard.press("Control+Enter")
    assert (issue.input_value(), prompt.input_value()) == ("six fingers", "five fingers")
    page.wait_for_selector(".fr-unsaved", state="hidden")
    decision = review.journal.decisions()[first]
    assert (decision.issue, decision.prompt) == ("six fingers", "five fingers")

    lab.set_latency(page, 0)
    page.keyboard.press("ArrowRight")
    settled(page)
    away = (review.dataset.folder / second).rename(folder / second)
    page.keyboard.press("i")
    page.keyboard.type("gone")
    page.keyboard.press("Control+Enter")
    status(page, f"{second} is gone")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelector('.fr-form textarea').value === 'six fingers'")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.fr-form textarea').value === 'gone'")
    assert page.locator(".fr-unsaved").is_visible() and list(review.labels()) == [first]
    away.rename(review.dataset.folder / second)
    settled(page)
    page.keyboard.press("1")  # a label given after the refusal is not replaced by the text in passing
    page.wait_for_function("() => document.querySelector('.fr-form textarea').value === ''")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelector('.fr-form textarea').value === 'gone'")
    assert review.labels() == {first: "needs_correction", second: "good"}
    page.get_by_role("button", name="save", exact=True).click()
    page.wait_for_selector(".fr-unsaved", state="hidden")
    assert review.journal.decisions()[second].issue == "gone"


def test_quick_reasons_are_all_kept_and_cause_no_alarm(folder, address, page):
    review = lab.Review(folder, "reasons", 6)
    review.open(page, address)
    first, second = shown(page)[:2]
    open_large(page, first)
    lab.set_latency(page, 200)
    for key in "cha":  # the label is not on disk yet when the first reason is pressed, nor that at the second
        page.keyboard.press(key)
    assert page.locator('.fr-reason[aria-pressed="true"]').all_inner_texts() == ["a anatomy", "h hands"]
    page.wait_for_function("() => !document.querySelector('.fr-reason[data-draft]')")
    status(page, "saved")
    decision = review.journal.decisions()[first]
    assert (decision.label, sorted(decision.reasons)) == ("needs_correction", ["anatomy", "hands"])
    lab.set_latency(page, 0)
    page.locator(".fr-reason", has_text="light").click()
    page.wait_for_selector('.fr-reason[data-reason="light"]:not([data-draft])')
    assert page.evaluate(FOCUSED) == "fr-reason"
    settled(page)
    page.keyboard.press("1")  # still a key of the widget
    status(page, f"{first}, good")
    page.wait_for_function("(name) => document.querySelector('.fr-single').ariaLabel.startsWith(name)", arg=second)
    assert review.labels() == {first: "good"}


def test_a_label_goes_to_what_is_selected_or_seen_and_a_held_key_labels_once(folder, address, page):
    review = lab.Review(folder, "selected", 80)
    review.open(page, address)
    names = shown(page)
    tile(page, names[0]).click()
    page.keyboard.press("Space")
    page.keyboard.press("1")
    saved(page, names[0], "good")
    page.keyboard.press("3")  # the selection went with its label
    saved(page, names[1], "reject")
    assert review.labels() == {names[0]: "good", names[1]: "reject"}
    page.keyboard.down("2")
    for _ in range(5):
        page.keyboard.down("2")  # held: the browser repeats it
    page.keyboard.up("2")
    saved(page, names[2], "needs_correction")
    page.keyboard.down("ArrowRight")
    page.keyboard.down("ArrowRight")
    page.keyboard.up("ArrowRight")
    assert tile(page, names[5]).get_attribute("aria-current") == "true"
    assert len(review.labels()) == 3

    tile(page, names[5]).click(modifiers=["Control"])
    page.keyboard.press("Shift+End")  # pages that nobody has opened yet
    assert page.locator(".fr-selection b").inner_text() == "75 selected"
    page.keyboard.press("Escape")
    page.wait_for_selector('.fr-root[data-ready="3"]')
    page.keyboard.press("Home")
    page.wait_for_selector('.fr-root[data-ready="0"]')
    lab.wait_for_tiles(page)
    lab.set_latency(page, 3000)
    page.keyboard.press("]")  # this page is read ahead
    page.wait_for_selector('.fr-root[data-ready="1"]')
    page.keyboard.press("]")  # the kernel has not told of this one
    page.keyboard.press("3")
    page.keyboard.press("h")
    status(page, "the picture is not shown yet")
    lab.set_latency(page, 0)
    page.wait_for_selector('.fr-root[data-ready="2"]')
    assert len(review.labels()) == 3


def test_the_frame_is_there_before_the_kernel_and_filters_are_chosen_by_key(folder, address, page):
    review = lab.Review(folder, "waits", 20, below="import time; time.sleep(3)")
    lab.open_notebook(page, address, review.name)
    lab.run_cells(page)
    page.wait_for_selector(".fr-root >> text=waiting for the kernel")
    lab.wait_for_tiles(page)
    move_on = page.get_by_label("move on")
    move_on.focus()
    page.keyboard.press("Space")
    assert not move_on.is_checked() and not page.locator(".fr-selection").is_visible()
    face = page.locator('select[aria-label="face"]')
    face.focus()
    for count, chosen in ((9, "beyond"), (9, "within"), (2, "not measured")):
        page.keyboard.press("ArrowDown")
        page.wait_for_function(f"() => document.querySelector('.fr-page').textContent.includes('{count} pictures')")
        assert face.input_value() == chosen and page.evaluate("document.activeElement.ariaLabel") == "face"
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUSED) == "fr-tile"
    page.locator('select[aria-label="saved views"]').select_option("+")
    page.keyboard.type("never mind")
    page.keyboard.press("Escape")
    page.wait_for_selector(".fr-fields input", state="detached")
    lab.wait_for_tiles(page)
    page.keyboard.press("1")
    page.wait_for_selector('.fr-tile[data-label="good"]:not([data-saving])')
    assert not review.journal.path.with_name("views.json").exists() and len(review.labels()) == 1
    assert page.get_by_role("grid", name="pictures").get_by_role("gridcell").count() == 2


def test_a_strict_review_says_what_each_picture_still_adds(folder, address, page):
    review = lab.Review(folder, "adds", 8, ", have=source.images, target=(2, 3)")
    review.open(page, address)
    assert page.locator(".fr-badge").all_inner_texts() == ["half-left"] * 4
    turned = page.locator(".fr-tile", has=page.locator(".fr-badge")).first
    turned.click()
    page.keyboard.press("1")
    page.wait_for_function("() => document.querySelectorAll('.fr-badge').length === 1")  # the one that has been picked
    assert "1 picked of 2 to 3: 1 more needed" in page.locator(".fr-gaps").inner_text()
    page.keyboard.press("Control+a")
    page.keyboard.press("1")
    page.wait_for_selector("text=8 picked of 2 to 3: 5 too many")
    tile(page, shown(page)[0]).click()
    page.keyboard.press("i")
    status(page, "a strict review takes a picture or leaves it")
    assert len(review.labels()) == 8
