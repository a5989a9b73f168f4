"""The experiment of several turns: what each policy feeds a turn, and what is plotted of it."""

import pandas as pd
import pytest

from flenlib import params
from flenlib.dataset.records import Dataset
from flenlib.project import ROOT, Project, open_iteration
from flenlib.record import write_json
from flenlib.wheel import turns
from flenlib.wheel.character import mixture_table
from tests.wheel.test_guards import CHARACTER, fill


@pytest.fixture
def third(tmp_path):
    """The third turn of a policy: two turns before it selected 6 pictures each."""
    house = open_iteration(CHARACTER, "v3", root=tmp_path)
    for number, project in ((1, Project(tmp_path, house.character, "v1")), (2, house.before())):
        fill(project, "pristine", 6, depth=1 + number)
        write_json(project.outputs / "turn.json", {"shipped": True, "depth": 1 + number})
    fill(house, "source", 4)
    fill(house, "enriched", 10, depth=1, label={"label": "good", "reasons": [], "reviewer": "auto"})
    return house


def fed(house, policy):
    told = params.load(ROOT / "params" / "mini" / "turns.yaml")
    source, enriched = Dataset.open(house.data("source")), Dataset.open(house.data("enriched"))
    return mixture_table(turns.samples(house, told, policy, source, enriched))


def test_what_each_policy_trains_on(third):
    guarded, unguarded, replacing = turns.policies(params.Guards())
    table = fed(third, guarded)
    assert table["pictures"].to_dict() == {"source": 4, "enriched": 10, "pristine v2": 6}
    assert table.loc["source", "share"] >= 0.5
    table = fed(third, unguarded)
    assert table["pictures"].to_dict() == {"source": 4, "enriched": 10, "pristine v1": 6, "pristine v2": 6}
    assert table.loc["source", "share"] == pytest.approx(4 / 26, abs=1e-3)
    assert fed(third, replacing)["pictures"].to_dict() == {"pristine v2": 6}


def test_a_refused_turn_feeds_the_next_all_the_same(third):
    """Its pictures were drawn by the LoRA that stayed in use."""
    write_json(third.before().outputs / "turn.json", {"shipped": False, "depth": 3})
    guarded, _, _ = turns.policies(params.Guards())
    assert fed(third, guarded)["pictures"]["pristine v2"] == 6


def test_the_plot_has_a_panel_for_each_measure():
    rows = [
        {"policy": p, "turn": t, "identity": 0.4, "low": 0.3, "high": 0.5, "faces found": 0.9, "diversity": 20.0,
         "real pictures": 0.5, "accepted": 0.3}
        for p in ("a", "b") for t in (1, 2)
    ]  # fmt: skip
    figure = turns.plot(pd.DataFrame(rows))
    assert len(figure.axes) == 5 and len(figure._repr_png_()) > 5000


def test_wrong_input_is_one_sentence(capsys):
    assert turns.main(["1", "params/mini/turns.yaml"]) == 1
    assert "turns is 1; at least 2 are needed" in capsys.readouterr().err
    assert turns.main(["2", "none.yaml"]) == 1
    assert "none.yaml does not exist" in capsys.readouterr().err
