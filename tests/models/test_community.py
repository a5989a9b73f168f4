"""Community LoRAs: how one is named in the settings, how it is asked, and what is refused."""

import pytest

from flenlib.models import community
from flenlib.words import EDITS


def test_every_entry_says_what_it_is_for():
    for lora in community.KNOWN.values():
        assert lora.purpose and lora.repository.count("/") == 1 and lora.page.startswith("https://")
        assert all(kind in (*EDITS, community.FINISH, community.ALWAYS) for kind in lora.kinds)
        assert lora.kinds or lora.needs  # what cannot be used here says why
        assert lora.licence in ("MIT", "Apache-2.0", community.UNSTATED, community.UNREAD)
    table = community.table()
    assert len(table) == len(community.KNOWN) >= 12 and table.loc["relight", "needs"] == "a lightning LoRA beside it"


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


def test_absolute_views_follow_the_angle_the_edit_is_to_show():
    ask = community.parse("multiple-angles-2511").prompt
    assert ask("camera", "slightly left", "half-left") == "<sks> front-left quarter view eye-level shot medium shot"
    assert ask("camera", "slightly left", "front") == "<sks> front view eye-level shot medium shot"  # from half-right
    assert ask("camera", "slightly left") == ask("camera", "slightly left", "half-left")
    assert ask("camera", "higher", "profile-left") == "<sks> left side view high-angle shot medium shot"
    assert ask("camera", "lower", "front") == "<sks> front view low-angle shot medium shot"
    assert ask("camera", "closer") == "<sks> front view eye-level shot close-up"
    assert ask("camera", "wider").endswith("wide shot")


def test_all_ten_directions_of_light_are_listed():
    phrase = community.KNOWN["multi-angle-lighting"].phrase
    asked = {phrase.format(**{"from": word}) for word in community.LIGHT_FROM.values()}
    assert len(asked) == 10 and "使用图2的亮度贴图对图1重新照明(光源来自左前方)" in asked


@pytest.mark.parametrize("weight", ["nan", "inf", "much", ""])
def test_a_weight_is_a_number(weight, tmp_path):
    with pytest.raises(ValueError, match="is not known"):
        community.parse(f"multiple-angles:{weight}")
    with pytest.raises(FileNotFoundError):
        community.parse(f"{tmp_path}/a.safetensors:{weight}")


def test_what_a_lora_needs_of_the_sampling_is_checked():
    fast, angles = community.parse("lightning-4"), community.parse("multiple-angles")
    assert community.check_sampling([fast, angles], 4, 1.0) == []
    assert community.check_sampling([angles], 40, 4.0) == [
        "the page of multiple-angles asks for a lightning LoRA beside it"
    ]
    with pytest.raises(
        ValueError, match="'lightning-4' samples in 4 steps at guidance 1 and the settings say 40 and 4"
    ):
        community.check_sampling([fast], 40, 4.0)
    with pytest.raises(ValueError, match="'lightning-8'"):
        community.check_sampling([community.parse("lightning-8")], 4, 1.0)


def test_what_cannot_be_used_is_said(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'multiple-angles'"):
        community.parse("multiple-angels")
    with pytest.raises(ValueError, match=r"'adopted' stands for what step 2.3 chose and belongs into models.editor_l"):
        community.parse("adopted")
    with pytest.raises(ValueError, match=r"'adoptd' is not known; known: multiple-angles"):
        community.parse("adoptd")
    for by_hand in ("consistency", "photo-to-anime", "face-mask", "face-to-portrait", "neutral-light"):
        with pytest.raises(ValueError, match="cannot be used here: it needs"):
            community.parse(by_hand)
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
