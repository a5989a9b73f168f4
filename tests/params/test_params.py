"""Params files: good ones load, bad ones get one sentence that names key, value and remedy."""

import re
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from flenlib import params
from flenlib.models import settings
from flenlib.models.settings import load_iteration

OHWX = "{name: maya, trigger: ohwx, kind: fictional, age: adult}"
CHARACTER = {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional", "age": "adult"}


def test_defaults_fill_what_is_left_out():
    train = params.check("train", {"steps": 5})
    assert train.steps == 5 and train.rank == 16


def test_every_section_but_the_character_has_working_defaults():
    for section in params.sections(params.Iteration):
        if section != "character":
            params.check(section, {})


def test_numbers_written_as_text_become_numbers():
    assert params.check("train", {"learning_rate": "1e-4", "steps": "20"}).learning_rate == pytest.approx(1e-4)


def test_one_resolution_or_several():
    assert params.check("train", {"resolution": 512}).resolution == [512]
    assert params.check("train", {"resolution": [512, 768]}).resolution == [512, 768]


def test_a_section_cannot_be_changed():
    with pytest.raises(ValidationError):
        params.check("train", {}).steps = 7


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("train", {"learning_rat": 1e-4}, "train: unknown parameter 'learning_rat'; did you mean 'learning_rate'?"),
        ("train", {"qqqq": 1}, "train: unknown parameter 'qqqq'; known: steps, batch_size"),
        ("train", {"steps": "many"}, "train: parameter 'steps' is 'many': Input should be a valid integer"),
        ("train", {"steps": 1.5}, "parameter 'steps' is 1.5"),
        ("train", {"steps": 0}, "parameter 'steps' is 0: Input should be greater than 0"),
        ("train", {"steps": True}, "parameter 'steps' is True: Input should be a number, not yes or no"),
        ("train", {"learning_rate": "fast"}, "parameter 'learning_rate' is 'fast'"),
        ("train", {"learning_rate": float("nan")}, "parameter 'learning_rate' is nan"),
        ("train", {"learning_rate": float("inf")}, "parameter 'learning_rate' is inf"),
        ("train", {"optimizer": "lion"}, "parameter 'optimizer' is 'lion': Input should be 'adamw', 'adamw8bit'"),
        ("train", {"targets": "q_proj"}, "parameter 'targets' is 'q_proj': Input should be one of attention,"),
        ("train", {"resolution": [8]}, "parameter 'resolution' is [8]: Input should be different sizes"),
        ("train", {"phases": [{"kind": ["head"], "kinds": ["head"]}]}, "'phases.0.kind'; did you mean 'kinds'?"),
        ("train", {"steps": 9, "phases": [{"kinds": ["head"], "until": 5}]}, "the last at step 9, not at [5]"),
        ("train", {"optimizer": "schedule_free", "ema": 0.9}, "train: optimizer schedule_free averages by itself"),
        ("enrich", {"kinds": ["hair"]}, "parameter 'kinds.0' is 'hair'"),
        ("enrich", ["steps"], "enrich must be a dict of settings, not ['steps']"),
        ("trian", {}, "section 'trian' is not known; it must be one of character, models"),
        ("character", {"name": "maya", "kind": "fictional", "age": "adult"}, "parameter 'trigger' is missing"),
        ("character", CHARACTER | {"trigger": ""}, "parameter 'trigger' is ''"),
        ("character", CHARACTER | {"trigger": "two words"}, "parameter 'trigger' is 'two words'"),
        ("character", CHARACTER | {"trigger": None}, "parameter 'trigger' is None"),
        ("character", CHARACTER | {"name": "../maya"}, "parameter 'name' is '../maya'"),
        ("character", CHARACTER | {"kind": "robot"}, "parameter 'kind' is 'robot'"),
    ],
)
def test_a_bad_value_gets_one_sentence(section, values, said):
    with pytest.raises(ValueError) as caught:
        params.check(section, values)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_mistakes_get_two_lines():
    with pytest.raises(ValueError) as caught:
        params.check("train", {"stepz": 1, "rank": "x"})
    assert len(str(caught.value).splitlines()) == 2


