"""Keys: who may take part in a run beyond this machine. Files, their permissions, and what is in them.

One folder on the server's machine has all of a run's public knowledge and the server's private key::

    DIR/server.key           private: 0600
    DIR/allowed/NAME.pub     who may take part; remove the file, and NAME may no longer
    DIR/NAME/worker.key      private: 0600. Move the folder DIR/NAME to that worker's machine

Keys are those of CurveZMQ (Curve25519), as 40 characters of Z85. ``server.key`` and ``worker.key`` are JSON, and are
read against a schema.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import platformdirs
import zmq
from zmq.utils import z85

SERVER, WORKER, ALLOWED = "server.key", "worker.key", "allowed"

VARIABLE = "EVENER_KEYS"
"""The environment variable that names the folder of keys, where torchrun, Slurm or the like starts the processes."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a worker's key may be called: it becomes the name of a file."""

UNCERTAIN = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),  # strangers can use up a server's descriptors
}
"""Errors that say nothing of whether a file is there."""

MOST = 1 << 16
"""Bytes of a key file: more is none."""


class KeysError(ValueError):
    """Keys that cannot be used, or made; the message says what to do."""


class _ServerFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public: str
    secret: str


class _WorkerFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    public: str
    secret: str
    server: str


_File = TypeVar("_File", _ServerFile, _WorkerFile)


@dataclass(frozen=True, slots=True, repr=False)
class WorkerKeys:
    """What a worker proves itself with, and the public key by which it knows the server. All in Z85."""

    name: str
    public: bytes
    secret: bytes
    server: bytes

    @classmethod
    def read(cls, folder: Path) -> WorkerKeys:
        """The keys in ``folder``.

        Raises:
            KeysError: there are none, or others may read them, or they are damaged.
        """
        path = folder / WORKER
        if not path.exists():
            if (folder / SERVER).exists():
                raise KeysError(
                    f"{folder} is the server's folder of keys. A worker needs the folder of its own name in it "
                    f"({folder / 'NAME'}), which 'evener keys {folder} NAME' makes."
                )
            raise KeysError(
                f"there is no {WORKER} in {folder}. Make one on the server's machine with 'evener keys DIR NAME', and "
                "copy the folder DIR/NAME here (scp -rp keeps its permissions)."
            )
        file = _private(path, _WorkerFile)
        return cls(file.name, _key(file.public, path), _key(file.secret, path), _key(file.server, path))


class ServerKeys:
    """The server's own keys, and who may take part.

    Args:
        folder: as ``evener keys`` has made it.

    Raises:
        KeysError: there are none, or others may read them, or they are damaged.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / SERVER
        if not path.exists():
            if (folder / WORKER).exists():
                raise KeysError(
                    f"{folder} has a worker's key: the server needs the folder that 'evener keys' was given."
                )
            raise KeysError(f"there is no {SERVER} in {folder}. Make it, and a key for each worker: "
                            f"evener keys {folder} NAME NAME ...")  # fmt: skip
        file = _private(path, _ServerFile)
        self.folder = folder
        self.public, self.secret = _key(file.public, path), _key(file.secret, path)

    def allowed(self) -> dict[str, str]:
        """Public key → name, of those who may take part at this moment. A damaged file allows nobody.

        Raises:
            KeysError: that cannot be told at present.
        """
        found: dict[str, str] = {}
        try:
            with os.scandir(self.folder / ALLOWED) as entries:
                paths = [Path(entry.path) for entry in entries if entry.name.endswith(".pub")]
        except OSError as error:
            self._tell_apart(error)
            return found
        for path in paths:
            try:
                found[_key(_read(path).decode("ascii").strip(), path).decode()] = path.stem
            except OSError as error:
                self._tell_apart(error)  # else it may have been removed just now
            except (UnicodeDecodeError, KeysError):
                continue
        return found

    def _tell_apart(self, error: OSError) -> None:
        """What is wrong with a disk, or with this process, takes nobody's key back."""
        if error.errno in UNCERTAIN:
            raise KeysError(f"{self.folder / ALLOWED} cannot be read: {error.strerror}.") from None


def make(folder: Path, names: list[str]) -> list[Path]:
    """Make the server's key, where there is none yet, and a key for each name; returns the folders to move away.

    Raises:
        KeysError: a name that is taken, or that is none; nothing was made then. Or the disk does not allow it.
    """
    for name in names:
        _check_name(name)
        if names.count(name) > 1:
            raise KeysError(f"'{name}' was given twice: each worker's machine has a key of its own.")
        public = folder / ALLOWED / f"{name}.pub"
        for path in (public, folder / name):
            if path.exists():
                raise KeysError(
                    f"{path} is there already, and keys are never overwritten. To take {name}'s key back, remove "
                    f"{public}; for a new one remove {folder / name}, too, and ask again."
                )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ALLOWED).mkdir(exist_ok=True)
        if not (folder / SERVER).exists():
            public_key, secret = zmq.curve_keypair()
            _write(folder / SERVER, msgspec.json.encode(_ServerFile(public_key.decode(), secret.decode())), 0o600)
        server = ServerKeys(folder)
        for name in names:
            key = make_worker(folder / name, name, server.public)
            allow(folder, name, key)  # last: it is what lets the key in
    except OSError as error:
        raise KeysError(f"keys cannot be made in {folder}: {error.strerror or error}.") from None
    return [folder / name for name in names]


