"""How fast the review widget is, beside a plain grid of ipywidgets, in a real JupyterLab; and screenshots of it.

    python benchmarks/review.py
    python benchmarks/review.py --screenshots docs/images      # of what `make demo` made

Needs Debian's package chromium. For 24, 200 and 1,000 pictures of ``--pixels`` squared it prints the median and the
range over ``--repeats`` of the time from running the cell until the grid can be used (every picture of the first page
is drawn), the elements in the page, and the time from a key until the label is on disk (fsynced) and the browser
knows. The journal has a policy's label on every picture by then, as after a run with ``reviewer: auto``. The plain grid
holds all pictures at once, as such grids do.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flenlib.dataset.journal import Journal
from flenlib.dataset.records import NOT_MEASURED, Dataset
from flenlib.project import open_iteration
from tests.browser import lab

PREPARE = """
from flenlib.dataset.images import thumbnail
from flenlib.dataset.journal import Decision, Journal
from flenlib.dataset.records import Dataset
from flenlib.review.widget import ReviewWidget
import ipywidgets as w
dataset, source = Dataset.open({folder!r}), Dataset.open({source!r})
journal = Journal(dataset.folder / {journal!r})
journal.extend([Decision(r.filename, "reject", ("drift",), "auto", sha256=r.sha256) for r in dataset.images])
"""
WIDGET = "ReviewWidget(dataset, journal, sources=[source])"
PLAIN = """
def cell(record):
    choice = w.ToggleButtons(options=["good", "needs_correction", "reject"], value=None)
    done = w.Label()
    def decide(change):
        journal.append(record.filename, change.new, sha256=record.sha256)
        done.value = "saved"
    choice.observe(decide, "value")
    picture = w.Image(value=thumbnail(dataset.path(record), 256), width=144)
    return w.VBox([picture, choice, w.Dropdown(options=["", "hands", "light"]), w.Text(placeholder="why"), done])
