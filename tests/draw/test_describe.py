"""A captioner over a dataset: resumable, past what cannot be had, and never over a person's words."""

import json
import shutil

import pytest
from transformers import AutoTokenizer

from flenlib.dataset import captions
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.draw import describe as step
from flenlib.models import captioners
from flenlib.params import Captions, Character
from flenlib.predict.captioners import expected
from tests.models import captioner_folders
from tests.models.common import picture

MAYA = Character(name="maya", trigger="ohwx_maya", class_noun="woman", kind="fictional", age="adult")

BUILT = captions.build(MAYA, {}, Captions())


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    return captioner_folders.write(tmp_path_factory.mktemp("captioner"), "llava")


@pytest.fixture
def dataset(tmp_path):
    made = Dataset.open(tmp_path / "source", create=True)
    for n in range(3):
        picture(n).save(tmp_path / "source" / f"{n}.png")
        made.add(ImageRecord(f"{n}.png", caption=BUILT if n else ""))
    made.images[1].caption = "ohwx_maya, as I wrote it"
    made.save()
    return made


def test_pictures_nobody_captioned_are_described_once(dataset, captioner, capsys):
    table = Captions(captioner=str(captioner), captioner_precision="fp32")
    assert step.describe(dataset, MAYA, table, "cpu", only=["2.png"]) == step.Described(1, ())
    assert "takes about 2.0 GiB" in capsys.readouterr().out
    assert [r.filename for r in step.waiting(dataset, MAYA, table, captioners.find(table.captioner))] == ["0.png"]
    assert step.describe(dataset, MAYA, table, "cpu").written == 1
    kept = Dataset.open(dataset.folder)
    assert kept.get("1.png").caption == "ohwx_maya, as I wrote it" and "described" not in kept.get("1.png").extra
    for record in (kept.get("0.png"), kept.get("2.png")):
        assert record.extra["described"] and captions.has_trigger(record.caption, MAYA)
        assert captions.read_txt(kept.path(record)) == record.caption == record.extra["caption_made"]
    assert step.describe(dataset, MAYA, table, "cpu").written == 0


def saying_only(token, captioner, folder):
    """Return a copy of a captioner that can say nothing but one token, by its tokenizer's word for it."""
    shutil.copytree(captioner, folder)
    said = AutoTokenizer.from_pretrained(captioner).convert_tokens_to_ids(token)
    settings = json.loads((folder / "generation_config.json").read_text())
    vocabulary = range(json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"])
    settings["suppress_tokens"] = [n for n in vocabulary if n != said]
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def test_a_picture_without_a_usable_description_keeps_its_caption_and_the_others_go_on(dataset, captioner, tmp_path):
    unstated = MAYA.model_copy(update={"age": "unstated"})
    for character, token, said in (
        (MAYA, "<|im_end|>", "returned nothing"),
        (unstated, "Ġbody", "refused: this descr"),
    ):
        folder = saying_only(token, captioner, tmp_path / said[:7])
        found = step.describe(dataset, character, Captions(captioner=str(folder)), "cpu")
        assert found.written == 0 and [each[:5] for each in found.left] == ["0.png", "2.png"]
        assert all(said in each and "keeps its caption" in each for each in found.left)
    assert [r.caption for r in dataset.images] == ["", "ohwx_maya, as I wrote it", BUILT]


def test_memory_and_time_are_said_before_anything_is_loaded():
    joy = captioners.Found("joycaption", "", "main", "llava", 8_480_000_000)
    said = expected(joy, "bf16", 40, "RTX 4090 24 GB")
    assert "17.8 GiB of the 24" in said and "about 7 min (predicted)" in said
    with pytest.raises(RuntimeError, match=r"RTX 4080 16 GB has 16 GiB: use florence-2"):
        expected(joy, "bf16", 40, "RTX 4080 16 GB")
    with pytest.raises(RuntimeError, match="24 GiB: use bf16"):
        expected(joy, "fp32", 40, "RTX 4090 24 GB")
