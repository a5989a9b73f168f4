"""Step 1.8's verdict: right when there is a difference, silent when there is none, and never from too little."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flenlib.judge import compare


def table(tmp_path, name, distances, cells=23, seeds=4):
    paths = []
    for number in range(4):
        path = tmp_path / f"{name}_{number}.png"
        Image.fromarray(np.full((16, 16, 3), 50 * number + 20, np.uint8)).save(path)
        paths.append(str(path))
    rows = [
        {"cell": f"c{c}", "seed": s, "path": paths[(c + s) % 4], "angle": "front", "pose": "portrait"}
        for c in range(cells) for s in range(seeds)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["held_out_face_distance"] = frame["face_distance"] = distances
    frame["face_found"] = frame["face_distance"].notna().astype(float)
    return frame


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(0, 0.02, 92)


def test_a_nearer_second_is_better_and_may_ship(tmp_path, noise):
    tables = {"v1": table(tmp_path, "v1", 0.4 + noise), "v2": table(tmp_path, "v2", 0.35 - noise)}
    found = compare.compare(tables, "v1", "v2")
    assert found.better and found.ship and found.sentence.startswith("v2 is better than v1")
    assert not compare.compare(tables, "v2", "v1").better
    assert compare.compare(tables, "v2", "v1").ship is False


def test_no_difference_is_said_so(tmp_path, noise):
    tables = {"v1": table(tmp_path, "v1", 0.4 + noise), "v2": table(tmp_path, "v2", 0.4 + noise[::-1])}
    found = compare.compare(tables, "v1", "v2")
    assert not found.better and found.sentence.startswith("no difference shown")


def test_without_faces_nothing_is_concluded_and_nothing_ships(tmp_path):
    tables = {name: table(tmp_path, name, np.full(92, np.nan)) for name in ("base", "v1", "v2")}
    found = compare.compare(tables, "v1", "v2")
    assert not found.better and not found.ship and "no difference shown" in found.sentence
    assert not compare.base_gap(tables, "v1").holds


def test_the_base_gap_is_clear_or_not(tmp_path, noise):
    tables = {"base": table(tmp_path, "base", 0.5 + noise), "v1": table(tmp_path, "v1", 0.3 - noise)}
    gap = compare.base_gap(tables, "v1")
    assert gap.holds and "paired difference -0.20" in gap.found
    same = {"base": tables["base"], "v1": table(tmp_path, "v1", 0.5 + noise[::-1])}
    assert not compare.base_gap(same, "v1").holds
