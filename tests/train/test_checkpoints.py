import hashlib
import subprocess

import pytest
import torch

from flenlib.train import checkpoints

CPU = torch.device("cpu")


def save(folder, step):
    state = {"weights": [torch.full((2,), float(step))], "average": [], "optimizer": {}}
    return checkpoints.save(folder, step, state, lambda path: path.write_bytes(b"lora %d" % step))


def row(step):
    return {name: step if name == "step" else 0.5 for name in checkpoints.COLUMNS} | {"bin_3": None}


def test_every_lora_is_kept_and_only_the_last_state(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    for step in (10, 20, 30):
        save(tmp_path, step)
    assert checkpoints.latest(tmp_path) == 30
    assert len(list(tmp_path.glob("checkpoints/*/lora.safetensors"))) == 3
    assert len(list(tmp_path.glob("checkpoints/*/state.pt"))) == 1
    assert checkpoints.load(tmp_path, 30, CPU)["weights"][0].tolist() == [30, 30]


def test_a_checkpoint_that_fails_half_way_leaves_the_earlier_one(tmp_path):
    save(tmp_path, 10)

    def full_disk(path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    with pytest.raises(RuntimeError, match=r"checkpoint of step 20 could not be written .*step_000020: no space"):
        checkpoints.save(tmp_path, 20, {}, full_disk)
    assert checkpoints.latest(tmp_path) == 10
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_000010"]


def test_the_log_forgets_what_came_after_the_checkpoint(tmp_path):
    checkpoints.forget_after(tmp_path, 0)
    for step in range(1, 6):
        checkpoints.log_row(tmp_path, row(step))
    with (tmp_path / "log.csv").open("a") as file:
        file.write("6,0.5,0.")
    checkpoints.forget_after(tmp_path, 4)
    log = checkpoints.read_log(tmp_path)
    assert list(log.columns) == checkpoints.COLUMNS
    assert log["step"].tolist() == [1, 2, 3, 4] and log["bin_3"].isna().all()


def test_a_change_is_named(tmp_path):
    run = {"settings": {"rank": 16, "steps": 4}, "samples": [{"caption": "a"}, {"caption": "b"}], "model": "x"}
    checkpoints.check_same(tmp_path, run)
    checkpoints.check_same(tmp_path, run)
    with pytest.raises(ValueError, match="settings: rank was 16 and is now 8"):
        checkpoints.check_same(tmp_path, run | {"settings": {"rank": 8, "steps": 4}})
    with pytest.raises(ValueError, match="samples: there were 2 and there are now 1"):
        checkpoints.check_same(tmp_path, run | {"samples": [{"caption": "a"}]})
    with pytest.raises(ValueError, match="samples: number 2 was"):
        checkpoints.check_same(tmp_path, run | {"samples": [{"caption": "a"}, {"caption": "c"}]})
    with pytest.raises(ValueError, match="model was 'x' and is now 'y'"):
        checkpoints.check_same(tmp_path, run | {"model": "y"})


def test_a_record_cut_in_half_is_named(tmp_path):
    (tmp_path / "training.json").write_text('{"settings": {')
    with pytest.raises(ValueError, match=r"training\.json is damaged or cut short"):
        checkpoints.check_same(tmp_path, {})


def test_a_log_that_cannot_be_written_again_is_one_sentence(tmp_path):
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(RuntimeError, match=r"the log could not be written to .*log\.csv.*make room"):
        checkpoints.forget_after(tmp_path, 3)


def test_a_checkpoint_says_with_which_bytes_it_was_written(tmp_path):
    path = save(tmp_path, 10) / "lora.safetensors"
    assert checkpoints.recorded(path) == hashlib.sha256(b"lora 10").hexdigest()
    assert (
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=path.parent, check=False).returncode == 0
    )
    (path.parent / "SHA256SUMS").write_bytes(b"\xff\n")
    assert checkpoints.recorded(path) == ""


@pytest.mark.parametrize("damage", [lambda whole: whole[:99], lambda whole: b"", lambda whole: whole[:-1] + b"x"])
@pytest.mark.parametrize("hashes", [True, False])
def test_a_damaged_state_is_one_sentence(tmp_path, damage, hashes):
    path = save(tmp_path, 10) / "state.pt"
    whole = path.read_bytes()
    path.write_bytes(damage(whole) if hashes else damage(whole)[:100])
    if not hashes:
        path.with_name("SHA256SUMS").unlink()
    with pytest.raises(
        ValueError, match=r"state\.pt is damaged \(.*\); delete it, and training begins again"
    ) as caught:
        checkpoints.load(tmp_path, 10, CPU)
    assert "\n" not in str(caught.value)


def test_rows_that_are_no_numbers_are_forgotten(tmp_path):
    checkpoints.forget_after(tmp_path, 0)
    for step in range(1, 4):
        checkpoints.log_row(tmp_path, row(step))
    with (tmp_path / "log.csv").open("ab") as file:
        for first, other in ((b"x", b",0.5"), (b"4", b",\xff")):
            file.write(first + other * (len(checkpoints.COLUMNS) - 1) + b"\n")
    checkpoints.forget_after(tmp_path, 9)
    assert checkpoints.read_log(tmp_path)["step"].tolist() == [1, 2, 3]
