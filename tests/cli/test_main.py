from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evener.cli import VERBS, main


def test_the_command_starts_without_torch() -> None:
    program = (
        "import sys\n"
        "from evener.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as ended: code = ended.code\n"
        "import evener.cli.run, evener.cli.demo, evener.cli._screen, evener.launch\n"
        "print(code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"evener {verb}" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("evener 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "VERB"),
        (["fly"], "choose from"),
        (["run"], "SCRIPT"),
        (["run", "train.py", "--speeds", "8,fast"], "one number for each worker"),
        (["run", "train.py", "--speeds", "-1,2"], "positive number, not -1"),
        (["run", "train.py", "--speeds", "1,0"], "positive number, not 0"),
        (["run", "train.py", "--speeds", "1,2", "--workers", "3"], "2 speeds were given for 3 workers"),
        (["run", "train.py", "--workers", "0"], "at least 1 worker"),
        (["run", "train.py", "--policy", "best"], "asynchronous, balanced, delayed, dynamic, stale, synchronous"),
        (["run", "train.py", "--policy", "synchronous", "--bound", "1"], "no option 'bound'"),
        (["run", "train.py", "--bound", "-1"], "0 or more"),
        (["run", "train.py", "--stale-fraction", "1.5"], "between 0 and 1"),
        (["run", "train.py", "--target", "accuracy"], "NAME=VALUE"),
        (["run", "train.py", "--target", "accuracy=high"], "NAME=VALUE"),
        (["run", "train.py", "--port", "0"], "1 to 65535"),
        (["run", "train.py", "--json", "no/such/folder.json"], "there is no folder no/such"),
        (["run", "elsewhere.py"], "elsewhere.py does not exist"),
        (["demo", "--json", "no/such/folder.json"], "there is no folder no/such"),
    ],
)
def test_what_is_asked_wrongly(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    try:
        code: object = main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]