def make_worker(folder: Path, name: str, server: bytes) -> bytes:
    """Make a worker's key in a new folder; returns its public part, for :func:`allow`. The private one stays there.

    Args:
        folder: for nobody else to read.
        name: of the worker.
        server: the public key of the server that it will work for.

    Raises:
        OSError: it cannot be written.
    """
    public, secret = zmq.curve_keypair()
    folder.mkdir(mode=0o700)
    file = _WorkerFile(name, public.decode(), secret.decode(), server.decode())
    _write(folder / WORKER, msgspec.json.encode(file), 0o600)
    return public


def allow(folder: Path, name: str, public: bytes) -> None:
    """Let who has this key take part, as ``name``; the key that was called so before, if any, is taken back.

    Args:
        folder: the server's.
        name: of the worker.
        public: its public key.

    Raises:
        KeysError: it is none, or that cannot be a worker's name.
        OSError: it cannot be written.
    """
    _check_name(name)
    path = folder / ALLOWED / f"{name}.pub"
    _key(public.decode("ascii", "replace"), path)
    new = path.with_suffix(".new")  # renamed at once: a key that is half written allows nobody
    new.unlink(missing_ok=True)
    _write(new, public + b"\n", 0o644)
    new.replace(path)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name == ALLOWED:
        raise KeysError(f"'{name}' cannot be a worker's name: use letters, digits, '.', '_' and '-'.")


def own() -> Path:
    """This user's folder of keys for jobs that stay on one machine; made at first use.

    Raises:
        KeysError: it cannot be made.
    """
    folder = Path(platformdirs.user_state_dir("evener", appauthor=False)) / "keys-of-this-user"
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not folder.exists():
            # All processes of a job come here at once: made apart, and the first one's becomes the folder.
            with tempfile.TemporaryDirectory(dir=folder.parent) as apart:
                make(Path(apart) / "keys", ["local"])
                try:
                    (Path(apart) / "keys").rename(folder)
                except OSError:
                    if not folder.exists():
                        raise
    except OSError as error:
        raise KeysError(
            f"keys cannot be kept in {folder.parent}: {error.strerror or error}. Make some elsewhere, with "
            f"'evener keys DIR job', and set {VARIABLE}=DIR."
        ) from None
    return folder


def worker_folder(folder: Path, host: str) -> Path:
    """Where in (or at) ``folder`` the keys of a worker on ``host`` are: there, in ``host``, or in the only one inside.

    Raises:
        KeysError: that cannot be told.
    """
    for choice in (folder, folder / host, folder / host.partition(".")[0]):
        if (choice / WORKER).exists():
            return choice
    inside = sorted(path.parent for path in folder.glob(f"*/{WORKER}"))
    if len(inside) == 1:
        return inside[0]
    raise KeysError(
        f"there is no {WORKER} in {folder} nor in {folder / host}, and {len(inside) or 'none'} in other folders there. "
        f"Make one for this host with 'evener keys {folder} {host}', or one for all: 'evener keys {folder} job'."
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST)


def _private(path: Path, kind: type[_File]) -> _File:
    """What is in a file that nobody else may read."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # Root's own, read through a group: so are secrets that an engine mounts for a user who is not root.
            mounted = os.name == "posix" and status.st_uid == 0 != os.geteuid()
            if os.name == "posix" and stat.S_IMODE(status.st_mode) & (0o037 if mounted else 0o077):
                raise KeysError(
                    f"others on this machine may read {path} (its mode is {stat.S_IMODE(status.st_mode):04o}), and who "
                    f"can read a private key can use it. Do: chmod 600 {path} (and make new keys if others were there)"
                )
            data = file.read(MOST)
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror or error}.") from None
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise KeysError(f"{path} is no key file ({error}). Make a new one with 'evener keys'.") from None


def _key(text: str, path: Path) -> bytes:
    """A key, if it is one."""
    try:
        key = text.encode("ascii")
        if len(key) == 40 and len(z85.decode(key)) == 32:
            return key
    except (UnicodeEncodeError, KeyError, ValueError, IndexError):
        pass
    raise KeysError(f"{path} has no whole key in it. Make a new one with 'evener keys'.")
