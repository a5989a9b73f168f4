"""The price list: the kit's own, a person's over it, and one sentence for what is wrong in one."""

import pytest

from flenlib.predict import prices
from flenlib.predict.gpus import GPUS

MINE = "gpus:\n  - {gpu: RTX 4090 24 GB, hour: 0.14, source: my own electricity, date: 2026-11-01}\n"


def test_the_kits_list_says_of_each_price_where_and_when_it_was_read(tmp_path):
    found = prices.load(tmp_path / "none.yaml")
    assert {each.gpu for each in found.gpus} <= GPUS.keys() and len(found.gpus) >= 5
    assert all(each.source and each.date and each.hour > 0 for each in found.gpus)
    assert found.hour("RTX 4080 16 GB") is None and found.money(None) == "-"


def test_a_persons_list_replaces_single_gpus(tmp_path):
    (tmp_path / "prices.yaml").write_text(MINE + "currency: EUR \nperson: {review: 5}\n")
    ours, found = prices.load(tmp_path / "none.yaml"), prices.load(tmp_path / "prices.yaml")
    assert found.hour("RTX 4090 24 GB") == 0.14 and found.hour("L40S 48 GB") == ours.hour("L40S 48 GB")
    assert (found.person.review, found.person.curate) == (5, ours.person.curate)
    assert found.money(1.5) == "EUR1.50"


def test_the_list_beside_the_data_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    (tmp_path / "prices.yaml").write_text(MINE)
    assert prices.load().hour("RTX 4090 24 GB") == 0.14


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.14", "cheap", r"parameter 'gpus\.0\.hour' is 'cheap': Input should be a valid number"),
        ("0.14", "-1", r"parameter 'gpus\.0\.hour' is -1"),
        ("RTX 4090 24 GB", "RTX 4090", r"'gpus\.0\.gpu' is 'RTX 4090': Input should be one of RTX 4080 16 GB"),
        ("hour:", "hours:", r"unknown parameter 'gpus\.0\.hours'; did you mean 'hour'\?"),
        ("2026-11-01", "soon", r"Input should be a day that has been"),
        ("gpus:", "gpu:", r"unknown parameter 'gpu'; did you mean 'gpus'\?"),
    ],
)
def test_what_is_wrong_in_a_list_is_said_by_file_and_value(tmp_path, old, new, said):
    path = tmp_path / "prices.yaml"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(ValueError, match=said) as found:
        prices.load(path)
    assert str(found.value).startswith(str(path))
