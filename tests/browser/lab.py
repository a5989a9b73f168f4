"""A real JupyterLab server and a headless Chromium, for the browser tests, the benchmark and the screenshots."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from flenlib.dataset.images import save_picture
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDGET = """
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset
from flenlib.review.widget import ReviewWidget

dataset, source = Dataset.open({folder!r}), Dataset.open({source!r})
ReviewWidget(dataset, Journal(dataset.folder / "journal.jsonl"), sources=[source]{more})
""".strip()

LATENCY = """
  const send = WebSocket.prototype.send;
  window.latency = 0;
  WebSocket.prototype.send = function (data) {
    if (window.latency) setTimeout(() => send.call(this, data), window.latency);
    else send.call(this, data);
  };"""
"""A script for new pages, with which `set_latency` works."""


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run JupyterLab in a folder, with settings of its own, and give its address."""
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", f"--ServerApp.root_dir={folder}"]
    with serving(command, folder) as address:
        yield address


@contextmanager
def serving(command: list[str], folder: Path) -> Iterator[str]:
    """Run a command that becomes JupyterLab, with Lab's settings and log in a folder, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(folder / ".jupyter" / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / ".jupyter" / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    quiet = folder / ".jupyter" / "settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True, exist_ok=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    options = [
        "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token=",
        "--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with (folder / "lab.log").open("wb") as log:
        process = subprocess.Popen(command + options, env=os.environ | own, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/api/status", process, folder / "lab.log")
            yield address
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium without a window."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def write_notebook(
    path: Path, dataset: Dataset, source: Dataset, more: str = "", below: str = "1 + 1", cell: str = WIDGET
) -> Path:
    """Write a notebook with one cell that shows the widget, between two others that no key may change."""
    cell = cell.format(folder=str(dataset.folder), source=str(source.folder), more=more)
    cells = [
        nbformat.v4.new_markdown_cell("above"),
        nbformat.v4.new_code_cell(cell),
        nbformat.v4.new_code_cell(below),
    ]
    for name, each in zip(("above", "review", "below"), cells, strict=True):
        each.id = name
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def open_notebook(page: Page, address: str, name: str) -> None:
    """Open a notebook and wait until its kernel is idle."""
    page.goto(f"{address}/lab/workspaces/w{time.monotonic_ns()}/tree/{name}")
    idle(page)


def idle(page: Page) -> None:
    """Wait until the open notebook has a kernel and the kernel is idle."""
    page.wait_for_function(
        """() => { const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
                   return session?.isReady && session.session?.kernel?.status === 'idle'; }""",
        timeout=120_000,
    )


def run_cells(page: Page) -> None:
    """Run all cells of the open notebook."""
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")


def run_from(page: Page, text: str) -> None:
    """Run the open notebook's first cell with a text, and all below it."""
    page.evaluate(
        """(text) => { const book = window.jupyterapp.shell.currentWidget.content;
                      book.activeCellIndex = book.widgets.findIndex((c) => c.model.sharedModel.source.includes(text));
                      void window.jupyterapp.commands.execute('notebook:run-all-below'); }""",
        text,
    )


def restart_kernel(page: Page) -> None:
    """Restart the kernel of the open notebook, as a person who loses patience does."""
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    idle(page)


def cells(page: Page) -> list[tuple[str, str]]:
    """Return type and source of every cell of the open notebook, as JupyterLab would save them."""
    script = """() => [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells]
                     .map((cell) => [cell.cell_type, cell.source])"""
    return [tuple(each) for each in page.evaluate(script)]


def wait_for_tiles(page: Page) -> None:
    """Wait until every picture of the first page can be seen."""
    page.wait_for_selector(".fr-root[data-ready]", timeout=120_000)
    page.wait_for_function(
        """() => { const images = [...document.querySelectorAll('.fr-tile img')];
                   return images.length && images.every((i) => i.complete && i.naturalWidth); }""",
        timeout=120_000,
    )