def write(folder, text):
    path = folder / "v1.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_loads(tmp_path):
    text = "character: {name: maya, trigger: ohwx_maya, kind: fictional, age: adult}\ntrain: {learning_rate: 1e-4}\n"
    iteration = load_iteration(write(tmp_path, text))
    assert iteration.character.subject == "ohwx_maya person"
    assert iteration.train.learning_rate == pytest.approx(1e-4)
    assert iteration.iteration == "v1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("character: [", "is not valid YAML"),
        (b"character: \xff\xfe", "is not valid YAML"),
        ("", "must hold sections"),
        ("- a\n- b\n", "must hold sections"),
        ("train: {steps: 5}\ntrain: {rank: 4}\n", "'train' is there twice, lines 1 and 2; keep one of them"),
        ("train:\n  steps: 5\n  rank: 4\n  steps: 6\n", "'steps' is there twice, lines 2 and 4"),
        ("train: {steps: 5, steps: 6}\n", "'steps' is there twice, lines 1 and 1"),
        ("character: {name: maya, kind: fictional, age: adult}\ntrain:\n", "parameter 'character.trigger' is missing"),
        ("trian: {}\ncharacter: {name: maya, trigger: ohwx, kind: fictional, age: adult}", "did you mean 'train'?"),
        (f"character: {OHWX[:-1]}, ageX: 1}}", "'character.ageX'; did you mean 'age'?"),
        (f"character: {OHWX}\niteration: one", "parameter 'iteration' is 'one'"),
    ],
)
def test_a_bad_file_gets_one_sentence_naming_it(tmp_path, text, said):
    path = write(tmp_path, text)
    before = path.read_bytes()
    with pytest.raises(ValueError) as caught:
        load_iteration(path)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_an_empty_section_is_its_defaults(tmp_path):
    text = "character: {name: maya, trigger: ohwx_maya, kind: fictional, age: adult}\ntrain:\nenrich:  # nothing\n"
    found = load_iteration(write(tmp_path, text))
    assert (found.train, found.enrich) == settings.check(models={}, train={}, enrich={})[1:]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml does not exist; give PARAMS="):
        load_iteration(tmp_path / "nowhere.yaml")


def test_pairs_are_folders_or_two_by_name():
    given = ["pairs", {"control": "before", "target": "after"}]
    assert params.check("corrections", {"pairs": given}).pairs == given
    for wrong in (
        ["a", 3],
        [{"control": "x"}],
        [{"contrl": "x", "target": "y"}],
        [{"control": "x", "target": 1}],
        [""],
    ):
        with pytest.raises(ValueError, match=r"'pairs' is .*: Input should be folders, or \{control:"):
            params.check("corrections", {"pairs": wrong})


def chain(folder, **texts):
    """Write params files, and return the path of the first."""
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(texts))}.yaml"


def test_a_file_extends_another_field_by_field(tmp_path):
    path = chain(
        tmp_path,
        v3="extends: v2.yaml\niteration: v3\ntrain: {seed: 3}\n",
        v2="extends: v1.yaml\niteration: v2\ntrain: {rank: 8, seed: 2}\nenrich:\n",
        v1=f"character: {OHWX}\ntrain: {{rank: 4, warmup: 7}}\nenrich: {{tries: 5}}\n",
    )
    found = load_iteration(path)
    assert (found.iteration, found.train.rank, found.train.seed, found.train.warmup) == ("v3", 8, 3, 7)
    assert found.enrich.tries == 5, "an empty section changes nothing"
    assert [Path(layer.source).stem for layer in params.read(path)] == ["v1", "v2", "v3"]


def test_an_extended_file_lies_beside_the_file_that_names_it(tmp_path):
    (tmp_path / "shared").mkdir()
    chain(tmp_path / "shared", base="extends: more.yaml\ntrain: {rank: 8}\n", more="train: {seed: 5}\n")
    path = chain(tmp_path, v1=f"extends: shared/base.yaml\ncharacter: {OHWX}\n")
    assert (load_iteration(path).train.rank, load_iteration(path).train.seed) == (8, 5)


