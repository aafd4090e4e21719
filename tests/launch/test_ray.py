"""What is said before Ray is asked for anything, and where there is no Ray. Runs on a real cluster: tests/ray."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path

import pytest

from evener.cli import main
from evener.launch import LaunchError, RayOptions, run_on_ray


@pytest.fixture
def version(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The version of Ray that seems to be installed; none at first."""
    installed: list[str] = []

    real = metadata.version

    def answer(package: str) -> str:
        if package != "ray":
            return real(package)
        if not installed:
            raise metadata.PackageNotFoundError(package)
        return installed[-1]

    monkeypatch.setattr("evener.launch.ray_options.metadata.version", answer)
    return installed


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("print('never run')")
    return path


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("", r"needs Ray, which is not installed here. Install it here and on every node: pip install 'evener\[ray\]'"),
        ("2.9.3", r"Ray 2.9.3 is installed here, and this works with 2.40 or newer, but older than 3.0. Install it"),
        ("3.0.0rc1", r"Ray 3.0.0rc1 is installed here, and this works with 2.40 or newer, but older than 3.0."),
    ],
)
def test_no_ray_or_another(script: Path, version: list[str], found: str, said: str) -> None:
    version.extend([found] if found else [])
    began = time.monotonic()
    with pytest.raises(LaunchError, match=said):
        run_on_ray(RayOptions(script=script))
    assert time.monotonic() - began < 5
    assert not list(script.parent.glob("runs"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"script": Path("none.py")}, r"none.py does not exist"),
        ({"workers": (0,)}, r"at least 1 worker of each kind, not 0"),
        ({"workers": (6, 2)}, r"numbers of workers for 2 kinds, and resources for 1.*--worker-resources"),
        ({"resources": ({"CPU": -1},)}, r"-1 is no amount of the resource CPU: write a number from 0"),
        ({"resources": ({"CPU": "1"},)}, r"'1' is no amount of the resource CPU"),
        ({"server_resources": {"big": True}}, r"True is no amount of the resource big"),
        ({"restarts": -2}, r"-2 is no number of restarts: give one from 0, or -1 for no limit"),
        ({"port": 70000}, r"70000 is no port"),
    ],
)
def test_what_cannot_be_asked_for(script: Path, version: list[str], changes: dict[str, object], said: str) -> None:
    version.append("2.40.0")
    with pytest.raises(LaunchError, match=said):
        RayOptions(**{"script": script, **changes}).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--worker-resources", '{"CPU": 1}'], "--worker-resources needs --on ray."),
        (["--server-resources", "{}"], "--server-resources needs --on ray."),
        (["--on", "ray", "--resume", "nowhere"], "nowhere is no folder of a run"),
        (["--workers", "6,2"], "several kinds of workers (--workers 6,2) need --on ray"),
        (["--on", "ray", "--speeds", "2,1"], "--speeds does not go with --on ray."),
        (["--on", "ray", "--workers", "2"], "this needs Ray, which is not installed here."),
    ],
)
def test_options_that_do_not_fit(
    script: Path, version: list[str], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(script), *words]) == 2
    assert f"evener run: error: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--worker-resources", "CPU=1"], "'CPU=1' names no resources; write JSON, such as '{\"CPU\": 1}'"),
        (["--worker-resources", "[1]"], "'[1]' names no resources"),
        (["--workers", "many"], "'many' is no number of workers; write one, such as 4"),
        (["--on", "mars"], "invalid choice: 'mars'"),
    ],
)
def test_words_that_mean_nothing(script: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", str(script), *words])
    assert said in capsys.readouterr().err
