"""The params files of second iterations: they use what the first adopted, and are the same in all else that counts."""

import pytest

from flenlib.models import community
from flenlib.models.settings import load_iteration
from flenlib.project import ROOT


@pytest.mark.parametrize("folder", ["mini", "example_4090"])
def test_v2_draws_with_what_v1_adopted_and_is_v1_otherwise(folder):
    first, second = (load_iteration(ROOT / "params" / folder / f"{version}.yaml") for version in ("v1", "v2"))
    assert second.iteration == "v2" and second.models.editor_loras == [community.ADOPTED]
    assert community.ADOPTED not in first.models.editor_loras and second.generate.seed != first.generate.seed
    asked = second.model_dump()
    asked["iteration"], asked["models"]["editor_loras"] = "v1", first.models.editor_loras
    asked["generate"]["seed"] = first.generate.seed
    assert second.compare_editors.adopt == "auto"  # only the demo's first turn says which editor the next one takes
    asked["compare_editors"]["adopt"] = first.compare_editors.adopt
    assert asked == first.model_dump()
    for text in second.compare_editors.community:
        assert community.parse(text, second.models.editor).kinds
