"""Runs with keys, of real processes: all counts once, and who does not fit is told so and disturbs nobody."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from evener.core import events as e
from evener.runtime import keys
from evener.trace import WorkerNote
from training.harness import Launch, Run, says

from .test_resumed import checkpoint, kill_server, resume

SCRIPT = """
import evener.runtime.versions, evener.runtime.worker
what = sys.argv[1] if len(sys.argv) > 1 else ""

class Data(Dataset):
    def __len__(self):
        return 63 if what == "short" else 64

    def __getitem__(self, index):
        if what == "missing":
            raise FileNotFoundError(2, "No such file or directory", "images/0.png")
        return torch.tensor([float(index + (what == "other"))])

if what == "old":
    evener.runtime.worker.here = lambda: evener.runtime.versions.Versions("0.1.0", "3.11.0", "1.13.1")
session = evener.join()
model = nn.Linear(1, 1, bias=False)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
model, optimizer, loader = session.prepare(model, optimizer, DataLoader(Data(), batch_size=16, shuffle=True))
held = False
for epoch in session.epochs(2):
    for x in loader:
        if not held and what == "holds":
            held = True
            let("here")
            wait_for("go on")
        optimizer.zero_grad()
        model(x).mean().backward()
        optimizer.step()
keep(weights=state(model))
"""


def with_keys(
    launch: Launch, *names: str, host: str = "127.0.0.1", workers: int = 1, **place: object
) -> tuple[Run, Path]:
    """A run whose server has keys, which begins when ``workers`` are there; and its folder of them."""
    run = launch(SCRIPT, start=False, gates=["here", "go on"], workers=workers, policy="asynchronous")
    folder = run.folder / "keys"
    keys.make(folder, list(names))
    run.place = msgspec.structs.replace(run.place, address=run.place.address.replace("127.0.0.1", host), token="")
    run.server(keys=str(folder), **place)
    return run, folder


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_run_with_keys(launch: Launch, host: str) -> None:
    run, folder = with_keys(launch, "desktop", "laptop", host=host, workers=2)
    for index, name in enumerate(("desktop", "laptop")):
        run.worker(index, keys=str(folder / name), run="")
    run.succeed()
    assert run.proved().complete
    assert {note.name.split()[0] for note in run.notes(WorkerNote)} == {"desktop", "laptop"}


TEXTS = {
    "short": "the worker's data set has 63 samples, the server's 64. Copy the server's to the worker's machine",
    "other": "the worker's data set has as many samples as the server's (64), but others. Copy the server's",
    "missing": "the worker cannot load its data set (FileNotFoundError: [Errno 2] No such file or directory: "
    "'images/0.png'). Copy the server's to the worker's machine",
    "old": "the worker 1.13.1: more than 6 releases apart. Install torch ",
    "device": "there is no device 'cuda:77' here: this machine has ",
    "key": "does not allow this worker's key (any more)",
    "permissions": "Do: chmod 600 ",
}


def test_who_does_not_fit_is_told_so_and_disturbs_nobody(launch: Launch) -> None:
    run, folder = with_keys(launch, "good", "bad", "gone")
    run.worker(0, "holds", keys=str(folder / "good"), run="")
    run.wait_for("here")
    (folder / "allowed" / "gone.pub").unlink()
    open_to_all = folder / "open"
    open_to_all.mkdir()
    (open_to_all / "worker.key").write_bytes((folder / "bad" / "worker.key").read_bytes())
    (open_to_all / "worker.key").chmod(0o644)
    changes = {"device": {"device": "cuda:77"}, "key": {"keys": folder / "gone"}, "permissions": {"keys": open_to_all}}
    names = {}
    for index, what in enumerate(TEXTS, 1):
        place = {"keys": folder / "bad", **changes.get(what, {})}
        run.worker(index, what, run="", **{name: str(value) for name, value in place.items()})
        names[what] = f"worker{index}"
    codes = run.wait(*names.values())
    for what, name in names.items():
        assert codes[name] == 1
        assert re.fullmatch(r"evener: [^\n]+\n", run.err(name)), run.told(what)
        assert TEXTS[what] in run.err(name)
    run.let("go on")
    codes = run.wait("server", "worker0")
    assert (codes["server"], codes["worker0"]) == (0, 0), run.told("they were disturbed")
    assert run.proved().complete
    assert {event.worker for event in run.events(e.Joined)} == {0}


def test_a_key_taken_back_ends_its_worker_and_no_other(launch: Launch) -> None:
    run, folder = with_keys(launch, "good", "bad")
    for index, name in enumerate(("good", "bad")):
        run.worker(index, "holds", keys=str(folder / name), run="")
        run.wait_for("here")
    (folder / "allowed" / "bad.pub").unlink()
    run.wait_line(says(e.Left, 1))
    run.let("go on", 2)
    codes = run.wait()
    assert codes == {"server": 0, "worker0": 0, "worker1": 1}
    assert "this worker's key was taken back on the server" in run.err("worker1")
    assert run.proved().complete


def test_a_server_that_is_lost_goes_on_with_its_keys(launch: Launch) -> None:
    run, folder = with_keys(launch, "desktop", "laptop", checkpoint_every=0.02)
    for index, name in enumerate(("desktop", "laptop")):
        run.worker(index, "holds", keys=str(folder / name), run="")
        run.wait_for("here")
    run.wait_line(checkpoint())
    kill_server(run)
    (folder / "allowed" / "laptop.pub").unlink()  # meanwhile
    resume(run, keys=str(folder), checkpoint_every=0.02)
    run.wait_line(says(e.Joined, 0))
    run.let("go on", 2)
    codes = run.wait()
    assert codes == {"server": 0, "worker0": 0, "worker1": 1}
    assert "does not allow this worker's key (any more)" in run.err("worker1")
    assert run.proved().complete
    assert {event.worker for event in run.events(e.Joined)} == {0}
