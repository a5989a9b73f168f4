"""All steps of both wheels, killed at random moments until they are done, come to what an undisturbed run comes to."""

import os
import subprocess
import sys
import time

import pytest


def storm(folder, *options):
    command = [sys.executable, "-m", "tests.flow.storm", str(folder), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]


def test_a_storm_of_kills_changes_nothing(tmp_path):
    storm(tmp_path, "--seed", "1", "--every", "400")


@pytest.mark.slow
def test_five_minutes_of_storms_over_the_shipped_models_change_nothing(tmp_path):
    storm(tmp_path, "--seed", str(int(time.time())), "--seconds", "300", "--every", "100", "--whole")
