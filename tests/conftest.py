"""Shared by all rooms: tiny pipelines with random weights, in ordinary diffusers folders, made once a session."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("the same each time", derandomize=True, deadline=None, database=None)
settings.load_profile("the same each time")


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


@pytest.fixture(scope="session")
def tiny_qwen_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny QwenImagePipeline (64 px); read-only."""
    from flenlib.mini.architecture import new_qwen_image

    return Path(new_qwen_image(tmp_path_factory.mktemp("models") / "tiny-qwen-image", size="tiny"))


@pytest.fixture(scope="session")
def tiny_qwen_edit_2511(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny QwenImageEditPlusPipeline as 2511 is configured; read-only."""
    from flenlib.mini import relatives

    return relatives.save(tmp_path_factory.mktemp("models") / "tiny-qwen-edit-2511", relatives.qwen_edit_2511)


@pytest.fixture(scope="session")
def tiny_flux_kontext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny FluxKontextPipeline; read-only."""
    from flenlib.mini import relatives

    return relatives.save(tmp_path_factory.mktemp("models") / "tiny-flux-kontext", relatives.flux_kontext)


@pytest.fixture(scope="session")
def tiny_flux2_klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny Flux2KleinPipeline of a base model; read-only."""
    from flenlib.mini import relatives

    return relatives.save(tmp_path_factory.mktemp("models") / "tiny-flux2-klein", relatives.flux2_klein)


@pytest.fixture(scope="session")
def tiny_z_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny ZImagePipeline; read-only."""
    from flenlib.mini import relatives

    return relatives.save(tmp_path_factory.mktemp("models") / "tiny-z-image", relatives.z_image)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine that answers every request with one status and error code; none is left running."""
    import huggingface_hub

    answer = {}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer["status"])
            self.send_header("X-Error-Code", answer.get("code", ""))
            self.send_header("X-Error-Message", answer.get("message", ""))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_TOKEN", "")
    for name, value in {"ENDPOINT": url, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": False}.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield answer
    server.shutdown()
    server.server_close()
