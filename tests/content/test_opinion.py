"""A second opinion: a classifier named in the profile refuses some of what the rules pass, and nothing else."""

import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from flenlib import content, params
from flenlib.flow.__main__ import main
from tests.doors.conftest import loads

__all__ = ["loads"]

WORDS = ["[UNK]", "[PAD]", "photo", "of", "maya", "person", "ohwx_maya", "castle"]
MAYA = {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional", "age": "adult"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random classifier whose last layer is set so that it is sure of "unwanted" where "castle" is read."""
    path = tmp_path_factory.mktemp("classifier")
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(path)
    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    labels = {"id2label": {0: "fine", 1: "unwanted"}, "label2id": {"fine": 0, "unwanted": 1}}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(WORDS), max_position_embeddings=40, **small, **labels)
    ).eval()
    ids = torch.tensor([[2, 3, 6, 5], [7, 7, 7, 7]])
    with torch.no_grad():
        plain, castle = model.bert(ids).pooler_output
        direction = castle - plain
        model.classifier.weight.copy_(torch.stack([-direction, direction]) * 20)
        middle = (castle + plain) / 2 @ direction * 20
        model.classifier.bias.copy_(torch.stack([middle, -middle]))
    model.save_pretrained(path)
    return path


def profile(folder, **more):
    return MAYA | {"second_opinion": {"folder": str(folder), "refuse": ["unwanted"]} | more}


def test_what_the_rules_pass_is_asked_and_what_they_refuse_stays_refused(folder):
    asked = params.check("character", profile(folder))
    assert content.allow(asked, "photo of ohwx_maya person") == "photo of ohwx_maya person"
    with pytest.raises(content.Refused, match="this caption is 'unwanted' to the classifier") as refused:
        content.allow(asked, "castle castle castle castle", "caption")
    assert "castle castle" not in str(refused.value)
    assert content.allow(params.check("character", MAYA), "castle castle castle castle")
    with pytest.raises(content.Refused, match="asks for adult content"):
        content.allow(asked, "nude photo of ohwx_maya person")
    trusting = params.check("character", profile(folder, threshold=1.0))
    assert content.allow(trusting, "photo of ohwx_maya person")


def test_the_end_of_a_long_text_is_asked_about_too(folder):
    asked = params.check("character", profile(folder))
    long = "photo of ohwx_maya person " * 30
    assert content.allow(asked, long)
    with pytest.raises(content.Refused, match="unwanted"):
        content.allow(asked, long + "castle " * 60)


def test_it_refuses_before_a_model_is_loaded(folder, tmp_path, monkeypatch, capsys, loads):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    character = profile(folder) | {"class_noun": "castle castle castle castle"}
    (tmp_path / "v1.yaml").write_text(yaml.safe_dump({"character": character}))
    assert main(["iterate", str(tmp_path / "v1.yaml")]) == 1
    assert "this class noun (character.class_noun) is 'unwanted'" in capsys.readouterr().err
    assert loads == [] and not list(tmp_path.glob("outputs/*"))


def test_a_folder_or_a_label_that_is_not_there_is_one_sentence(folder, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    shutil.copytree(folder, tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "classifier" not in k}, tmp_path / "headless" / "model.safetensors")
    for where in (tmp_path, tmp_path / "none", tmp_path / "headless"):
        with pytest.raises(ValueError, match=r"'second_opinion.folder' is .* no text classifier") as error:
            content.allow(params.check("character", profile(where)), "photo")
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"names 'rude', and the classifier in .* has the labels fine, unwanted"):
        content.allow(params.check("character", profile(folder, refuse=["rude"])), "photo")
    for wrong in ({"folder": "models/x"}, {"refuse": []}, {"threshold": 2}):
        with pytest.raises(ValueError, match="second_opinion"):
            params.check("character", MAYA | {"second_opinion": profile(folder)["second_opinion"] | wrong})
