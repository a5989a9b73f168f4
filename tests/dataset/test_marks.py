"""What a file says of itself is read whoever wrote it: that a model drew it, and that it shows a real person."""

import json
import tracemalloc

import pytest
from PIL import Image, PngImagePlugin

from flenlib.dataset import marks
from flenlib.dataset.images import save_picture

RED = Image.new("RGB", (16, 16), "red")
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description Iptc4xmpExt:DigitalSourceType='
    '"http://cv.iptc.org/newscodes/digitalsourcetype/{}"/></rdf:RDF></x:xmpmeta>'
)


def png(path, compressed=False, **chunks):
    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_text(name, text, zip=compressed)
    RED.save(path, pnginfo=info)
    return path


@pytest.mark.parametrize("kind", ["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_the_iptc_source_type_is_found_in_every_format(tmp_path, kind, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "png":
        png(path, compressed=True, **{"XML:com.adobe.xmp": XMP.format(kind)})
    else:
        RED.save(path, xmp=XMP.format(kind).encode())
    assert marks.read(path).generated_by


def test_a_large_file_is_not_held_in_memory(tmp_path):
    path = tmp_path / "a.png"
    RED.save(path)
    with path.open("ab") as file:
        file.write(bytes(2**25) + b"trainedAlgorithmicMedia")
    tracemalloc.start()
    found = marks.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.generated_by and peak < 2**22


def test_what_generators_write_is_known(tmp_path):
    assert "AUTOMATIC1111" in marks.read(png(tmp_path / "a.png", parameters="a person\nSteps: 20")).generated_by
    assert marks.read(png(tmp_path / "b.png", workflow="{}")).generated_by == "ComfyUI"
    assert marks.read(png(tmp_path / "c.png", Software="NovelAI")).generated_by == "NovelAI"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a person\nSteps: 20, Sampler: Euler".encode("utf-16-be")
    RED.save(tmp_path / "d.jpg", exif=exif)
    assert "AUTOMATIC1111" in marks.read(tmp_path / "d.jpg").generated_by


def test_this_kits_own_provenance_says_the_model_and_whom_it_shows(tmp_path):
    save_picture(RED, tmp_path / "a.png", {"made_by": "flux-dev", "character": "maya", "character_kind": "real"})
    found = marks.read(tmp_path / "a.png")
    assert (found.generated_by, found.real_person) == ("flux-dev", "maya")
    save_picture(RED, tmp_path / "b.png", {"made_by": "renderer", "character_kind": "fictional"})
    assert marks.read(tmp_path / "b.png") == marks.Marks(
        provenance={"made_by": "renderer", "character_kind": "fictional"}
    )


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"made_by": 7, "character": [1]}), "[" * 100_000])
def test_a_photograph_and_damaged_provenance_say_nothing_wrong(tmp_path, text):
    RED.save(tmp_path / "a.jpg")
    assert marks.read(tmp_path / "a.jpg") == marks.Marks()
    found = marks.read(png(tmp_path / "b.png", flenwheel=text))
    assert found.real_person == "" and found.generated_by in ("", "7")
