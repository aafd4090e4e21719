"""The command line, and what happens to a peer that cannot be had."""

import os

import pytest

from benchmarks import run
from benchmarks.measure import FailedError
from benchmarks.plan import block
from benchmarks.results import Session
from benchmarks.systems import find


def test_the_estimate_comes_without_measuring(capsys):
    assert run.main(["quick", "--estimate"]) == 0
    assert "7 measurements: about 2 minutes" in capsys.readouterr().out


def test_without_root_nothing_is_started(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run.main(["quick", "--out", str(tmp_path)]) == 2
    assert "needs root" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--systems", "horovod"], ["--cluster", "moon"], ["--workload", "huge"]])
def test_what_there_is_not_is_refused_with_what_there_is(words, capsys):
    assert run.main(["some", *words]) == 2
    assert "Choose from: " in capsys.readouterr().err


def test_a_peer_that_cannot_be_installed_fails_with_pips_reason(monkeypatch):
    def refuse(name):
        raise run.peers.PeerError(f"{name} cannot be installed:\nno matching distribution")

    monkeypatch.setattr(run.peers, "install", refuse)
    bench = run.Bench(Session("some", {}))
    one = block("8-4-2-1", "small", ["hivemind"], 1, 1)
    bench.prepare([one])
    with pytest.raises(FailedError, match="hivemind cannot be installed:\nno matching distribution"):
        bench.once(None, one, find("hivemind"), [()] * 4, [1.0] * 4)


def test_systems_without_an_environment_of_their_own_need_no_installation(monkeypatch):
    monkeypatch.setattr(run.peers, "install", lambda name: pytest.fail(f"{name} is not needed"))
    run.Bench(Session("some", {})).prepare([block("8-4-2-1", "small", ["balanced", "ddp"], 1, 1)])
