"""Jupyter's settings: git hears of every notebook that is saved, and JupyterLab saves all that a run put into one."""

import runpy
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
warnings.filterwarnings("ignore", message="Overriding existing post_save_hook")  # Jupyter reads these settings twice
settings = get_config()  # type: ignore[name-defined]  # noqa: F821  # Jupyter provides it
settings.FileContentsManager.post_save_hook = runpy.run_path(str(HERE.parent / "clean.py"))["after_save"]
settings.LabApp.extra_labextensions_path = [str(HERE / "labextensions")]
