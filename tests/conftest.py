"""Shared by all rooms: tiny pipelines with random weights, in ordinary diffusers folders, made once a session."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny FluxPipeline (64 px); read-only."""
    from flenlib.mini.architecture import new_flux

    return Path(new_flux(tmp_path_factory.mktemp("models") / "tiny-flux", size="tiny"))


@pytest.fixture(scope="session")
def tiny_qwen_edit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny QwenImageEditPlusPipeline (64 px); read-only."""
    from flenlib.mini.architecture import new_qwen_edit

    return Path(new_qwen_edit(tmp_path_factory.mktemp("models") / "tiny-qwen-edit", size="tiny"))