w.GridBox([cell(r) for r in dataset.images], layout=w.Layout(grid_template_columns="repeat(4, 24%)"))
"""
COUNT = "document.querySelectorAll('.jp-Notebook .jp-OutputArea *').length"
DRAWN = """(n) => { const i = [...document.querySelectorAll('.jp-OutputArea img')];
           return i.length >= n && i.every((x) => x.complete && x.naturalWidth); }"""
KEYS = """() => { window.waits = [];
  const began = new Map(); // a tile is hatched in the handler of the key, until the kernel says that it is on disk
  new MutationObserver((all) => all.forEach(({ target }) => {
    const name = target.dataset.name;
    if (!name) return;
    if ('saving' in target.dataset) { if (!began.has(name)) began.set(name, performance.now()); }
    else if (began.has(name)) { window.waits.push(performance.now() - began.get(name)); began.delete(name); }
  })).observe(document.querySelector('.fr-grid'), { subtree: true, attributeFilter: ['data-saving'] }); }"""
CLICKS = """async () => { const waits = [];
  for (const group of [...document.querySelectorAll('.widget-toggle-buttons')].slice(0, 20)) {
    const box = group.parentElement;
    const began = performance.now();
    group.querySelectorAll('button')[0].click();
    while (!box.textContent.includes('saved')) await new Promise((r) => setTimeout(r, 1));
    waits.push(performance.now() - began);
  }
  return waits; }"""


def measure(page, address: str, folder: Path, dataset: Dataset, source: Dataset, plain: bool) -> dict[str, float]:
    """Return seconds to a usable grid, elements in the page and milliseconds from key to disk, once."""
    count = len(dataset.images)
    options = {"folder": str(dataset.folder), "source": str(source.folder), "journal": f"{time.monotonic_ns()}.jsonl"}
    cells = [
        nbformat.v4.new_code_cell(PREPARE.format(**options)),
        nbformat.v4.new_code_cell(PLAIN if plain else WIDGET),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / f"{time.monotonic_ns()}.ipynb"
    nbformat.write(notebook, path)
    lab.open_notebook(page, address, path.name)
    run = "() => void window.jupyterapp.commands.execute('notebook:run-cell-and-select-next')"
    page.evaluate(run)
    page.wait_for_timeout(1500)
    lab.idle(page)
    began = time.perf_counter()
    page.evaluate(run)
    page.wait_for_function(DRAWN, arg=count if plain else min(24, count) * 2, timeout=300_000)
    seconds = time.perf_counter() - began
    elements = page.evaluate(COUNT)
    if plain:
        waits = page.evaluate(CLICKS)
    else:
        page.wait_for_timeout(1000)  # the next page has been read ahead
        page.evaluate(KEYS)
        page.locator(".fr-tile").first.click()
        for done in range(20):
            page.keyboard.press("1")
            page.wait_for_function("(n) => window.waits.length > n", arg=done)
        waits = page.evaluate("window.waits")
    return {"seconds": seconds, "elements": elements, "milliseconds": statistics.median(waits), "worst": max(waits)}


def table(counts: list[int], repeats: int, pixels: int) -> None:
    """Measure and print."""
    print(f"pictures of {pixels} x {pixels} pixels, {repeats} repeats\n")
    print("| grid | pictures | usable after, s (range) | elements | key to disk, ms (median) | slowest key, ms |")
    print("|---|---|---|---|---|---|")
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            dataset, source = lab.make_datasets(folder, count, pixels)
            for plain in (False, True):
                with lab.server(folder) as address, lab.chromium() as browser:
                    found = []
                    for _ in range(repeats):
                        page = browser.new_page(viewport={"width": 1400, "height": 1000})
                        found.append(measure(page, address, folder, dataset, source, plain))
                        page.close()
                took = sorted(each["seconds"] for each in found)
                middle = {key: statistics.median(each[key] for each in found) for key in found[0]}
                print(
                    f"| {'ipywidgets' if plain else 'this widget'} | {count} | {middle['seconds']:.2f} "
                    f"({took[0]:.2f} to {took[-1]:.2f}) | {middle['elements']:.0f} | {middle['milliseconds']:.0f} | "
                    f"{max(each['worst'] for each in found):.0f} |",
                    flush=True,
                )


def copied(folder: Path) -> tuple[Dataset, Dataset]:
    """Copy what `make demo` made, without anybody's labels: the edits and their sources."""
    project = open_iteration({"name": "mini_maya", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"})
    found = []
    for stage in ("enriched", "source"):
        made, copy = Dataset.open(project.data(stage)), Dataset.open(folder / stage / "v1", create=True)
        for record in made.images:
            shutil.copy2(made.path(record), copy.path(record))
            record.label = None
            copy.add(record)
        copy.save()
        found.append(copy)
    return found[0], found[1]


def screenshots(folder: Path) -> None:
    """Write pictures of the widget on the demo's edits: the grid, one picture, the strict review, a dark theme."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        dataset, source = copied(work)
        policy = {"within": ("good", "within the threshold"), "beyond": ("reject", "identity drift")}
        journal = Journal(dataset.folder / "journal.jsonl")
        for record in dataset.images:
            found = record.measurements["face_distance"]
            known = found == NOT_MEASURED or found <= record.measurements["threshold"]
            label, reason = policy["within" if known else "beyond"]
            journal.append(record.filename, label, [reason], "auto", sha256=record.sha256)
        lab.write_notebook(work / "review.ipynb", dataset, source)
        lab.write_notebook(work / "strict.ipynb", dataset, source, ", have=source.images, target=(10, 20)")
        with lab.server(work) as address, lab.chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 1300})
            _show(page, address, "review.ipynb")
            page.locator(".fr-tile").first.click()
            for key in ["3", "w", "2", *"11111", "3", "1", "1"]:
                page.keyboard.press(key)
                page.wait_for_timeout(1200)
            page.locator(".fr-tile").nth(1).scroll_into_view_if_needed()
            _save(page, folder / "review_grid.jpg")
            page.locator(".fr-tile").nth(3).dblclick()
            page.keyboard.press("f")
            page.wait_for_selector(".fr-face")
            _save(page, folder / "review_single.jpg")
            _theme(page, "JupyterLab Dark")
            page.keyboard.press("Escape")
            page.wait_for_timeout(500)
            _save(page, folder / "review_dark.jpg")
            _theme(page, "JupyterLab Light")
            _show(page, address, "strict.ipynb")
            _save(page, folder / "review_strict.jpg")


def _show(page, address: str, name: str) -> None:
    lab.open_notebook(page, address, name)
    page.evaluate("() => void window.jupyterapp.commands.execute('application:toggle-left-area')")
    lab.run_cells(page)
    lab.wait_for_tiles(page)


def _theme(page, name: str) -> None:
    page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
    page.wait_for_timeout(1500)


def _save(page, path: Path) -> None:
    page.wait_for_timeout(800)
    page.locator(".fr-root").screenshot(path=path, type="jpeg", quality=75)
    print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, nargs="+", default=[24, 200, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=512)
    parser.add_argument("--screenshots", type=Path, help="write screenshots into this folder and measure nothing")
    options = parser.parse_args()
    if options.screenshots:
        screenshots(options.screenshots)
    else:
        table(options.pictures, options.repeats, options.pixels)


if __name__ == "__main__":
    main()
