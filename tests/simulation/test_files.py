"""Clusters from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from evener.simulation.cluster import Cluster, Host, rotating
from evener.simulation.files import ClusterError, of_paces, parse_cluster, read_cluster

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
        ("[[hosts]]\npace = 1\n[[hosts]]\nspeed = 1", "host table 2: there is no 'speed'; valid are pace, .*count"),
        ("[[hosts]]\nnoise = 1.0", "host table 1: .*pace"),
        ("[[hosts]]\npace = 'fast'", r"host table 1: .*`float`, got `str`.*pace"),
        ("[[hosts]]\npace = -1", "host table 1: a pace is a positive number"),
        ("[[hosts]]\npace = 1\ncount = 0", "count is a whole number from 1, not 0"),
        ("host = 1\n[[hosts]]\npace = 1", "the cluster: there is no 'host'; valid are step_seconds"),
        ("seed = 'x'\n[[hosts]]\npace = 1", "the cluster: .*`int`, got `str`"),
        ("rotate = 'x'\n[[hosts]]\npace = 1", "rotate is a number of seconds"),
        ("rotate = -1\n[[hosts]]\npace = 1", "must be positive"),
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