def test_a_mistake_is_named_where_it_stands(tmp_path):
    first = "character: {name: maya, trigger: ohwx, kind: fictional, age: adult}\ntrain: {stepz: 1}\n"
    path = chain(tmp_path, v2="extends: v1.yaml\ntrain: {rank: 0}\n", v1=first)
    with pytest.raises(ValueError) as caught:
        load_iteration(path)
    lines = sorted(str(caught.value).splitlines())
    assert lines[0].startswith(f"{tmp_path / 'v1.yaml'}: unknown parameter 'train.stepz'")
    assert lines[1].startswith(f"{tmp_path / 'v2.yaml'}: parameter 'train.rank' is 0")


@pytest.mark.parametrize(
    ("texts", "error", "sentence"),
    [
        ({"v2": "extends: v1.yaml\n"}, FileNotFoundError, r"v2\.yaml extends '.*v1\.yaml', which does not exist"),
        ({"v2": "extends: v2.yaml\n"}, ValueError, r"in a circle: .*v2\.yaml -> .*v2\.yaml"),
        ({"v2": "extends: v1.yaml\n", "v1": "extends: ./v2.yaml\n"}, ValueError, r"circle: .*v2.* -> .*v1.* -> .*v2"),
        ({"v2": "extends: [a, b]\n"}, ValueError, r"v2\.yaml: extends is \['a', 'b'\]; give one file"),
    ],
)
def test_what_cannot_be_extended_is_one_sentence(tmp_path, texts, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        load_iteration(chain(tmp_path, **texts))
    assert "\n" not in str(caught.value)


def endless(levels=9, width=9):
    """YAML that is small and, its aliases written out, larger than any memory."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels))]
    return "\n".join([*lines, f"train: *a{levels - 1}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (endless(), "its aliases (*name) written out make more than 10,000 entries"),
        (endless(40, 2), "its aliases (*name) written out make more than 10,000 entries"),
        ("train: &a [*a]", "its aliases (*name) written out"),
        ("train: " + "[" * 5000, "is nested too deeply"),
        ("train: " + "{a: " * 400 + "1" + "}" * 400, "unknown parameter 'train.a'"),
        (
            "train: {seed: 1" + "0" * 30 + "}",
            "'train.seed' is 1000000000000000000000000000000: Input should be",
        ),
        ("train: {seed: 1" + "0" * 5000 + "}", "is not valid YAML: Exceeds the limit"),
        ("iteration: v99999999", "'iteration' is 'v99999999'"),
        ("train: {steps: !!timestamp soon}", "is not valid YAML"),
        ("train: {steps: !!int ''}", "is not valid YAML"),
        ("train: {steps: [" + "a, " * 600 + "]}", "'train.steps' is ['a', 'a', 'a', 'a', 'a', 'a', ...]"),
        ("# " + "x" * 300_000, "bytes and is no params file"),
        ("x" * 1000 + ": 1", "unknown parameter"),
        ("models: 5", "'models' is 5"),
        ("models: [flux-dev]", "'models' is ['flux-dev']"),
        ("models: {generator: [a]}", "'models.generator' is ['a']"),
    ],
)
def test_a_hostile_file_is_a_sentence_at_once(tmp_path, text, said):
    path = tmp_path / "v1.yaml"
    path.write_text(f"character: {{name: maya, trigger: ohwx_maya, kind: fictional, age: adult}}\n{text}\n")
    began = time.monotonic()
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        load_iteration(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert time.monotonic() - began < 10


def test_aliases_that_save_words_are_read(tmp_path):
    path = tmp_path / "v1.yaml"
    path.write_text(
        "character: {name: maya, trigger: ohwx_maya, kind: fictional, age: adult}\n"
        "train: &t {rank: 4, steps: 3}\nretrain: {<<: *t, steps: 5}\n"
    )
    assert (load_iteration(path).retrain.rank, load_iteration(path).retrain.steps) == (4, 5)
