"""The review widget in a real JupyterLab: keys, mouse, restarts, two windows, many pictures, corrections."""

import pytest
from PIL import Image

from flenlib.dataset.images import open_image

pytestmark = pytest.mark.browser
lab = pytest.importorskip("tests.browser.lab", reason="playwright is not installed: pip install playwright")
if lab.CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install Debian's package chromium", allow_module_level=True)


tile, shown, saved, status = lab.tile, lab.shown, lab.saved, lab.status


def chooser(page, name):
    return page.locator(f'select[aria-label="{name}"]')


def test_labels_by_key_and_mouse_and_no_key_reaches_the_notebook(folder, address, page):
    review = lab.Review(folder, "keys", 30)
    review.open(page, address)
    before = lab.cells(page)
    names = shown(page)
    tile(page, names[0]).click()
    page.keyboard.press("1")
    saved(page, names[0], "good")
    page.keyboard.press("h")  # the next picture has the focus: its reason first, then its label
    page.keyboard.press("r")
    saved(page, names[1], "reject")
    tile(page, names[2]).get_by_role("button", name="fix").click()
    saved(page, names[2], "needs_correction")
    assert review.labels() == {names[0]: "good", names[1]: "reject", names[2]: "needs_correction"}
    assert review.journal.decisions()[names[1]].reasons == ("hands",)
    page.keyboard.press("u")
    saved(page, names[2], "")
    page.keyboard.press("y")
    saved(page, names[2], "needs_correction")
    assert "3/30" in page.locator(".fr-progress").inner_text()

    tile(page, names[4]).click()
    tile(page, names[7]).click(modifiers=["Shift"])
    page.keyboard.press("g")
    saved(page, names[7], "good")
    page.keyboard.press("Control+z")
    saved(page, names[7], "")
    assert len(review.labels()) == 3
    counts = [line.count('"label"') for line in review.journal.path.read_text().splitlines()]
    assert counts[:6] == [1, 1, 1, 0, 1, 4] and sum(counts) == 8, "what is labelled at once is one line"

    lines = review.journal.path.read_text()
    keys = [*"abdefhijklmnopqstvwxz05678[]?=", "Delete", "Escape", "Shift+Enter", "Control+Enter", "Control+s"]
    keys += ["Control+b", "Control+m", "ArrowUp", "ArrowDown", "Home", "End", "PageDown", "PageUp", "Shift+ArrowDown"]
    for key in keys:
        for _ in range(2):
            page.keyboard.press("Escape")
            page.keyboard.press(key)
    assert lab.cells(page) == before
    assert page.evaluate("document.querySelector('.fr-root').contains(document.activeElement)")
    assert review.labels().keys() == set(names[:3]) and review.journal.path.read_text().startswith(lines)


def test_a_killed_kernel_loses_nothing_and_the_review_resumes(folder, address, page):
    review = lab.Review(folder, "restart", 40)
    review.open(page, address)
    names = shown(page)
    tile(page, names[0]).click()
    for _ in names:
        page.keyboard.press("1")
    page.wait_for_selector('.fr-root[data-ready="1"]')
    lab.wait_for_tiles(page)  # what cannot be seen is not labelled
    for _ in range(2):
        page.keyboard.press("1")
    page.wait_for_function("() => document.querySelector('.fr-progress').textContent.startsWith('26/40')")
    lab.restart_kernel(page)
    page.keyboard.press("1")  # to a kernel that knows the widget no more
    assert len(review.labels()) == 26
    review.journal.append("p0039.png", "reject", reviewer="human", sha256=review.dataset.get("p0039.png").sha256)
    lab.run_cells(page)
    page.wait_for_selector('.fr-root[data-ready="1"]')
    lab.wait_for_tiles(page)
    assert page.locator(".fr-progress").inner_text().startswith("27/40")
    current = page.locator('.fr-tile[aria-current="true"]')
    assert current.get_attribute("data-label") == "" and "page 2 of 2" in page.locator(".fr-page").inner_text()
    current.click()
    page.keyboard.press("u")  # the last label of before the restart
    page.wait_for_function("() => document.querySelector('.fr-progress').textContent.startsWith('26/40')")


def test_two_tabs_and_a_second_kernel_lose_nothing(folder, address, browser, page):
    review = lab.Review(folder, "tabs", 12)
    review.open(page, address)
    names = shown(page)
    other = lab.write_notebook(folder / "tabs_other.ipynb", review.dataset, review.source)
    second = browser.new_page(viewport={"width": 1400, "height": 1000})
    second.set_default_timeout(120_000)
    lab.open_notebook(second, address, other.name)  # a kernel of its own
    lab.run_cells(second)
    lab.wait_for_tiles(second)
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    tab.set_default_timeout(120_000)
    lab.open_notebook(tab, address, review.name)  # the first one's kernel
    lab.run_cells(tab)
    lab.wait_for_tiles(tab)
    tile(page, names[0]).click()
    tile(second, names[0]).click()
    page.keyboard.press("1")
    saved(page, names[0], "good")
    second.keyboard.press("3")
    status(second, "was labelled good by human in another window")
    saved(second, names[0], "reject")
    page.keyboard.press("2")
    saved(page, names[1], "needs_correction")
    tile(tab, names[2]).click()
    tab.keyboard.press("1")
    saved(tab, names[2], "good")
    assert review.labels() == {names[0]: "reject", names[1]: "needs_correction", names[2]: "good"}
    second.keyboard.press("u")
    saved(second, names[0], "good")  # theirs is back
    page.get_by_role("button", name="reload").click()
    saved(page, names[2], "good")
    second.close()
    tab.close()


