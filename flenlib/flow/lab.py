"""JupyterLab on one iteration: its notebooks with its parameters, saved as they run, so that Lab and make are one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flenlib.flow import copies, lock, stamps
from flenlib.params import FlowSettings
from flenlib.project import Project
from flenlib.steps import Flow, Step

CONFIG = Path(__file__).parent / "jupyter"
"""Settings of JupyterLab (a notebook is saved three seconds after it changed) and of its server (git hears of that)."""


def open_lab(project: Project, settings: FlowSettings, flow: Flow, options: Sequence[str]) -> None:
    """Renew the iteration's notebooks and become JupyterLab, opened at the first step that is not done.

    While another process works in the iteration its notebooks are shown as they are.
    """
    steps = flow.wanted(settings)
    try:
        with lock.held(project, "make lab"):
            copies.renew(project, steps, settings)
    except lock.Busy as busy:
        print(f"{busy}. Until then the notebooks are shown as they are.", flush=True)
    step = next((step for step in steps if not stamps.is_done(project, step, settings)), steps[0])
    arguments = command(project, step, options)
    print(f"{len(steps)} notebooks in {project.outputs}; JupyterLab opens {step.name}", flush=True)
    os.execve(sys.executable, arguments, environment())


def command(project: Project, step: Step, options: Sequence[str]) -> list[str]:
    """Return the command that opens a step's copy in JupyterLab; ``options`` come last and win."""
    page = project.notebook(step.name).relative_to(project.root).as_posix()
    own = [f"--ServerApp.root_dir={project.root}", f"--LabApp.default_url=/lab/tree/{page}"]
    if os.geteuid() == 0 and "--allow-root" not in options:
        print("you are root: JupyterLab is given --allow-root, without which it would refuse", flush=True)
        own.append("--allow-root")
    return [sys.executable, "-m", "jupyterlab", *own, *options]


def environment() -> dict[str, str]:
    """Return this process's environment, with the kit's settings for JupyterLab behind a person's own."""
    paths = [*filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")]), str(CONFIG)]
    return os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}
