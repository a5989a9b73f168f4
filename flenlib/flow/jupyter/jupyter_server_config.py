"""Jupyter's server settings: git hears of every notebook that is saved, so that outputs alone are no change to it."""

import runpy
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="Overriding existing post_save_hook")  # Jupyter reads these settings twice
after_save = runpy.run_path(str(Path(__file__).resolve().parent.parent / "clean.py"))["after_save"]
# Jupyter provides get_config
get_config().FileContentsManager.post_save_hook = after_save  # type: ignore[name-defined]  # noqa: F821
