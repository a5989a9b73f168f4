"""Records: what a step leaves behind, and tables shown whole."""

import json
import logging
import subprocess
import sys

import pandas as pd

from flenlib import models
from flenlib.project import open_iteration
from flenlib.steps.record import Clock, Criterion, criteria_table

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional"}
FOUND = "median 0.373 against the base model's 0.491; paired difference -0.108 [-0.135, -0.081] over 12 cells"


def test_a_started_run_shows_its_tables_whole(tmp_path):
    table = criteria_table([Criterion("v1 nearer to held-out sources than the base model", True, FOUND)])
    with pd.option_context("display.max_colwidth", 50, "display.max_columns", 20, "display.max_rows", 60):
        assert "...</td>" in table._repr_html_()
        clock = Clock(open_iteration(CHARACTER, root=tmp_path), "18_retrain_and_compare")
        assert FOUND in table._repr_html_()
    assert json.loads(clock.finish({"ship": "v1"}).read_text())["results"] == {"ship": "v1"}


def test_importing_the_model_rooms_says_nothing():
    """Two libraries warn at every import of what is no matter here; each model notebook would begin in red."""
    code = "import flenlib.wheel.select, flenlib.models.registry, flenlib.train.loop"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_only_what_changes_nothing_is_kept_quiet():
    for name, words in models.SAID_FOR_NOTHING.items():
        logger = logging.getLogger(name)
        said = [logger.makeRecord(name, logging.WARNING, "", 0, text, (), None) for text in (f"{words}: x", "a fault")]
        assert [bool(logger.filter(record)) for record in said] == [False, True]
