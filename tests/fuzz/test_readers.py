"""Whatever a file holds, whoever reads it ends in a sentence: no other error, no write, and no long wait."""

import copy
import io
import json
import warnings
from datetime import timedelta

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.torch import save

from flenlib.dataset import caption_lint, captions, layouts, triplets
from flenlib.dataset.images import open_image, read_provenance
from flenlib.dataset.journal import Journal
from flenlib.dataset.labels_file import read_labels_file
from flenlib.dataset.records import Dataset
from flenlib.draw import routes
from flenlib.export import kohya
from flenlib.models import lora, registry
from flenlib.models.families.flux import Flux
from flenlib.models.settings import load_iteration
from flenlib.params import Captions, Character
from flenlib.project import open_iteration
from flenlib.steps import record
from flenlib.train import checkpoints

WHO = {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional", "age": "adult"}
SENTENCES = (ValueError, FileNotFoundError, PermissionError, RuntimeError)
LONGEST = timedelta(seconds=5)

PARAMS = {
    "character": WHO, "iteration": "v1", "anyway": False,
    "models": {"generator": "mini-flux", "editor_loras": ["adopted"], "precision": "bf16"},
    "curate": {"folder": "raw", "held_out": 2}, "enrich": {"kinds": ["camera"], "seed": 3},
    "train": {"steps": 9, "targets": ["to_q"], "resolution": [64], "phases": [{"kinds": ["a"], "until": 9}]},
    "corrections": {"pairs": ["a", {"control": "b", "target": "c"}]},
}  # fmt: skip
METADATA = {
    "dataset_version": "v1",
    "images": [
        {"filename": "a.png", "sha256": "0", "caption": "c", "angle": "front", "kind": "edit", "depth": 1,
         "parent": None, "seed": 3, "models": {"name": "x", "loras": []}, "measurements": {"face_distance": 0.3},
         "label": {"label": "good", "reasons": ["x"], "reviewer": "human"}, "attributes": {"edit": "camera"}},
    ],
}  # fmt: skip
TRIPLETS = {"triplets": [{"source_image": "a.png", "edit_prompt": "do", "target_image": "b.png", "asked": {"a": "b"},
                          "positive": False, "depth": 1, "measurements": {"m": 0.5}}]}  # fmt: skip
LINE = {"filename": "a.png", "label": "good", "reasons": ["x"], "reviewer": "me", "when": "2026-01-01T00:00:00+00:00",
        "sha256": "0", "issue": "", "prompt": "", "corrected": ""}  # fmt: skip
ROW = {"image_path": "a.png", "control_path": "b.png", "caption": "do", "image": "a.png", "edit_image": ["b.png"]}
RECORD = {"step": "14_train_character", "results": {"sentence": "s", "lora": "a", "loss": [1, 2], "depth": 1},
          "criteria": [{"name": "n", "holds": True, "found": "f", "blocking": True}], "models": {}}  # fmt: skip
CHOICE = {"iteration": "v1", "name": "ours", "loras": ["{root}/a.safetensors:1"], "mode": "stack", "sentence": "s"}
RUN = {"settings": {"rank": 4}, "samples": [{"caption": "a"}], "model": {"name": "x"}}

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.just("9" * 400)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@st.composite
def spoilt(draw, whole):
    """Return a document in which something, somewhere, is another thing, is gone, or is there under another name."""
    root = place = {"all": copy.deepcopy(whole)}
    key = "all"
    while isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 3)):
        place = place[key]
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
    match draw(st.sampled_from(["other", "other", "gone", "renamed"])):
        case "other":
            place[key] = draw(VALUES)
        case "gone":
            place.pop(key)
        case "renamed" if isinstance(place, dict):
            place[draw(st.text(max_size=8))] = place[key]
    return root.get("all")


@st.composite
def torn(draw, whole):
    """Return bytes with a part cut out, and others in its place."""
    start = draw(st.integers(0, len(whole)))
    put = draw(st.binary(max_size=12) | st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")))
    return whole[:start] + put + whole[start + draw(st.integers(0, 40)) :]


def dumped(value):
    return json.dumps(value).encode()


def yamled(value):
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")


def lines(values):
    return b"\n".join(map(dumped, values))


def of(document, dump=dumped):
    """Return what a reader of such a document may be given: spoilt, torn, or anything at all."""
    mostly = [spoilt(document).map(dump)] * 6
    return st.sampled_from([*mostly, torn(dump(document)), VALUES.map(dump), st.binary(max_size=200)]).flatmap(
        lambda s: s
    )


def png(text=b"{}", xmp="<x/>"):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"iTXt", b"flenwheel\0\0\0\0\0" + text)
    chunks.add_itxt("XML:com.adobe.xmp", xmp)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


STEM = "transformer.single_transformer_blocks.0.attn.to_q"
LORA = save({f"{STEM}.lora_A.weight": torch.ones(2, 4), f"{STEM}.lora_B.weight": torch.ones(4, 2),
             f"{STEM}.alpha": torch.tensor(2.0)}, {"ss_network_dim": "2"})  # fmt: skip
