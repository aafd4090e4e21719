"""Clusters from files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host, rotating
from evener.simulation.drive import Simulation
from evener.simulation.files import ClusterError, of_paces, parse_cluster, read_cluster, read_clusters
from evener.simulation.links import Link
from evener.simulation.pauses import Pareto
from evener.simulation.places import key_lines
from evener.simulation.tables import CLUSTER, FAULT, HOST, LINK, PARETO

WHOLE = """
step_seconds = 0.002
probe = false
evaluation = 1.5
seed = 3

[[hosts]]
pace = 400
noise = 0.1
stalls = [[3.0, 25.0]]

[[hosts]]
pace = 100
count = 2
paces = [[10.0, 50.0]]
period = 20.0
dies = 60.0
"""


def test_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(WHOLE)
    slow = Host(100.0, paces=((10.0, 50.0),), period=20.0, dies=60.0)
    hosts = (Host(400.0, noise=0.1, stalls=((3.0, 25.0),)), slow, slow)
    assert read_cluster(file) == Cluster(hosts, step_seconds=0.002, probe=False, evaluation=1.5, seed=3)


def test_the_documented_example() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "simulate-a-cluster.md"
    text = page.read_text().split("```toml\n")[1].split("```")[0]
    cluster = parse_cluster(text)
    good, slowed, poor, shared = cluster.hosts
    assert (cluster.parameters, cluster.step_seconds, cluster.contribution_seconds) == (800_000, 0.001, 0.0002)
    assert cluster.server == Link(up=1e9, down=1e9, delay=0.0001)
    assert good == Host(400.0, overhead=0.005, noise=0.1, dies=120.0)
    assert slowed == Host(400.0, overhead=0.005, noise=0.1, slows=((20.0, 10.0, 0.25),))
    assert poor == Host(300.0, link=Link(up=1e7, down=5e7, delay=0.015, loss=0.001), joins=60.0)
    assert shared == Host(200.0, paces=((0.0, 200.0), (30.0, 50.0)), period=60.0, pareto=Pareto(90.0, 0.5, 1.5))
    for keys in (HOST, LINK, FAULT, PARETO, CLUSTER):
        for key in keys:
            assert f"`{key}`" in page.read_text() or f"[{key}]" in text, f"{key} is not documented"
    settings = Settings(512, 1, workers=cluster.at_start)
    assert Simulation(cluster, settings, Balanced(), 60_000).run().applied == 60_000


def test_every_value_of_a_host_has_a_key() -> None:
    assert {field.name for field in dataclasses.fields(Host)} <= set(HOST)
    assert {field.name for field in dataclasses.fields(Cluster)} <= set(CLUSTER)


def test_a_trace(tmp_path: Path) -> None:
    (tmp_path / "phone.csv").write_text("seconds,samples/s\n0,400  # idle\n\n12.5,90\n")
    file = tmp_path / "cluster.toml"
    file.write_text('[[hosts]]\npaces = "phone.csv"\n')
    assert read_cluster(file).hosts == (Host(400.0, paces=((0.0, 400.0), (12.5, 90.0))),)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (None, "the trace .*phone.csv cannot be read: No such file"),
        ("", "has no rows"),
        ("1,2\n3", "phone.csv, line 2: .*A line is a time in s and the samples/s from then on: 12.5,400"),
        ("1,2\nx,3", "phone.csv, line 2: could not convert"),
        ("1,2\n0,3", "phone.csv, line 2: 0 s is before 1 s"),
        ("0,-2", "phone.csv, line 1: it must be finite and not negative"),
        ("0,0", "a pace is a positive number"),
        ("5,2", "a host needs its pace"),
    ],
)
def test_what_is_no_trace(tmp_path: Path, rows: str | None, says: str) -> None:
    if rows is not None:
        (tmp_path / "phone.csv").write_text(rows)
    (tmp_path / "cluster.toml").write_text('seed = 1\n[[hosts]]\npaces = "phone.csv"\n')
    with pytest.raises(ClusterError, match=f"(?s)cluster.toml: line [23]: host table 1.*{says}"):
        read_cluster(tmp_path / "cluster.toml")


def test_the_line_is_that_of_the_key() -> None:
    text = """# pace = 1
note = '''
[[hosts]]
'''
[[hosts]]
pace = 400
paces = [
  [1, 2],
  ["3 s", 4],
]
"period" = "10 s"

[[hosts]]
pace = 100
  [hosts.link]
  up = "1 Mbit/s"
  # [[hosts]]
