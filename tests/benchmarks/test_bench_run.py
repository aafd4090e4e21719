"""The command line, and what happens to a peer that cannot be had."""

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.clusters import find as find_cluster
from benchmarks.measure import FailedError, Outcome
from benchmarks.places import part_of
from benchmarks.plan import block
from benchmarks.results import Result, Session
from benchmarks.runners.evener import place_of
from benchmarks.runners.job import Job
from benchmarks.systems import find


def test_the_estimate_comes_without_measuring(capsys):
    assert run.main(["quick", "--estimate"]) == 0
    assert "7 measurements: about 2 minutes" in capsys.readouterr().out


def pretend(monkeypatch, **fields):
    """Blocks are not measured: each of their systems gets the same result. Returns the systems."""
    measured = []

    def measure(bench, one):
        for repetition, system in one.order():
            measured.append(system.name)
            bench.session.results.append(
                Result(one.cluster.name, one.workload, system.name, one.batch, repetition, 100.0, **fields)
            )

    monkeypatch.setattr(run.Bench, "measure", measure)
    return measured


def test_without_root_hosts_pause_and_the_peers_are_left_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    measured = pretend(monkeypatch)
    assert run.main(["quick", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "needs root" in told
    assert "PyTorch DDP: it cannot be slowed" in told
    assert set(measured) == {"limit", "balanced"}
    assert json.loads((tmp_path / "quick.json").read_text())["emulation"] == "throttle"


def test_where_hosts_cannot_even_pause_nothing_is_started(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(run.throttled, "possible", lambda: False)
    assert run.main(["quick", "--out", str(tmp_path)]) == 2
    assert "needs root" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_tables_goals_and_plots_are_written(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(run.emulation, "check", lambda: None)
    monkeypatch.setattr(run.Bench, "prepare", lambda bench, blocks: None)
    pretend(monkeypatch)
    assert run.main(["full", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"full.json", "full.md", "full-limit.png", "full-goals.png"}
    written = json.loads((tmp_path / "full.json").read_text())
    assert len(written["goals"]) == len(run.goals.GOALS)
    assert "## Goals" in (tmp_path / "full.md").read_text()
    assert "## Goals" in capsys.readouterr().out


def test_accounting_that_does_not_hold_fails_the_run(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(run.emulation, "check", lambda: None)
    pretend(monkeypatch, problems="position 7 counted twice")
    assert run.main(["quick", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "did not count each sample once" in told.err
    assert "position 7 counted twice" in told.out


@pytest.mark.parametrize("words", [["--systems", "horovod"], ["--cluster", "moon"], ["--workload", "huge"]])
def test_what_there_is_not_is_refused_with_what_there_is(words, capsys):
    assert run.main(["some", *words]) == 2
    assert "Choose from: " in capsys.readouterr().err


def test_the_best_sizes_are_found_once_for_the_same_hosts(monkeypatch):
    tried = []

    def once(bench, cluster, one, system, sizes, rates):
        if system.name == "limit":
            tried.append(sizes[0])
        found = {host: {8: 10.0, 16: 40.0 - host} for host in range(4)} if len(sizes[0]) > 1 else {}
        assert system.name != "ddp-oracle" or rates == [40.0, 39.0, 38.0, 37.0]
        return Outcome(1.0, [1.0] * 4, [1.0] * 4, 0.0, 1.0, 0.0, rates=found)

    monkeypatch.setattr(run.Bench, "once", once)
    monkeypatch.setattr(run.emulation, "EmulatedCluster", contextlib.nullcontext)
    bench = run.Bench(Session("some", {}))
    for one in (
        block("8-4-2-1", "small", ["balanced"], 1, 1),
        block("8-4-2-1", "small", ["ddp-oracle"], 1, 1, batch=256),
        block("8-4-2-1", "wearable", ["balanced"], 1, 1),
    ):
        bench.measure(one)
    every = (8, 16, 32, 64, 128)
    assert tried == [every, (16,), (16,), (16,), every, (16,)]


def test_a_system_may_leave_the_last_hosts_out(monkeypatch):
    jobs = []

    class Measured:
        def __init__(self, cluster, system, job, sizes):
            jobs.append(job)

        def run(self, window):
            return Outcome(1.0, [1.0], [1.0], 0.0, 1.0, 0.0)

    monkeypatch.setattr(run, "Measurement", Measured)
    one = block("fifth", "small", ["balanced", "balanced-without"], 1, 1, batch=512, limit_every=0)
    with run.ThrottledCluster(one.cluster) as cluster:
        for system in one.systems:
            run.Bench(Session("some", {})).once(cluster, one, system, [()] * 5, [1.0] * 5)
    assert [job.hosts for job in jobs] == [5, 4]
    assert [job.batch for job in jobs] == [512, 512]


def test_who_has_keys_is_in_the_job_and_in_the_table(monkeypatch, tmp_path):
    def run_it(measurement, window):
        folder = Path(measurement.job.folder)
        made = {path.parent.name for path in folder.glob("keys/*/worker.key")}
        assert made == ({f"host-{host}" for host in range(8)} if measurement.job.keys else set())
        return Outcome(1.0, [1.0] * 8, [1.0] * 8, 0.0, 1.0, 0.0)

    monkeypatch.setattr(run.Measurement, "run", run_it)
    monkeypatch.setattr(run.emulation, "check", lambda: None)
    monkeypatch.setattr(run.emulation, "EmulatedCluster", run.ThrottledCluster)
    words = ["some", "--cluster", "eight", "--systems", "balanced,ddp", "--out", str(tmp_path)]
    assert run.main(words) == 0
    table = (tmp_path / "eight.md").read_text()
    assert "evener balanced, **keys on**" in table
    assert "PyTorch DDP, without keys" in table
    assert run.main([*words, "--no-keys", "--name", "bare"]) == 0
    assert "keys" not in (tmp_path / "bare.md").read_text().partition("##")[2]


def test_the_processes_of_a_host_share_its_part_of_a_core():
    groups = find_cluster("groups")
    options = {"policy": "balanced", "group": True}
    job = Job(0, ("a",) * 4, "s", 1, "", "", 0.0, "small", 512, (), (), options, processes=groups.processes)
    with run.ThrottledCluster(groups) as cluster:
        parts = [part_of(job, cluster, host, (), member) for host in range(4) for member in range(job.processes[host])]
        assert [sum(one.share for one in parts if one.index == host) for host in range(4)] == list(groups.shares)
        places = [place_of(one) for one in parts]
        assert [(one.index, one.workers) for one in places] == [(0, 4), (0, 4), (1, 4), (1, 4), (2, 4), (3, 4)]
        alone = [place_of(replace(one, options={"policy": "balanced"})) for one in parts]
        assert [(one.index, one.workers) for one in alone] == [(worker, 6) for worker in range(6)]


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


def test_what_is_kept_goes_to_a_folder_of_its_own(tmp_path, capsys):
    (tmp_path / "of an earlier session").touch()
    assert run.main(["quick", "--keep", str(tmp_path)]) == 2
    assert f"{tmp_path} is not empty: name another folder" in capsys.readouterr().err