def test_two_hundred_pictures_filters_and_saved_views(folder, address, page):
    review = lab.Review(folder, "many", 200)
    review.open(page, address)
    assert page.evaluate("document.querySelectorAll('.fr-root *').length") < 1000
    assert "page 1 of 9 · 200 pictures" in page.locator(".fr-page").inner_text()
    tile(page, shown(page)[0]).click()
    page.keyboard.press("PageDown")
    page.wait_for_selector('.fr-root[data-ready="1"]')
    chooser(page, "face").select_option("not measured")
    page.wait_for_function("() => document.querySelector('.fr-page').textContent.includes('20 pictures')")
    chooser(page, "kind").select_option("lighting")
    page.wait_for_selector("text=no picture matches this view")  # every tenth is a background
    chooser(page, "kind").select_option("background")
    page.wait_for_function("() => document.querySelector('.fr-page').textContent.includes('20 pictures')")
    chooser(page, "saved views").select_option("+")
    page.keyboard.type("no face", delay=10)
    page.keyboard.press("Enter")
    status(page, "view no face saved")
    tile(page, shown(page)[0]).click()
    page.keyboard.press("Control+a")
    assert page.locator(".fr-selection").is_visible()
    page.locator(".fr-selection").get_by_role("button", name="reject").click()
    status(page, "20 pictures, reject")
    assert list(review.labels().values()) == ["reject"] * 20
    chooser(page, "face").select_option("")
    chooser(page, "kind").select_option("")
    chooser(page, "label").select_option("undecided")
    page.wait_for_function("() => document.querySelector('.fr-page').textContent.includes('180 pictures')")
    chooser(page, "saved views").select_option("no face")
    page.wait_for_function("() => document.querySelector('.fr-page').textContent.includes('20 pictures')")


def test_zoom_blink_and_a_corrected_picture(folder, address, page, tmp_path):
    review = lab.Review(folder, "single", 6)
    review.open(page, address)
    name = shown(page)[0]
    tile(page, name).dblclick()
    page.wait_for_function("() => document.querySelector('.fr-single .fr-percent').textContent.startsWith('fit')")
    assert page.locator(".fr-stage:visible").count() == 2
    page.keyboard.press("z")
    assert page.locator(".fr-stage:visible .fr-percent").first.inner_text() == "100 %"
    page.keyboard.press("v")
    assert page.locator(".fr-stage:visible").count() == 1
    page.keyboard.press("s")
    assert page.locator(".fr-stage:visible").get_attribute("data-version") == "source"
    page.keyboard.press("i")
    page.keyboard.type("six fingers gur", delay=5)  # letters that are keys elsewhere
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => document.querySelector('.fr-status').textContent.startsWith('saved')")
    assert review.journal.decisions()[name].issue == "six fingers gur"

    note = tmp_path / "note.txt"
    note.write_text("not a picture")
    page.set_input_files(".fr-file", note)
    status(page, "note.txt is not a picture")
    Image.new("RGB", (32, 32), "white").save(tmp_path / "small.png")
    page.set_input_files(".fr-file", tmp_path / "small.png")
    status(page, "small.png is 32 x 32 pixels")
    assert not review.journal.decisions()[name].corrected
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    noise.save(tmp_path / "mended.bmp")
    page.set_input_files(".fr-file", tmp_path / "mended.bmp")
    status(page, "corrected picture kept as corrected/")
    decision = review.journal.decisions()[name]
    assert (decision.label, decision.issue) == ("needs_correction", "six fingers gur")
    kept = open_image(review.dataset.folder / decision.corrected)
    assert kept.tobytes() == noise.tobytes()
    page.keyboard.press("Escape")
    page.wait_for_selector(".fr-badge >> text=corrected")


def test_pairs_a_second_look_and_gaps(folder, address, page):
    review = lab.Review(folder, "strict", 8, ", have=source.images, target=(2, 4), page_size=4")
    review.open(page, address)
    assert "0 picked of 2 to 4: 2 more needed" in page.locator(".fr-gaps").inner_text()
    assert page.locator(".fr-gap[data-lacks=true]", has_text="half-left 0").count() == 1
    names = shown(page)
    tile(page, names[0]).click()
    for name in names[:3]:
        page.keyboard.press("1")
        saved(page, name, "good")
    assert "3 picked" in page.locator(".fr-gaps").inner_text()
    page.get_by_role("button", name="pairs").click()
    for answer, said in (("1", "0 compared"), ("ArrowRight", "1 compared"), ("0", "2 compared")):
        status(page, said)
        page.wait_for_function("() => !document.querySelector('.fr-pairs .fr-stage[data-waiting]')")
        page.keyboard.press(answer)
    page.wait_for_selector("text=every pair has been compared")
    assert page.locator(".fr-standing li").count() == 3
    page.keyboard.press("Escape")
    page.get_by_role("button", name="second look").click()
    status(page, "a blind second look at 1 pictures")
    assert page.locator('.fr-tile[data-label="good"]').count() == 0
    lab.wait_for_tiles(page)
    page.locator(".fr-tile").first.click()
    page.keyboard.press("3")
    status(page, "saved")
    assert set(review.labels().values()) == {"good"} and review.journal.opinions()[0].label == "reject"
