"""What `make lab` starts: JupyterLab on the iteration's own notebooks, with a person's options."""

import json
import os

import pytest
import yaml

from flenlib.flow import WHEEL, lab, lock
from flenlib.flow.__main__ import main
from flenlib.project import open_iteration

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}


class Started(Exception):
    """This process would now be JupyterLab."""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Run `flow lab` with options up to where JupyterLab would start; return its command and environment."""
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/mine")
    path = tmp_path / "v1.yaml"
    path.write_text(yaml.safe_dump({"character": CHARACTER}))

    def exec_(program, arguments, environment):
        raise Started(arguments, environment)

    monkeypatch.setattr(os, "execve", exec_)

    def start(*options):
        with pytest.raises(Started) as found:
            main(["lab", str(path), *options])
        return found.value.args

    return start


@pytest.fixture
def project(tmp_path):
    return open_iteration(CHARACTER, root=tmp_path)


def test_it_opens_copies_of_all_notebooks_at_the_first_that_is_not_done(started, project, capsys):
    command, environment = started("--", "--port", "9999")
    assert all((project.outputs / f"{step.name}.ipynb").is_file() for step in WHEEL.steps)
    assert f"--ServerApp.root_dir={project.root}" in command and command[-2:] == ["--port", "9999"]
    assert "--LabApp.default_url=/lab/tree/outputs/tester/v1/00_check_machine.ipynb" in command
    assert "13 notebooks in" in capsys.readouterr().out
    mine, kit = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    overrides = json.loads((lab.Path(kit) / "labconfig" / "default_setting_overrides.json").read_text())
    assert mine == "/mine" and overrides["@jupyterlab/docmanager-extension:plugin"]["autosaveInterval"] <= 5


@pytest.mark.parametrize(("user", "given"), [(0, 1), (1000, 0)])
def test_root_is_allowed_and_told(started, monkeypatch, capsys, user, given):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert started()[0].count("--allow-root") == given
    assert ("you are root" in capsys.readouterr().out) == bool(given)
    assert started("--", "--allow-root")[0].count("--allow-root") == 1


def test_while_another_process_works_the_notebooks_stay_as_they_are(started, project, capsys):
    from filelock import FileLock

    started()
    copy = project.outputs / "11_curate_source.ipynb"
    copy.write_text("as it is")
    with FileLock(project.outputs / ".lock"):
        started()
    assert copy.read_text() == "as it is" and "is in use by" in capsys.readouterr().out
    started()
    assert copy.read_text() != "as it is" and lock.HELD not in os.environ