[server]
rate = "1 Mbit/s"
[[faults]]
worker = 0
"""
    assert key_lines(text) == {
        ("note",): 2,
        ("hosts", 0): 5,
        ("hosts", 0, "pace"): 6,
        ("hosts", 0, "paces"): 7,
        ("hosts", 0, "period"): 11,
        ("hosts", 1): 13,
        ("hosts", 1, "pace"): 14,
        ("hosts", 1, "link"): 15,
        ("hosts", 1, "link", "up"): 16,
        ("server",): 18,
        ("server", "rate"): 19,
        ("faults", 0): 20,
        ("faults", 0, "worker"): 21,
    }


def test_hosts_of_several_files_have_what_the_first_says(tmp_path: Path) -> None:
    for name, text in (
        ("a", "[[hosts]]\npace = 1"),
        ("b", 'parameters = "1 B"\n[[hosts]]\npace = 1\nlink.up = "1 B/s"'),
    ):
        (tmp_path / name).write_text(text)
    assert len(read_clusters([tmp_path / "b", tmp_path / "a"]).hosts) == 2
    with pytest.raises(ClusterError, match="a with the hosts of the others: links have a rate"):
        read_clusters([tmp_path / "a", tmp_path / "b"])


def test_faults_of_several_files_stay_with_their_hosts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('faults = ["in push kill worker 0"]\n[[hosts]]\npace = 1\n')
    files = [tmp_path / "a", tmp_path / "a"]
    assert [fault.worker for fault in read_clusters(files).faults] == [0, 1]


def test_paces_that_rotate() -> None:
    text = "rotate = 5\n[[hosts]]\npace = 400\n[[hosts]]\npace = 100"
    assert parse_cluster(text).hosts == rotating((Host(400.0), Host(100.0)), 5.0)


def test_paces_alone() -> None:
    assert of_paces((400.0, 100.0)) == Cluster((Host(400.0), Host(100.0)))
    with pytest.raises(ClusterError, match="positive"):
        of_paces((400.0, 0.0))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pace = ", "not TOML"),
        ("seed = 1", r"a table \[\[hosts\]\]"),
        ("hosts = 3", r"a table \[\[hosts\]\]"),
        ("hosts = []", "at least one host"),
        (
            "[[hosts]]\npace = 1\n[[hosts]]\nspeed = 1",
            "line 4: host table 2, 'speed': there is no 'speed'; valid are pace, .*count",
        ),
        ("[[hosts]]\nnoise = 1.0", "host table 1: .*pace"),
        (
            "[[hosts]]\npace = 'fast'",
            "host table 1, .pace.: .fast. is not a pace; write a number, or one with a unit .samples/s",
        ),
        ("[[hosts]]\npace = -1", "line 2: host table 1, 'pace': it must be finite and not negative, unlike -1"),
        ("[[hosts]]\npace = 0", "line 1: host table 1: a pace is a positive number"),
        ("[[hosts]]\npace = 1\ncount = 0", "line 3: host table 1, 'count': it is a whole number from 1, not 0"),
        (
            "host = 1\n[[hosts]]\npace = 1",
            "line 1: 'host': there is no 'host' .did you mean 'hosts'\\?.; valid are parameters",
        ),
        ("seed = 'x'\n[[hosts]]\npace = 1", "line 1: 'seed': it is a whole number from 0, not 'x'"),
        (
            "rotate = 'x'\n[[hosts]]\npace = 1",
            "line 1: 'rotate': 'x' is not a time; write a number, or one with a unit .s, ms",
        ),
        ("rotate = -1\n[[hosts]]\npace = 1", "not negative"),
        ("[[hosts]]\npace = 1\nseed = 3", "line 3: .*no 'seed' here .it is the cluster's: write it above all tables"),
        ("[[hosts]]\npace = 1\ncount = 1000000000", "line 3: .*that makes 1000000000 hosts; at most 100000"),
        ("[[hosts]]\npace = '4 km/h'", "line 2: .*no unit 'km/h' for a pace"),
        ("[[hosts]]\npace = 1\nlink = 3", "line 3: host table 1, 'link': it is a table, such as"),
        ("[[hosts]]\npace = 1\nlink = { speed = 1 }", "line 3: host table 1, 'link.speed': there is no 'speed'"),
        ("[[hosts]]\npace = 1\nlink = { rate = 3 }", "line 3: host table 1, 'link.rate': 3 is a rate without a unit"),
        ("[[hosts]]\npace = 1\nlink = { rate = '1 B/s', up = '1 B/s' }", "line 3: .*both directions"),
        ("[[hosts]]\npace = 1\nlink = { rate = '1 MB/s' }", "the cluster: links have a rate"),
        ("[[hosts]]\npace = 1\n[hosts.pareto]\nleast = 2", "line 3: host table 1, 'pareto': 'every' is missing"),
        ("[[hosts]]\npace = 1\nstalls = [1, 2]", "line 3: .*a list of rows of 2 values"),
        ("[[hosts]]\npace = 1\ndies = -1", "line 3: host table 1, 'dies': it must be finite and not negative"),
        ("probe = 1\n[[hosts]]\npace = 1", "line 1: 'probe': it is true or false"),
        ("faults = 1\n[[hosts]]\npace = 1", r"a table \[\[faults\]\]"),
        ("[[hosts]]\npace = 1\n[[faults]]\nworker = 3\nat = 1\nwhat = 'dies'", "line 3: fault table 1: .*no worker 3"),
        ("[[hosts]]\npace = 1\n[[faults]]\nworker = 0\nat = 1", "line 3: fault table 1: 'what' is missing"),
        ("[[hosts]]\npace = 1\n[[faults]]\nworker = 0\nat = 1\nwhat = 3", "line 6: .*text in quotes"),
        ("rotate = 0\n[[hosts]]\npace = 1", "must be positive"),
    ],
)
def test_what_is_no_cluster(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(text)
    with pytest.raises(ClusterError, match=f"(?s)cluster.toml: .*{says}"):
        read_cluster(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot be read: No such file"):
        read_cluster(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ClusterError, match="not text"):
        read_cluster(tmp_path / "bytes.toml")
