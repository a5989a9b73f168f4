"""Every architecture of captioner is found, loaded from its published layout, asked and heard."""

import json

import pytest
import torch
from safetensors.torch import load_file

from flenlib.content import Allowed
from flenlib.models import captioners
from tests.models import captioner_folders
from tests.models.common import picture

QUESTION = Allowed(captioners.QUESTION)


@pytest.fixture(scope="module", params=captioner_folders.BUILDERS)
def folder(request, tmp_path_factory):
    return captioner_folders.write(tmp_path_factory.mktemp("captioner") / request.param, request.param)


def test_a_picture_is_described(folder):
    found = captioners.find(str(folder))
    assert found.kind == folder.name
    captioner = captioners.Captioner.load(found, "fp32", "cpu")
    stored = load_file(folder / "model.safetensors")
    assert found.parameters == sum(tensor.numel() for tensor in stored.values()) and found.gib("bf16") * 2**29 > 1000
    said = captioner.describe(picture(1), QUESTION, longest=12)
    assert said and said == captioner.describe(picture(1), QUESTION, longest=12)
    with pytest.raises(TypeError, match="only through the content gate"):
        captioner.describe(picture(1), "anything")


def test_the_picture_and_the_question_reach_the_model(folder):
    captioner = captioners.Captioner.load(captioners.find(str(folder)), "fp32", "cpu")
    answers = []
    captioner.model.register_forward_hook(lambda module, args, output: answers.append(output.logits[0, -1]))
    for seed, question in ((1, QUESTION), (2, QUESTION), (1, Allowed("What is it?"))):
        captioner.describe(picture(seed), question, longest=1)
    assert len(answers) == 3 and not torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2]) == (folder.name == "florence2"), "Florence-2 is asked by a task"


def test_what_is_no_captioner_is_one_sentence(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(RuntimeError, match="cannot be loaded"):
        captioners.find(str(copy))
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match="a pickle can run code"):
        captioners.find(str(copy))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Model"}}))
    with pytest.raises(ValueError, match="needs code of its repository, which is not run"):
        captioners.find(str(copy))
    (copy / "config.json").write_text(json.dumps({"model_type": "blip"}))
    with pytest.raises(ValueError, match="is a blip; the kit loads florence2"):
        captioners.find(str(copy))
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match="is no captioner"):
        captioners.find(str(copy))


def test_a_captioner_that_is_not_there_is_one_sentence(hub):
    with pytest.raises(FileNotFoundError, match="no folder and no hub id; known are joycaption"):
        captioners.find("joycaptoin")
    hub.update(status=404, code="RepoNotFound")
    with pytest.raises(RuntimeError, match="not found at"):
        captioners.find("joycaption")