SHAPES = st.lists(st.integers(0, 5), max_size=3)
LORAS = st.dictionaries(
    st.tuples(
        st.sampled_from([STEM, "lora_unet_double_blocks_0_img_attn_proj", ""]),
        st.sampled_from(["lora_A.weight", "lora_B.weight", "lora_down.weight", "lora_up.weight", "alpha", "dora_scale",
                         "lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lora_magnitude_vector"]),
    ).map(".".join),
    st.builds(lambda shape, dtype: torch.ones(shape, dtype=dtype), SHAPES,
              st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int8])),
    max_size=5,
).map(save)  # fmt: skip


def look_at_lora(path):
    lora.check(path, Flux)
    lora.kind_of(path)
    lora.header(path)
    kohya.to_kohya(path, path.with_name("kohya.safetensors"))


def look_at_caption(path):
    text, who = captions.read_txt(path) or "", Character(**WHO)
    assert captions.has_trigger(captions.with_trigger(text, who), who)
    caption_lint.lint([caption_lint.Captioned("a.png", text)], who, Captions())
    captions.renamed(text, "ohwx_other person", who)


def look_at_picture(path):
    open_image(path)
    assert isinstance(read_provenance(path), object)


def project_of(path, iteration="v1"):
    return open_iteration(WHO, iteration, root=path.parents[3])


AT = "outputs/maya/v1"
READERS = {
    "params": ("v1.yaml", of(PARAMS, yamled) | torn(yamled({"extends": "a.yaml"})), load_iteration),
    "metadata": ("metadata.json", of(METADATA), lambda path: Dataset.open(path.parent).to_frame()),
    "journal": ("journal.jsonl", of(LINE) | st.lists(spoilt(LINE), max_size=4).map(lines),
                lambda path: Journal(path).decisions()),
    "rows of pairs": ("pairs.jsonl", of(ROW) | st.lists(spoilt(ROW), max_size=3).map(lines),
                      lambda path: layouts.read(path.parent)),
    "pairs in JSON": ("pairs.json", of([ROW, ROW]), lambda path: layouts.read(path.parent)),
    "pairs in CSV": ("pairs.csv", torn(b"image_path,control_path,caption\na.png,b.png,\"do, it\"\n"),
                     lambda path: layouts.read(path.parent)),
    "triplets": ("triplets.json", of(TRIPLETS), lambda path: triplets.read(path.parent)),
    "labels": ("labels.csv", torn(b"filename,label,reasons\na.png,good,x;y\nb.png,reject,\n"), read_labels_file),
    "captions": ("a.txt", st.binary(max_size=100) | st.text(max_size=100).map(str.encode), look_at_caption),
    "LoRAs": ("char.safetensors", torn(LORA) | LORAS, look_at_lora),
    "PNG text": ("a.png", of({"made_by": "x"}).map(png) | torn(png()), look_at_picture),
    "XMP": ("a.png", st.text(max_size=100).map(lambda xmp: png(xmp=xmp)), look_at_picture),
    "index of a pipeline": ("model_index.json", of({"_class_name": "FluxPipeline"}),
                            lambda path: registry.resolve(path.parent)),
    "run.json": (f"{AT}/14_train_character.run.json", of(RECORD),
                 lambda path: record.needed(project_of(path), _result())),
    "editor.json": (f"{AT}/editor.json", of(CHOICE), lambda path: routes.adopted(project_of(path, "v2"))),
    "training.json": ("training.json", of(RUN), lambda path: checkpoints.check_same(path.parent, RUN)),
}  # fmt: skip


def _result():
    from flenlib.wheel.results import TrainCharacter

    return TrainCharacter


@pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READERS)
def test_a_reader_ends_in_a_sentence(name, examples, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path / "project"))
    file, contents, read = READERS[name]
    path = tmp_path / "project" / file
    path.parent.mkdir(parents=True)
    for picture in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(path.with_name(picture))

    @settings(
        max_examples=examples, deadline=LONGEST, derandomize=examples < 100, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(contents)
    def ends_in_a_sentence(content):
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path)
            except SENTENCES as error:
                said = str(error)
                assert said.strip() and len(said) < 10_000 and "Traceback" not in said
                assert len(said.splitlines()) <= (20 if name == "params" else 1), said

    ends_in_a_sentence()
    assert [each.name for each in tmp_path.iterdir()] == ["project"]


DEEP = {"pairs in JSON", "rows of pairs", "triplets", "index of a pipeline", "run.json", "editor.json", "training.json",
        "params", "metadata"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(DEEP))
@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a": ' * 50_000, '{"triplets": ' + "[" * 50_000, "9" * 50_000])
def test_what_is_too_deep_or_too_long_is_a_sentence(name, deep, tmp_path):
    file, _, read = READERS[name]
    path = tmp_path / "project" / file
    path.parent.mkdir(parents=True)
    path.write_text(deep)
    with pytest.raises(SENTENCES) as caught:
        read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 10_000
