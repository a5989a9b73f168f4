"""Take back the consent that a character's profile has on record.

python -m flenlib.content withdraw params/ann/v1.yaml    # from today on nothing is made of ann; prints what to delete
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from flenlib import params
from flenlib.content import consent
from flenlib.dataset.files import write_json
from flenlib.params import Character
from flenlib.project import base, from_base


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.content", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    withdraw = commands.add_parser(
        "withdraw", help="from today on nothing is made of the character; lists what to delete"
    )
    withdraw.add_argument("params", help="any params file of the character, of an iteration or of flenlib.train")
    options = parser.parse_args(arguments)
    try:
        given = params.merge(params.read(options.params))
        character = params.check("character", given.get("character", {}))
        note, before = consent.note(base(), character.name), consent.withdrawn(base(), character.name)
        if not before or (character.consent and character.consent.when > before):
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(note, {"character": character.name, "withdrawn": date.today().isoformat()})
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    day = consent.withdrawn(base(), character.name)
    print(f"consent for {character.name!r} is withdrawn since {day}, noted in {note}: nothing is made of it any more.")
    print("Delete, after a look, but keep the note:")
    print("".join(f"  {line}\n" for line in _made(character, given.get("output"))), end="")
    return 0


def _made(character: Character, output: object) -> Iterator[str]:
    """Yield what was made of a character: folders first, each LoRA, then what no program can find."""
    folders = [base() / "data" / character.name, base() / "outputs" / character.name]
    folders += [from_base(output)] if isinstance(output, str) else []
    for folder in folders:
        if folder.exists():
            yield str(folder)
            yield from (str(path) for path in sorted(Path(folder).rglob("*.safetensors")))
    yield "copies outside of these: exported LoRAs, shared pictures, uploads, backups"


if __name__ == "__main__":
    sys.exit(main())
