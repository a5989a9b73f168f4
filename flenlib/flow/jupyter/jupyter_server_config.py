"""Jupyter's server settings: git hears of every notebook that is saved, so that outputs alone are no change to it."""

import runpy
from pathlib import Path

after_save = runpy.run_path(str(Path(__file__).resolve().parent.parent / "clean.py"))["after_save"]
get_config().FileContentsManager.post_save_hook = after_save  # noqa: F821 (Jupyter provides get_config)
