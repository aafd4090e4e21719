"""Profiles, and the cluster files that they are written as."""

from __future__ import annotations

import json
import math
import random
import statistics
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evener.simulation.cluster import Host
from evener.simulation.files import ClusterError, parse_cluster, read_clusters
from evener.simulation.profile import VARIABLE, Machine, Profile, Request, Transfers

WHEN = datetime(2026, 1, 31, 14, 25, tzinfo=UTC)
COST = Transfers(push_bytes=4000, pull_bytes=4004, push=0.003, pull=0.002, message=0.0002, cpu=0.004)


def profile(durations: dict[int, list[float]], processor: str = "a processor") -> Profile:
    machine = Machine(processor, "cpu", "2.4.0", 2)
    return Profile(machine, "", 64, 1000, durations, (), COST, 0.0015)


LINEAR = profile({size: [0.01 + size / 400] * 3 for size in (8, 16, 32, 64)})


def test_a_profile_is_a_host() -> None:
    cluster = parse_cluster(LINEAR.to_toml("train.py", WHEN))
    host = Host(400.0, overhead=0.01, uplink=0.003, downlink=0.002, latency=0.0002, push_work=0.003, pull_work=0.002)
    assert cluster.hosts == (host,)
    assert cluster.step_seconds == 0.0015


def test_the_file_says_what_was_measured_on_what_and_when() -> None:
    text = LINEAR.to_toml("train.py --wide", WHEN)
    for said in ("2026-01-31 14:25", "train.py --wide", "a processor", "2.4.0", "2 threads", "1000 trained parameters"):
        assert said in text


@given(
    st.dictionaries(st.integers(1, 512), st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=5), min_size=1),
    st.text(),
    st.text(),
)
def test_the_file_is_a_cluster_whatever_was_measured(
    durations: dict[int, list[float]], script: str, processor: str
) -> None:
    measured = profile(durations, processor)
    [host] = parse_cluster(measured.to_toml(script, WHEN)).hosts
    assert host.pace == pytest.approx(measured.line.pace, rel=1e-3)
    assert host.noise == pytest.approx(measured.noise, rel=1e-3)


def test_several_files_are_one_cluster(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text(LINEAR.to_toml("train.py", WHEN))
    second.write_text("step_seconds = 9.0\n[[hosts]]\npace = 50\ncount = 2\n")
    cluster = read_clusters([first, second])
    assert [host.pace for host in cluster.hosts] == [400, 50, 50]
    assert cluster.step_seconds == 0.0015


def test_one_of_several_files_that_is_not_there(tmp_path: Path) -> None:
    first = tmp_path / "a.toml"
    first.write_text(LINEAR.to_toml("train.py", WHEN))
    with pytest.raises(ClusterError, match=r"none\.toml cannot be read"):
        read_clusters([first, tmp_path / "none.toml"])
    with pytest.raises(ClusterError, match="no cluster file"):
        read_clusters([])


def test_the_smallest_efficient_micro_batch() -> None:
    # 500, 899, 900 and 1000 samples/s: nine tenths are enough, and a hair less is not.
    assert profile({8: [8 / 500], 16: [16 / 899], 32: [32 / 900], 64: [64 / 1000]}).efficient == 32


def test_the_median_counts_and_its_quartiles_are_shown() -> None:
    measured = profile({10: [0.1, 0.2, 0.4, 0.1, 5.0]})
    assert measured.rates(10) == pytest.approx((25, 50, 100))


def test_the_simulated_host_takes_as_long_as_was_measured() -> None:
    # Under a CPU quota most take little, and some wait for the next period.
    measured = profile({10: [0.1, 0.1, 0.1, 0.5], 20: [0.2, 0.2, 0.2, 1.0]})
    host = measured.cluster().hosts[0]
    mean = statistics.fmean(host.duration(10, 0.0, math.exp(normal)) for normal in _normals(measured.noise))
    assert mean == pytest.approx(0.2, rel=0.01)


def _normals(sigma: float) -> list[float]:
    return [statistics.NormalDist(0.0, sigma).inv_cdf((place + 0.5) / 20_000) for place in range(20_000)]


def quota(share: float, period: float, rest: float, chance: random.Random) -> Profile:
    """Measurements under a quota of a core: 1 ms of it and 0.1 ms a sample; who rests saves that much."""
    durations: dict[int, list[float]] = {size: [] for size in (8, 16, 32, 64, 128)}
    rested = []
    late = 0.0
    for _ in range(60):
        for size, some in durations.items():
            before, late = late, chance.uniform(0.0, period)
            some.append((0.001 + size / 10_000) / share + late - before)
        late = chance.uniform(0.0, period)
        rested.append((0.001 + 32 / 10_000) / share - rest + late - period / 2)
    return msgspec.structs.replace(profile(durations), rested={32: rested})


def test_what_a_quota_does_comes_back() -> None:
    [host] = quota(0.25, 0.006, 0.004, random.Random(1)).cluster().hosts
    assert host.burst == pytest.approx(0.004, rel=0.3)
    assert host.scatter == pytest.approx(0.006 / math.sqrt(12), rel=0.2)
    assert host.noise == 0.0
    assert host.pace == pytest.approx(2500, rel=0.03)
    assert host.overhead == pytest.approx(0.004, rel=0.3)


def test_a_rest_that_saves_no_more_than_chance_may_is_no_quota() -> None:
    measured = quota(0.25, 0.006, 0.0, random.Random(2))
    assert measured.burst == measured.scatter == 0.0
    assert measured.cluster().hosts[0].noise == measured.noise > 0


def test_sizes_that_nobody_is_given_count_where_there_are_no_others() -> None:
    steep = {4: [0.05], 8: [0.05], 16: [0.026], 32: [0.042], 64: [0.074]}  # 10 ms, and a millisecond a sample
    assert profile(steep).line.overhead == pytest.approx(0.01)
    del steep[64]
    assert profile(steep).line.overhead > 0.02


def test_noise_is_about_the_median_of_each_size() -> None:
    assert LINEAR.noise == 0.0
    measured = profile({8: [0.1, 0.1 * math.e, 0.1 / math.e], 16: [3.0, 3.0, 3.0]})
    assert measured.noise == pytest.approx(math.sqrt(2 / 6))


def test_everything_for_programs() -> None:
    values = LINEAR.to_dict()
    assert [rate["size"] for rate in json.loads(json.dumps(values))["rates"]] == [8, 16, 32, 64]
    assert values["line"]["pace"] == pytest.approx(400)
    assert values["transfers"]["push_bytes"] == 4000


def test_a_request_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Request.here() is None
    request = Request("/somewhere", (8, 16), 2.0, 1, "bfloat16")
    monkeypatch.setenv(*next(iter(request.environment().items())))
    assert Request.here() == request
    monkeypatch.setenv(VARIABLE, "{}")
    with pytest.raises(ValueError, match="does not say what to measure"):
        Request.here()
