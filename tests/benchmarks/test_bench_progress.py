"""How many samples had counted when."""

import json
import time
from dataclasses import replace

import pytest

from benchmarks.measure import Outcome, account
from benchmarks.progress import Curve, Files, Record
from benchmarks.runners.job import Job, Progress, loss_weights

JOB = Job(
    index=1,
    addresses=("10.0.0.1", "10.0.0.2"),
    server="10.0.0.3",
    port=20000,
    folder="",
    door="",
    share=0.1,
    workload="small",
    batch=128,
    parts=(96, 32),
    sizes=(),
    options={"period": 10},
)


def job(folder, **fields):
    return replace(JOB, folder=str(folder), **fields)


def test_a_job_survives_the_environment(monkeypatch):
    for name, value in JOB.environment().items():
        monkeypatch.setenv(name, value)
    assert Job.here() == JOB


def test_what_a_host_tells_is_what_is_read(tmp_path):
    before = time.monotonic()
    told = Progress(job(tmp_path, index=0))
    told.add(64)
    told.add(32)
    [curve, other] = Files(tmp_path, 2).curves()
    assert curve.totals == [64, 96]
    assert before - 1e-3 <= curve.times[0] <= curve.times[1]
    assert other.totals == []


def test_a_line_cut_short_by_death_is_left_out(tmp_path):
    (tmp_path / "progress-0").write_text("1.5 64\n2.5 6")
    [curve] = Files(tmp_path, 1).curves()
    assert curve.totals == [64]


def test_all_hosts_must_have_started(tmp_path):
    files = Files(tmp_path, 2)
    (tmp_path / "progress-0").write_text("1.0 8\n")
    (tmp_path / "progress-1").write_text("")
    assert not files.started()
    (tmp_path / "progress-1").write_text("3.0 8\n4.0 8\n")
    assert files.started()
    assert files.points(since=2.0, hosts={1}) == 2
    assert files.points(since=2.0, hosts={0, 1}) == 0


def test_the_rate_of_a_steady_host_does_not_depend_on_where_the_window_lies():
    curve = Curve()
    for step in range(100):
        curve.add(0.7 * step, 64)
    for start in (7.1, 8.0, 9.9):
        assert curve.between(start, start + 5.3) / 5.3 == pytest.approx(64 / 0.7)


def test_a_host_that_died_counts_no_more():
    curve = Curve()
    for step in range(10):
        curve.add(float(step), 10)
    assert curve.between(8.0, 20.0) == 10


def line(t, event, *commands):
    return json.dumps({"t": t, "event": event, "commands": list(commands)}, separators=(",", ":")) + "\n"


HEADER = (
    '{"t":0.0,"header":{"schema":1,"kind":"run","run":"r","created":"","evener":"0.1.0","script":"s",'
    '"settings":{"batch":8,"epochs":1,"workers":2,"patience":30.0,"drop_last":false,"seed":0},'
    '"policy":{"name":"balanced","options":{}},"positions":64,"parameters":1,"notes":{}}}\n'
)


def arrived(t, worker, push, samples):
    event = {"type": "Arrived", "worker": worker, "push": push, "tickets": [push], "versions": [0],
             "weight": samples, "verdict": "ok"}  # fmt: skip
    add = {"type": "Accumulate", "worker": worker, "push": push, "step": 0, "samples": samples, "factor": 1.0,
           "staleness": 0}  # fmt: skip
    return line(t, event, add)


def test_a_record_is_set_against_the_clock_of_the_machine(tmp_path):
    text = HEADER + arrived(2.0, 0, 1, 6) + arrived(2.5, 1, 2, 2)
    (tmp_path / "record.jsonl").write_text(text)
    record = Record(tmp_path, 2)
    assert not record.started()
    (tmp_path / "record.jsonl").write_text(text + line(3.0, {"type": "StepDone", "version": 1, "seconds": 0.1}))
    assert record.started()
    now = time.monotonic()
    [fast, slow] = record.curves()
    assert (fast.totals, slow.totals) == ([6], [2])
    assert fast.times[0] == pytest.approx(now - 1.0, abs=0.2)
    assert slow.times[0] == pytest.approx(now - 0.5, abs=0.2)


def outcome_of(folder, batch):
    outcome = Outcome(1.0, [1.0], [1.0], 0.0, 1.0, 0.0)
    account(outcome, folder, batch)
    return outcome


def test_samples_that_nobody_was_given_do_not_count_as_counted(tmp_path):
    (tmp_path / "record.jsonl").write_text(HEADER + arrived(2.0, 0, 1, 6))
    outcome = outcome_of(tmp_path, batch=8)
    assert outcome.counted_once is False
    assert outcome.problems


def test_another_batch_than_the_one_asked_for_is_a_problem(tmp_path):
    (tmp_path / "record.jsonl").write_text(HEADER)
    assert outcome_of(tmp_path, batch=8).counted_once is True
    assert "the batch was 8 and not 16" in outcome_of(tmp_path, batch=16).problems


def test_a_run_without_a_record_is_a_problem(tmp_path):
    outcome = outcome_of(tmp_path, batch=8)
    assert outcome.counted_once is False
    assert "no record" in outcome.problems


def test_oracle_batches_give_the_gradient_of_the_whole_batch():
    torch = pytest.importorskip("torch")
    from benchmarks.runners.training import gradient

    torch.manual_seed(0)
    x, y = torch.randn(128, 5, dtype=torch.float64), torch.randint(0, 3, (128,))
    model = torch.nn.Linear(5, 3).double()
    gradient(model, [x, y])
    whole, model.weight.grad = model.weight.grad, None
    parts = (80, 40, 8)
    for part, weight in zip(parts, loss_weights(parts), strict=True):
        own, x = x[:part], x[part:]
        labels, y = y[:part], y[part:]
        gradient(model, [own, labels], weight)
    # DDP divides the sum by the number of ranks.
    assert torch.allclose(model.weight.grad / len(parts), whole, atol=1e-12)


def test_workloads_are_of_the_sizes_they_are_said_to_be():
    pytest.importorskip("torch")
    from benchmarks.workloads import WORKLOADS

    for workload in WORKLOADS.values():
        model = workload.build()
        least, most = {"resnet20": (0.265e6, 0.275e6)}.get(workload.name, (0.15e6, 0.25e6))
        assert least < sum(p.numel() for p in model.parameters()) < most
        x, y = next(workload.batches(4, seed=0))
        assert model(x).shape == (4, 10)
        assert y.shape == (4,)
        again, _ = next(workload.batches(4, seed=0))
        assert x.equal(again)
