import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from flenlib.models import lora
from flenlib.models.families.flux import Flux
from flenlib.models.families.qwen_edit import QwenEdit
from flenlib.params import Train
from flenlib.train import checkpoints, loop, optimizers
from flenlib.train.loop import Preview, Sample, train
from tests.train.common import bits, draw, open_flux

SETTINGS = Train(
    steps=8, batch_size=2, accumulate=2, rank=2, alpha=4, warmup=2, schedule="cosine", learning_rate=1e-2, ema=0.9,
    caption_dropout=0.3, checkpoint_every=3, sample_every=4,
)  # fmt: skip
PREVIEWS = [Preview("photo of ohwx person", seed=3, steps=1)]


@pytest.fixture(scope="module")
def unbroken(tiny_flux, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    samples = draw(folder / "pictures")
    events = []
    result = train(
        open_flux(tiny_flux), samples, SETTINGS, folder / "lora", previews=PREVIEWS,
        on_event=lambda kind, facts: events.append((kind, facts)),
    )  # fmt: skip
    return result, samples, events


def test_a_run_leaves_its_lora_log_checkpoints_and_previews(unbroken):
    result, _, events = unbroken
    folder = result.lora.parent
    assert result.lora.name == "lora.safetensors" and result.steps == 8 and result.resumed_from is None
    assert list(result.log.columns) == checkpoints.COLUMNS and result.log["step"].tolist() == list(range(1, 9))
    assert np.isfinite(result.log[["loss", "lr", "grad_norm", "seconds"]].to_numpy()).all()
    assert [p.name for p in sorted(folder.glob("checkpoints/*"))] == ["step_000003", "step_000006", "step_000008"]
    assert len(list(folder.glob("checkpoints/*/state.pt"))) == 1
    names = [path.name for path in sorted(folder.glob("samples/*.png"))]
    assert names == ["step_000000_0.png", "step_000004_0.png", "step_000008_0.png"]
    kinds = [kind for kind, _ in events]
    assert [kinds.count(kind) for kind in ("encoded", "step", "checkpoint", "sample")] == [5, 8, 3, 3]
    assert kinds[-3:] == ["sample", "watch", "checkpoint"]
    assert any(float(tensor.abs().max()) > 0 for name, tensor in load_file(result.lora).items() if "lora_B" in name)


@pytest.mark.parametrize("stops", [(1,), (3, 5), (2, 4, 7)])
def test_stopped_and_resumed_equals_unbroken(unbroken, tiny_flux, tmp_path, stops):
    whole, samples, _ = unbroken
    for stop in stops:
        part = train(open_flux(tiny_flux), samples, SETTINGS, tmp_path / "lora", previews=PREVIEWS, stop_after=stop)
        assert part.steps == stop and not (tmp_path / "lora" / "lora.safetensors").exists()
        torch.rand(7)  # the global generator is no part of a run
    result = train(open_flux(tiny_flux), samples, SETTINGS, tmp_path / "lora", previews=PREVIEWS)
    assert result.resumed_from == stops[-1]
    assert bits(result.lora) == bits(whole.lora)
    assert result.log.drop(columns="seconds").equals(whole.log.drop(columns="seconds"))


@pytest.mark.parametrize(
    ("precision", "optimizer"),
    [("fp32", "adamw"), ("fp32", "adamw8bit"), ("bf16", "adamw"), ("nf4", "adamw"), ("int8", "adamw")],
)
def test_one_family_object_serves_many_runs(tiny_flux, tmp_path, precision, optimizer):
    samples, settings = draw(tmp_path / "pictures"), SETTINGS.model_copy(update={"optimizer": optimizer, "rank": 64})
    family = Flux.load(tiny_flux, precision=precision, offload="none", device="cpu")
    before = family.sample("photo", seed=1, steps=1).tobytes()
    whole = train(family, samples, settings, tmp_path / "whole")
    train(family, samples, settings, tmp_path / "parts", stop_after=5)
    assert bits(train(family, samples, settings, tmp_path / "parts").lora) == bits(whole.lora)
    assert np.isfinite(whole.log["loss"]).all()
    assert family.sample("photo", seed=1, steps=1).tobytes() == before, "the base model is left as it was"


def test_the_average_is_in_the_place_of_the_weights_only_when_something_looks(tiny_flux, tmp_path, monkeypatch):
    applied, plain = [], optimizers.Average.applied

    def counted(self):
        applied.append(1)
        return plain(self)

    monkeypatch.setattr(optimizers.Average, "applied", counted)
    settings = SETTINGS.model_copy(update={"steps": 4, "checkpoint_every": 4, "sample_every": 2})
    train(open_flux(tiny_flux), draw(tmp_path / "pictures", 2), settings, tmp_path / "lora", previews=PREVIEWS)
    assert len(applied) == 4, "looks at steps 0, 2 and 4, and the saved file"


KILLED = """
import json, os, sys, time
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[4]))
from flenlib.models.families.flux import Flux
from flenlib.params import Train
from flenlib.train.loop import Sample, train
samples = [Sample(Path(path), caption, repeats) for path, caption, repeats in json.loads(sys.argv[2])]
family = Flux.load(sys.argv[1], precision="fp32", offload="none", device="cpu")
def tell(kind, facts):
    print(kind, facts.get("step"), flush=True)
    time.sleep(600 if (kind, facts.get("step")) == ("step", 5) else 0)
train(family, samples, Train(**json.loads(sys.argv[5])), sys.argv[3], on_event=tell)
"""


def test_killed_with_kill_9_and_resumed_equals_unbroken(unbroken, tiny_flux, tmp_path):
    whole, samples, _ = unbroken
    given = json.dumps([[str(sample.image), sample.caption, sample.repeats] for sample in samples])
    settings = json.dumps(SETTINGS.model_dump())
    command = [sys.executable, "-c", KILLED, str(tiny_flux), given, str(tmp_path / "lora")]
    process = subprocess.Popen(
        [*command, str(torch.get_num_threads()), settings], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.strip() == "step 5":
            os.kill(process.pid, signal.SIGKILL)
    errors = process.stderr.read()
    assert process.wait(timeout=60) == -signal.SIGKILL, errors
    assert checkpoints.latest(tmp_path / "lora") == 3
    result = train(open_flux(tiny_flux), samples, SETTINGS, tmp_path / "lora", previews=PREVIEWS)
    assert result.resumed_from == 3
    assert bits(result.lora) == bits(whole.lora)
    assert result.log["step"].tolist() == list(range(1, 9))


def test_a_finished_run_returns_at_once(unbroken, tiny_flux):
    whole, samples, _ = unbroken
    before, events = whole.lora.stat().st_mtime_ns, []
    folder = whole.lora.parent
    again = train(open_flux(tiny_flux), samples, SETTINGS, folder, on_event=lambda *event: events.append(event))
    assert again.lora.stat().st_mtime_ns == before and again.steps == 8 and again.resumed_from == 8
    assert events == []


@pytest.mark.parametrize("copy", [True, False])
def test_a_damaged_lora_is_never_published(tiny_flux, tmp_path, copy):
    """A hard link of the checkpoint's LoRA is damaged with it; both are written again from the state."""
    samples, settings = draw(tmp_path / "pictures", 2), Train(steps=2, batch_size=2, rank=2, checkpoint_every=2)
    done = train(open_flux(tiny_flux), samples, settings, tmp_path / "lora").lora
    written = checkpoints.lora_of(tmp_path / "lora", 2)
    whole = done.read_bytes()
    if copy:
        done.unlink()
    written.write_bytes(b"x")
    again = train(open_flux(tiny_flux), samples, settings, tmp_path / "lora")
    assert again.lora.read_bytes() == written.read_bytes() == whole, "the very same bytes, so whoever reads it is done"
    assert again.log["step"].tolist() == [1, 2]


def test_redone_work_keeps_its_hash(tiny_flux, tmp_path):
    samples, settings = draw(tmp_path / "pictures", 2), Train(steps=2, batch_size=2, rank=2)
    made = [train(open_flux(tiny_flux), samples, settings, tmp_path / name / "lora").lora for name in "ab"]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_run_killed_before_its_first_checkpoint_looks_at_step_0_once(tiny_flux, tmp_path):
    samples, settings = draw(tmp_path / "pictures", 2), Train(steps=2, batch_size=2, rank=2, sample_every=1)

    def stop(kind, facts):
        if kind == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(open_flux(tiny_flux), samples, settings, tmp_path / "lora", previews=PREVIEWS, on_event=stop)
    (tmp_path / "lora" / ".log.csv.0123abcd.tmp").write_text("of a killed writer")
    result = train(open_flux(tiny_flux), samples, settings, tmp_path / "lora", previews=PREVIEWS)
    assert result.watched["step"].tolist() == [0, 1, 2]
    assert not list((tmp_path / "lora").rglob("*.tmp"))


@pytest.mark.parametrize("changed", [{"rank": 4}, {"learning_rate": 0.5}])
def test_changed_settings_are_refused_by_name(unbroken, tiny_flux, changed):
    whole, samples, _ = unbroken
    with pytest.raises(ValueError, match=f"{next(iter(changed))} was .* and is now .*give another folder"):
        train(open_flux(tiny_flux), samples, SETTINGS.model_copy(update=changed), whole.lora.parent)


def test_another_model_is_refused(unbroken, tiny_flux, tiny_qwen_edit):
    whole, samples, _ = unbroken
    editor = QwenEdit.load(tiny_qwen_edit, precision="fp32", offload="none", device="cpu")
    with pytest.raises(ValueError, match="model: family was 'flux' and is now 'qwen_edit'"):
        train(editor, samples, SETTINGS, whole.lora.parent)
    changed = open_flux(tiny_flux)
    with torch.no_grad():
        next(changed.transformer.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match=r"transformer was .* and is now"):
        train(changed, samples, SETTINGS, whole.lora.parent)


@pytest.mark.parametrize("transformer", [True, False])
def test_another_precision_is_refused_before_a_finished_run_returns(unbroken, tiny_flux, transformer):
    whole, samples, _ = unbroken
    other = Flux.load(tiny_flux, precision="nf4", offload="none", device="cpu", transformer=transformer)
    with pytest.raises(ValueError, match="model: precision was 'fp32' and is now 'nf4'"):
        train(other, samples, SETTINGS, whole.lora.parent)
    assert other.can_encode_text, "nothing was let go of, so the caller can train elsewhere"


def test_changed_samples_and_no_samples_are_refused(unbroken, tiny_flux):
    whole, samples, _ = unbroken
    with pytest.raises(ValueError, match="there were 5 and there are now 4"):
        train(open_flux(tiny_flux), samples[:4], SETTINGS, whole.lora.parent)
    with pytest.raises(ValueError, match="no samples"):
        train(open_flux(tiny_flux), [], SETTINGS, whole.lora.parent)


def test_a_loss_that_is_not_finite_stops_at_once(tiny_flux, tmp_path):
    samples = draw(tmp_path / "pictures", 2)
    settings = Train(
        steps=30, batch_size=2, rank=2, warmup=0, learning_rate=1e12, checkpoint_every=1, optimizer="adamw"
    )  # fmt: skip
    with pytest.raises(RuntimeError, match=r"is (nan|inf) at step \d+.*last checkpoint kept: step \d+.*learning_rate"):
        train(open_flux(tiny_flux), samples, settings, tmp_path / "lora")
    assert checkpoints.latest(tmp_path / "lora") is not None
    assert not (tmp_path / "lora" / "lora.safetensors").exists()


def test_training_lowers_the_loss(tiny_flux, tmp_path):
    samples = draw(tmp_path / "pictures", 2)
    settings = Train(steps=40, batch_size=2, rank=8, learning_rate=2e-2, warmup=2, caption_dropout=0, ema=0)
    log = train(open_flux(tiny_flux), samples, settings, tmp_path / "lora").log
    assert log["loss"].tail(10).mean() < 0.9 * log["loss"].head(10).mean()


def test_the_same_loop_trains_an_editor(tiny_qwen_edit, tmp_path):
    pictures = draw(tmp_path / "pictures", 3)
    samples = [
        Sample(target.image, f"make it number {n}", references=(pictures[(n + 1) % 3].image,))
        for n, target in enumerate(pictures)
    ]
    settings = Train(
        steps=3, batch_size=2, rank=2, checkpoint_every=2, caption_dropout=0.5, gradient_checkpointing=True
    )

    def run(folder, stop=None):
        family = QwenEdit.load(tiny_qwen_edit, precision="fp32", offload="none", device="cpu")
        previews = [Preview("make it red", seed=1, references=(pictures[0].image,), steps=1, guidance=1.0)]
        return train(family, samples, settings, folder, previews=previews, stop_after=stop)

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop=1)
    assert bits(run(tmp_path / "parts").lora) == bits(whole.lora)


def test_two_processes_cannot_train_in_one_folder(unbroken, tiny_flux):
    whole, samples, _ = unbroken
    with FileLock(whole.lora.parent / ".lock"), pytest.raises(RuntimeError, match="another process is training in"):
        train(open_flux(tiny_flux), samples, SETTINGS, whole.lora.parent)


def test_a_trained_lora_is_read_back_by_diffusers(unbroken, tiny_flux):
    whole, _, _ = unbroken
    family = open_flux(tiny_flux)
    before = family.sample("photo", seed=1, steps=1).tobytes()
    lora.stack(family, [(whole.lora, 1.0)])
    assert family.sample("photo", seed=1, steps=1).tobytes() != before
    assert lora.header(whole.lora)["modelspec.title"] == "lora"
    assert json.loads(lora.header(whole.lora)["flenwheel.settings"])["rank"] == SETTINGS.rank


def test_the_loop_names_no_model():
    text = Path(loop.__file__).read_text().lower()
    assert not any(name in text for name in ("flux", "qwen"))


@pytest.mark.parametrize("adapter", ["dora", "lokr"])
def test_other_adapters_are_trained_and_resumed(tiny_flux, tmp_path, adapter):
    samples, settings = draw(tmp_path / "pictures", 2), SETTINGS.model_copy(update={"adapter": adapter, "steps": 4})
    whole = train(open_flux(tiny_flux), samples, settings, tmp_path / "whole")
    train(open_flux(tiny_flux), samples, settings, tmp_path / "parts", stop_after=2)
    assert bits(train(open_flux(tiny_flux), samples, settings, tmp_path / "parts").lora) == bits(whole.lora)


def test_compiled_blocks_train_the_same(tiny_flux, tmp_path, monkeypatch):
    """With a backend that runs the traced graphs as they are: compiling them to machine code takes minutes on a CPU."""
    compiled, compile_module = [], torch.nn.Module.compile

    def traced(module):
        compiled.append(type(module).__name__)
        compile_module(module, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    samples, settings = draw(tmp_path / "pictures", 2), Train(steps=2, batch_size=2, rank=2, caption_dropout=0)
    plain = train(open_flux(tiny_flux), samples, settings, tmp_path / "plain")
    assert compiled == []
    faster = train(
        open_flux(tiny_flux), samples, settings.model_copy(update={"compile": True}), tmp_path / "compiled"
    )  # fmt: skip
    assert "FluxTransformerBlock" in compiled
    assert faster.log["loss"].tolist() == pytest.approx(plain.log["loss"].tolist(), rel=1e-4)
