"""Keep in git what people wrote in a notebook, and not what a run put there. Needs nothing but Python and git.

    python flenlib/flow/clean.py setup               `make setup` has git and Jupyter use this file
    python flenlib/flow/clean.py < run > clean       git asks this of every notebook it looks at

Only the notebook in git is clean: the one on disk keeps its outputs.
"""

import json
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def clean(text: str) -> str:
    """Return a notebook without outputs, counts, injected parameters, and metadata other than tags.

    Text that is no JSON (an empty file, or one with the marks of a merge) is returned as it is.
    """
    try:
        notebook = json.loads(text)
    except json.JSONDecodeError:
        return text
    cells = [_clean(cell) for cell in notebook["cells"]]
    notebook["cells"] = [cell for cell in cells if "injected-parameters" not in cell["metadata"].get("tags", ())]
    notebook["metadata"] = METADATA
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _clean(cell: dict[str, Any]) -> dict[str, Any]:
    tags = cell["metadata"].get("tags")
    cell["metadata"] = {"tags": tags} if tags else {}
    return cell | {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell


def setup(root: Path = ROOT, prefix: Path = Path(sys.prefix)) -> None:
    """Have git use this file for a checkout's notebooks, and the Jupyter of an environment tell git when it saved one.

    The filter is required: when it cannot run, git refuses the notebook instead of taking its pictures along. Where
    there is no checkout there is nothing to do.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if top.returncode or Path(top.stdout.strip()) != root:
        return
    command = shlex.join([str(Path(sys.executable).resolve()), "-I", "flenlib/flow/clean.py"])
    for name, value in {"clean": command, "smudge": "cat", "required": "true"}.items():
        _git(root, "config", f"filter.notebook.{name}", value).check_returncode()
    config = prefix / "etc" / "jupyter" / "jupyter_server_config.py"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.unlink(missing_ok=True)
    config.symlink_to(root / "flenlib" / "flow" / "jupyter" / config.name)
    for name in _git(root, "diff-files", "--name-only", "--", "*.ipynb").stdout.splitlines():
        refresh(root / name)


def refresh(path: Path) -> None:
    """Have git look into a notebook it knows: by its size alone git takes one with outputs for changed.

    One in which a person changed something is left for them to add.
    """
    known = _git(path.parent, "ls-files", "--", path.name).stdout
    if known and _git(path.parent, "diff", "--quiet", "--", path.name).returncode == 0:
        _git(path.parent, "add", "--", path.name)


def after_save(os_path: str, model: dict[str, Any], **_: Any) -> None:
    """Refresh a notebook that Jupyter has saved, beside its work: JupyterLab saves less often where saving is slow."""
    if model["type"] == "notebook":
        threading.Thread(target=refresh, args=(Path(os_path),)).start()


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    if sys.argv[1:] == ["setup"]:
        setup()
    else:
        sys.stdout.buffer.write(clean(sys.stdin.buffer.read().decode()).encode())
