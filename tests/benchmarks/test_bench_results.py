"""From measurements to a table."""

import json

import pytest

from benchmarks.results import Result, Session, Spread, neighbours, own_shares, rows
from benchmarks.table import markdown


def result(system, rate=None, cluster="8-4-2-1", **fields):
    return Result(cluster, "small", system, 512, 0, samples_per_second=rate, **fields)


BLOCK = [
    result("limit", 100.0, by_host=(80.0, 20.0), host_cpu=(0.8, 0.2)),
    result("balanced", 88.0, by_host=(70.0, 18.0), host_cpu=(0.8, 0.2), server_cpu=0.1, stale_fraction=0.05),
    result("limit", 120.0, by_host=(96.0, 24.0), host_cpu=(0.8, 0.2)),
    result("ddp", 22.0),
    result("balanced", 114.0),
    result("limit", 80.0, by_host=(64.0, 16.0), host_cpu=(0.8, 0.2)),
]


def test_each_measurement_is_held_against_the_limit_of_its_time():
    assert neighbours(BLOCK) == [100.0, 110.0, 120.0, 100.0, 100.0, 80.0]


def test_a_limit_that_failed_is_not_held_against_anything():
    block = [result("limit", 100.0), result("ddp", 50.0), result("limit", failed="no")]
    assert neighbours(block)[1] == 100.0


def test_without_a_limit_there_is_no_share_of_it():
    [row] = rows([result("ddp", 50.0)])
    assert row.utilisation is None
    assert row.overhead is None
    assert row.samples_per_second == Spread(50.0, 50.0, 50.0)


def test_rows_are_medians_with_their_spread():
    by_name = {row.system: row for row in rows(BLOCK)}
    assert by_name["balanced"].count == 2
    assert by_name["balanced"].utilisation.least == pytest.approx(0.8)
    assert by_name["balanced"].utilisation.most == pytest.approx(1.14)
    assert by_name["limit"].samples_per_second == Spread(100.0, 80.0, 120.0)
    assert by_name["limit"].overhead.median == pytest.approx(0.0, abs=1e-3)


def test_cpu_beyond_computing_counts_what_samples_do_not_account_for():
    [row] = [row for row in rows(BLOCK) if row.system == "balanced"]
    # A sample costs 0.01 s in the limit; 88 of them a second leave 0.12 of 1.0 core.
    assert row.overhead.median == pytest.approx(0.12, abs=1e-3)


def test_each_host_is_held_against_its_own_limit():
    shares = own_shares(BLOCK)
    assert shares[1] == pytest.approx((70 / 88, 18 / 22))
    assert shares[0] == (1.0, 1.0)
    [balanced] = [row for row in rows(BLOCK[:3]) if row.system == "balanced"]
    assert [share.median for share in balanced.hosts] == pytest.approx([70 / 88, 18 / 22])


def test_a_host_that_came_back_under_another_number_has_no_share():
    block = [BLOCK[0], result("balanced", 88.0, by_host=(70.0, 10.0, 8.0))]
    assert own_shares(block)[1] == ()


def test_batches_have_tables_of_their_own():
    session = Session("full", {}, results=[result("ddp", 9.0), Result("8-4-2-1", "small", "ddp", 256, 0, 5.0)])
    assert [row.batch for row in session.rows()] == [512, 256]


def test_accounting_that_does_not_hold_shows_in_the_table():
    session = Session("some", {}, results=[*BLOCK, result("balanced", 90.0, problems="position 7 counted twice")])
    assert not session.sound
    assert "position 7 counted twice" in markdown(session)


def test_pausing_hosts_are_marked_in_every_table():
    session = Session("full", {}, "needs root", results=[*BLOCK, result("ddp", 5.0, cluster="straggler")])
    headings = [line for line in markdown(session).splitlines() if line.startswith("## ")]
    assert len(headings) == 2
    assert all("throttled" in line for line in headings)
    assert "needs root" in markdown(session)


def test_where_a_host_died_its_cpu_time_is_not_guessed():
    block = [result("limit", 100.0, by_host=(80.0, 20.0)), result("balanced", 88.0, by_host=(70.0, 18.0))]
    assert [row.overhead for row in rows(block)] == [None, None]


def test_a_failure_is_told_with_its_reason():
    session = Session("quick", {"cpu": "x"}, results=[*BLOCK, result("hivemind", failed="no such wheel")])
    text = markdown(session)
    assert "no such wheel" in text
    assert any(line.startswith("| hivemind") and "failed" in line for line in text.splitlines())


def test_clusters_have_tables_of_their_own():
    session = Session("full", {}, results=[*BLOCK, result("ddp", 5.0, cluster="straggler")])
    assert [len(block) for block in session.blocks()] == [6, 1]
    assert markdown(session).count("## ") == 2


def test_results_are_written_as_json(tmp_path):
    session = Session("quick", {"cpu": "x"}, results=list(BLOCK))
    session.write(tmp_path / "deep" / "quick.json")
    read = json.loads((tmp_path / "deep" / "quick.json").read_text())
    assert read["schema"] == 1
    assert len(read["results"]) == len(BLOCK)
    assert {row["system"] for row in read["rows"]} == {"limit", "balanced", "ddp"}
