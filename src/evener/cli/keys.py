"""``evener keys``: make the keys with which a server and its workers know each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener keys DIR [NAME ...]"
    add = parser.add_argument
    add("folder", metavar="DIR", type=Path, help="the server's folder of keys; made if need be")
    add("names", metavar="NAME", nargs="*", help="a worker's machine, such as laptop; a key of its own for each")
    parser.epilog = (
        "Move each folder DIR/NAME to that machine, over a way you trust (scp -rp), and give it to 'evener join' with "
        "--keys. To take a key back remove DIR/allowed/NAME.pub: it is refused within a second, also in a run under "
        "way. Without a NAME: say who is allowed."
    )


def execute(options: argparse.Namespace) -> int:
    """Make them, and say what to do with them."""
    from ..runtime import keys

    folder: Path = options.folder
    try:
        made = keys.make(folder, options.names)
        allowed = sorted(keys.ServerKeys(folder).allowed().values())
    except keys.KeysError as error:
        print(f"evener keys: error: {error}", file=sys.stderr)
        return 2
    print(f"server: --keys {folder}   (its private key stays in {folder / keys.SERVER})")
    for path in made:
        print(f"worker {path.name}: move {path} to that machine, such as: scp -rp {path} {path.name}:keys")
    print(f"allowed: {', '.join(allowed) or 'nobody yet'}   (take a key back: rm {folder / keys.ALLOWED}/NAME.pub)")
    return 0
