"""The peers' virtual environments: made with pip when first needed, each with its own constraints.

All systems compute with the same PyTorch: a peer's environment sees the packages of this one, after its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".envs"
CONSTRAINTS = HERE / "peers"
LAST_WORDS = 8


class PeerError(RuntimeError):
    """A peer cannot be had; the message is the reason, with what pip printed last."""


def python(name: str) -> Path:
    """The interpreter of a peer's environment; of this one, where ``name`` is empty."""
    return ENVIRONMENTS / name / "bin" / "python" if name else Path(sys.executable)


def site_packages(name: str) -> Path:
    """The folder of a peer's own packages."""
    base = str(ENVIRONMENTS / name)
    return Path(sysconfig.get_path("purelib", "venv", vars={"base": base, "platbase": base}))


def install(name: str, package: str = "") -> None:
    """Make the environment of a peer, unless it is there.

    Args:
        name: of the peer, and of its file of constraints.
        package: what to install; the peer's own name if empty.

    Raises:
        PeerError: it cannot be installed here.
    """
    folder, constraints = ENVIRONMENTS / name, CONSTRAINTS / f"{name}.txt"
    done = folder / "installed"
    wanted = constraints.read_text()
    if done.exists() and done.read_text() == wanted:
        return
    ENVIRONMENTS.mkdir(exist_ok=True)
    venv.create(folder, with_pip=True, clear=True)
    # PyTorch and what else is here. The peer's own packages come first on its path.
    (site_packages(name) / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _pip(name, "install", "--quiet", "--constraint", str(constraints), package or name)
    done.write_text(wanted)


def _pip(name: str, *words: str) -> None:
    command = [str(python(name)), "-m", "pip", "--disable-pip-version-check", *words]
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(command, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode:
        last = "\n".join(result.stdout.strip().splitlines()[-LAST_WORDS:])
        raise PeerError(f"{name} cannot be installed:\n{last}")
