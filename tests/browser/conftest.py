"""One JupyterLab and one browser for all browser tests, and a page of its own for each."""

import pytest


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="package")
def address(folder):
    lab = pytest.importorskip("tests.browser.lab")
    with lab.server(folder) as address:
        yield address


@pytest.fixture(scope="package")
def browser():
    lab = pytest.importorskip("tests.browser.lab")
    with lab.chromium() as browser:
        yield browser


@pytest.fixture
def page(browser):
    lab = pytest.importorskip("tests.browser.lab")
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(120_000)  # a busy machine is no fault of the widget
    page.add_init_script(lab.LATENCY)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    yield page
    assert page.faults == []
    page.close()
