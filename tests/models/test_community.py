"""Community LoRAs: how one is named in the settings, how it is asked, and what is refused."""

import pytest

from flenlib.dataset.prompts import EDIT_KINDS
from flenlib.models import community


def test_every_entry_says_what_it_is_for():
    for lora in community.KNOWN.values():
        assert lora.purpose and lora.repository.count("/") == 1 and lora.page.startswith("https://")
        assert all(kind in (*EDIT_KINDS, community.FINISH, community.ALWAYS) for kind in lora.kinds)
    assert len(community.table()) == len(community.KNOWN) >= 8


def test_a_name_a_weight_and_a_file_of_ones_own(tmp_path):
    use = community.parse("multiple-angles")
    assert use.weight == 1.0 and use.kinds == ("camera",) and use.path.startswith("dx8152/")
    assert community.parse("next-scene").weight == 0.75 and community.parse("next-scene:0.5").weight == 0.5
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"x")
    for text in (f"multiple-angles={file}:0.9", f"multiple-angles={tmp_path}:0.9"):
        use = community.parse(text)
        assert (use.path, use.weight, use.kinds) == (file, 0.9, ("camera",))
    own = community.parse(f"{file}:0.7")
    assert (own.path, own.weight, own.kinds) == (file, 0.7, ()) and own.serves("style")
    assert community.parse("someone/some-lora:0.5").path == "someone/some-lora"


def test_each_is_asked_in_its_own_words():
    camera = community.parse("multiple-angles").prompt("camera", "slightly left")
    assert "45度" in camera and "Rotate the camera 45 degrees to the left" in camera
    assert community.parse("next-scene").prompt("background", "forest").startswith("Next Scene: Change background")
    assert community.parse("skin").prompt("background", "forest") == community.KNOWN["skin"].phrase


def test_what_cannot_be_used_is_said(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'multiple-angles'"):
        community.parse("multiple-angels")
    with pytest.raises(ValueError, match="did you mean 'adopted'"):
        community.parse("adoptd")
    with pytest.raises(
        ValueError, match=r"was made for qwen-image-edit-2511 and the editor is Qwen/Qwen-Image-Edit-2509"
    ):
        community.parse("multiple-angles-2511", "Qwen/Qwen-Image-Edit-2509")
    with pytest.raises(ValueError, match="needs a brightness map"):
        community.parse("multi-angle-lighting")
    with pytest.raises(FileNotFoundError, match=r"none.safetensors does not exist"):
        community.parse(f"skin={tmp_path}/none.safetensors")
    with pytest.raises(ValueError, match=r"holds 0 .safetensors"):
        community.parse(f"{tmp_path}:0.5")
    for name in "ab":
        (tmp_path / f"{name}.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds 2 .safetensors \(a.safetensors, b.safetensors\); name the file"):
        community.parse(str(tmp_path))
