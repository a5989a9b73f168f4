"""The experiment of several turns: what each policy feeds a turn, and what is plotted of it."""

import pandas as pd
import pytest
import yaml

from experiments import turns
from flenlib import params
from flenlib.dataset.images import read_provenance
from flenlib.models import lora
from flenlib.models.settings import load_iteration
from flenlib.project import ROOT, Project, open_iteration
from flenlib.wheel import guards, results
from flenlib.wheel.mixture import mixture_table
from tests.results import leave
from tests.studio import write_raw
from tests.wheel.test_guards import CHARACTER, fill


@pytest.fixture
def third(tmp_path):
    """The third turn of a policy: two turns before it selected 6 pictures each."""
    project = open_iteration(CHARACTER, "v3", root=tmp_path)
    for number, each in ((1, Project(tmp_path, project.character, "v1")), (2, project.before())):
        fill(each, "pristine", 6, depth=1 + number)
    fill(project, "source", 4)
    fill(project, "enriched", 10, depth=1, label={"label": "good", "reasons": [], "reviewer": "auto"})
    return project


def fed(project, policy):
    found = turns.learned(project, load_iteration(ROOT / "params" / "mini" / "turns.yaml"), policy)
    assert found.depth == max((r.depth for d in _inherited(project, policy) for r in d), default=1)
    return mixture_table(found.samples)


def _inherited(project, policy):
    return [records for _, _, records in guards.inherit(project, policy.guards).pictures]


def test_what_each_policy_trains_on(third):
    guarded, unguarded, replacing = turns.policies(params.Guards())
    table = fed(third, guarded)
    assert table["pictures"].to_dict() == {"source": 4, "enriched": 10, "pristine v2": 6}
    assert table.loc["source", "share"] >= 0.5
    table = fed(third, unguarded)
    assert table["pictures"].to_dict() == {"source": 4, "enriched": 10, "pristine v1": 6, "pristine v2": 6}
    assert table.loc["source", "share"] == pytest.approx(4 / 26, abs=1e-3)
    assert fed(third, replacing)["pictures"].to_dict() == {"pristine v2": 6}


def test_pictures_that_made_a_lora_no_fit_to_ship_feed_a_turn_as_little_as_an_iteration(third):
    """The rule is wheel 1's own, and it is read from the same record; without guards nothing is dropped."""
    leave(third.before(), results.RetrainAndCompare, ship="v2")
    guarded, unguarded, replacing = turns.policies(params.Guards())
    assert fed(third, guarded)["pictures"].to_dict() == {"source": 4, "enriched": 10}
    assert fed(third, unguarded)["pictures"]["pristine v2"] == 6
    assert fed(third, replacing)["pictures"].to_dict() == {"pristine v2": 6}


@pytest.fixture(scope="module")
def ran(tiny_flux, tiny_qwen_edit, tmp_path_factory):
    """Two turns of every policy with tiny models, from the command line: (folder of the results, what was printed)."""
    home = tmp_path_factory.mktemp("home")
    sections = {
        "character": CHARACTER,
        "iteration": "v1",
        "anyway": True,  # three edits of tiny models are no thirty good ones
        "models": {"generator": str(tiny_flux), "editor": str(tiny_qwen_edit), "precision": "fp32"},
        "curate": {"folder": str(write_raw(home / "pictures")), "minimum_size": 64},
        "enrich": {"edits_per_source": 1, "steps": 1, "tries": 1, "guidance": 1.0},
        "review_enriched": {"reviewer": "auto", "accept_unmeasured": True, "margin": 9.0},
        "train": {"steps": 2, "batch_size": 1, "warmup": 1, "checkpoint_every": 2, "sample_every": 2, "rank": 2},
        "generate": {"prompts": 3, "seeds_per_prompt": 1, "steps": 1},
        "filter": {"threshold": 0.6},
        "review_synthetic": {"reviewer": "auto", "select": 2},
        "card": {"seeds_per_cell": 1, "steps": 1},
    }
    (home / "turns.yaml").write_text(yaml.safe_dump(sections))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLENWHEEL_HOME", str(home))
        assert turns.main(["2", str(home / "turns.yaml")]) == 0
    return home / "outputs" / CHARACTER["name"] / "turns"


@pytest.mark.slow
def test_every_row_says_which_lora_drew_it(ran):
    frame = pd.read_csv(ran / "turns.csv")
    assert len(frame) == 6 and frame["drawn by"].str.startswith("LoRA of source + enriched").any()
    assert (ran / "turns.png").is_file()
    guarded = frame[frame["policy"] == "accumulate with guards"]
    assert str(guarded["handed on"].iloc[0]) == "False" and pd.isna(guarded["handed on"].iloc[1])  # noise shows no face
    assert guarded["drawn by"].nunique() == 1, "what was not handed on feeds nothing"


@pytest.mark.slow
def test_every_turn_is_an_iteration_with_its_own_records(ran):
    """What is measured is the LoRA that drew, and each step left the record the wheel's own steps leave."""
    for folder in sorted((ran / "accumulate_with_guards" / "outputs" / CHARACTER["name"]).glob("v*")):
        version = folder.name
        file = folder / f"char_lora_{version}" / f"char_lora_{version}.safetensors"
        pictures = list((ran / "accumulate_with_guards" / "data").glob(f"*/synthetic/{version}/*.png"))
        assert len(pictures) == 3
        for picture in pictures:
            used = read_provenance(picture)["models"]["loras"]
            assert [use["sha256"] for use in used] == [lora.fingerprint(file)]
        steps = {path.name.split("_")[0] for path in folder.glob("*.run.json")}
        assert steps == ({"14", "15", "16", "17", "18"} if version == "v1" else {"14", "15", "16", "17"})


@pytest.mark.slow
def test_a_second_run_does_no_work(ran, capsys):
    before = {path: path.stat().st_mtime_ns for path in ran.rglob("*.run.json")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLENWHEEL_HOME", str(ran.parents[2]))
        assert turns.main(["2", str(ran.parents[2] / "turns.yaml")]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_plot_has_a_panel_for_each_measure():
    rows = [
        {"policy": p, "turn": t, "held_out_face_distance": 0.4, "low": 0.3, "high": 0.5, "face_found": 0.9,
         "diversity": 20.0, "real pictures": 0.5, "accepted": 0.3}
        for p in ("a", "b") for t in (1, 2)
    ]  # fmt: skip
    figure = turns.plot(pd.DataFrame(rows))
    assert len(figure.axes) == 5 and len(figure._repr_png_()) > 5000


def test_wrong_input_is_one_sentence(capsys):
    assert turns.main(["1", "params/mini/turns.yaml"]) == 1
    assert "turns is 1; at least 2 are needed" in capsys.readouterr().err
    assert turns.main(["2", "none.yaml"]) == 1
    assert "none.yaml does not exist" in capsys.readouterr().err