class Review:
    """A dataset, its journal, and a notebook that shows the widget on it."""

    def __init__(self, folder: Path, name: str, count: int, more: str = "", below: str = "1 + 1") -> None:
        self.dataset, self.source = make_datasets(folder / name, count)
        self.journal = Journal(self.dataset.folder / "journal.jsonl")
        self.name = write_notebook(folder / f"{name}.ipynb", self.dataset, self.source, more, below).name

    def open(self, page: Page, address: str) -> None:
        open_notebook(page, address, self.name)
        run_cells(page)
        wait_for_tiles(page)

    def labels(self) -> dict[str, str]:
        return {name: decision.label for name, decision in self.journal.decisions().items()}


def tile(page: Page, name: str) -> Locator:
    """Return the tile of one picture."""
    return page.locator(f'.fr-tile[data-name="{name}"]')


def shown(page: Page) -> list[str]:
    """Return the filenames of the tiles that are drawn."""
    return page.locator(".fr-tile").evaluate_all("(tiles) => tiles.map((t) => t.dataset.name)")


def saved(page: Page, name: str, label: str) -> None:
    """Wait until the widget shows a label as saved; only then is it looked for on disk."""
    page.wait_for_selector(f'.fr-tile[data-name="{name}"][data-label="{label}"]:not([data-saving])')


def status(page: Page, text: str) -> None:
    """Wait until the widget's line of messages says something."""
    page.wait_for_function("(t) => document.querySelector('.fr-status').textContent.includes(t)", arg=text)


def set_latency(page: Page, milliseconds: int) -> None:
    """Make what the browser sends to its server leave later, as it does on a slow network.

    The page needs the script `LATENCY`.
    """
    page.evaluate("(wait) => (window.latency = wait)", milliseconds)


def drop(page: Page, selector: str, path: Path) -> bool:
    """Drag a file from a file manager and drop it on an element; return whether the page has taken care of it."""
    return page.evaluate(
        """([selector, name, text]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
            const details = { dataTransfer: transfer, bubbles: true, cancelable: true };
            const event = (kind) => document.querySelector(selector).dispatchEvent(new DragEvent(kind, details));
            return ["dragenter", "dragover", "drop"].map(event).every((unhandled) => !unhandled); }""",
        [selector, path.name, base64.b64encode(path.read_bytes()).decode()],
    )


def make_datasets(folder: Path, count: int, size: int = 64) -> tuple[Dataset, Dataset]:
    """Write ``count`` edits of two sources: made-up pictures with made-up distances, the first the worst."""
    source = Dataset.open(folder / "source" / "v1", create=True)
    for number in range(2):
        source.add(_record(source, f"s{number}.png", number, size, angle="front"))
    dataset = Dataset.open(folder / "enriched" / "v1", create=True)
    for number in range(count):
        far = NOT_MEASURED if number % 10 == 9 else round(0.6 - 0.5 * number / count, 4)
        record = _record(dataset, f"p{number:04d}.png", number + 2, size, angle=("front", "half-left")[number % 2])
        record.measurements = {"face_distance": far, "threshold": 0.35}
        record.attributes = {
            "edit": ("lighting", "background")[number % 2],
            "edit_value": ("sunset", "beach")[number % 2],
        }
        record.parent, record.depth, record.kind = source.images[number % 2].sha256, 1, "edit"
        record.prompt, record.seed = "change the light to <b>sunset</b>", number
        dataset.add(record)
    source.save()
    dataset.save()
    return dataset, source


def _record(dataset: Dataset, name: str, number: int, size: int, **more: str) -> ImageRecord:
    y, x = np.mgrid[0:size, 0:size] / size
    chance = np.random.default_rng(number)
    colours = chance.uniform(0, 255, (3, 3))
    pixels = np.stack([c[0] * (1 - y) + c[1] * x * y + c[2] * (1 - x) for c in colours], axis=-1)
    pixels = np.clip(pixels / 2 + 255 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.08)[..., None] * 0.4, 0, 255)
    noise = chance.integers(0, 6, (size, size, 1))
    save_picture(
        Image.fromarray(np.clip(pixels + noise, 0, 255).astype("uint8")), dataset.folder / name, {"made_by": "mini"}
    )
    return ImageRecord(name, caption="a picture", expression="neutral", **more)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(900):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            if process.poll() is not None:
                raise RuntimeError(f"JupyterLab ended: {log.read_text()[-2000:]}") from None
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not answer within three minutes: {log.read_text()[-2000:]}")
