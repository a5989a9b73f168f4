"""Records: what a step leaves behind is read back as its own type, and tables are shown whole."""

import logging
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from flenlib import models
from flenlib.dataset.files import write_json
from flenlib.flow import Clock
from flenlib.project import open_iteration
from flenlib.steps import Blocked, Criterion, criteria_table, record
from flenlib.wheel import results

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional"}
FOUND = "median 0.373 against the base model's 0.491; paired difference -0.108 [-0.135, -0.081] over 12 cells"


@pytest.fixture
def project(tmp_path):
    return open_iteration(CHARACTER, root=tmp_path)


def test_a_started_run_shows_its_tables_whole(project):
    table = criteria_table([Criterion("v1 nearer to held-out sources than the base model", True, FOUND)])
    with pd.option_context("display.max_colwidth", 50, "display.max_columns", 20, "display.max_rows", 60):
        assert "...</td>" in table._repr_html_()
        Clock(project, "11_curate_source")
        assert FOUND in table._repr_html_()


def test_a_result_is_read_back_as_its_type(project):
    table = pd.DataFrame({"LoRA": ["base", "v1"], "distance": [0.5, float("nan")], "n": [3, 4]}).set_index("LoRA")
    criterion = Criterion("better", False, "no", blocking=True)
    left = results.RetrainAndCompare(sentence="no difference", criteria=[criterion], table=table, ship="v1")
    record.write(project, left)
    found = record.result(project, results.RetrainAndCompare)
    assert (found.ship, found.sentence, list(found.criteria)) == ("v1", "no difference", [criterion])
    pd.testing.assert_frame_equal(found.table, table)
    record.write(project, results.TrainCharacter(sentence="", lora=Path("/a/b.safetensors"), loss=(1, 0.5), depth=2))
    trained = record.needed(project, results.TrainCharacter)
    assert trained.lora == Path("/a/b.safetensors") and trained.loss == (1.0, 0.5) and trained.depth == 2


def test_what_has_not_finished_is_none_or_a_sentence(project):
    assert record.result(project, results.TrainCharacter) is None
    with pytest.raises(FileNotFoundError, match="14_train_character of tester v1 has not finished; run it first"):
        record.needed(project, results.TrainCharacter)


def test_a_damaged_record_means_not_finished(project):
    path = record.run_file(project, "11_curate_source")
    path.parent.mkdir(parents=True)
    path.write_text('{"step": "11_cur')
    assert record.read(project, "11_curate_source") is None


def test_a_result_of_another_form_means_not_finished(project):
    """A record of another version of the kit lacks a field, or holds no result at all."""
    write_json(record.run_file(project, "12_enrich"), {"step": "12_enrich", "results": {"sentence": "50 edits"}})
    assert record.read(project, "12_enrich") and record.result(project, results.Enrich) is None
    write_json(record.run_file(project, "12_enrich"), {"step": "12_enrich", "results": {}})
    assert record.read(project, "12_enrich") is None


def test_an_unmet_blocking_criterion_blocks_unless_anyway(project):
    failed = Criterion("at least 10 usable pictures", False, "7", blocking=True)
    result = results.CurateSource(sentence="7 of 9", criteria=[failed], pictures=9, usable=7)
    with pytest.raises(Blocked, match=r"11_curate_source stops here\. It needs at least 10 .*; it found 7"):
        result.check()
    assert result.check(anyway=True) is result
    harmless = Criterion("better", False, "no")
    assert results.CurateSource(sentence="", criteria=[harmless], pictures=9, usable=9).check()


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


@pytest.mark.parametrize(
    "damaged", ["[" * 100_000, "null", "\xff", '{"step": "1", "results": {"sentence": "x", "models": 3}}']
)
def test_a_damaged_record_of_a_step_that_is_needed_is_named(project, damaged):
    path = record.run_file(project, "14_train_character")
    path.parent.mkdir(parents=True)
    path.write_text(damaged, encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"14_train_character\.run\.json is damaged, or of another version; run"
    ) as caught:
        record.needed(project, results.TrainCharacter)
    assert "\n" not in str(caught.value)
