import threading

import pytest

from study import run as study_run
from study.grid import GRADED, HAR, POLICIES, Run
from study.results import Store, publish, published

RUNS = [Run(HAR, GRADED, policy, 0.1, 0) for policy in POLICIES]


def silent(run, result, why):
    pass


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def doer(store, make, done, broken=()):
    """Work that notes what it does; runs of ``broken`` policies fail."""

    def work(run):
        done.append(run)
        if run.policy in broken:
            raise RuntimeError("it broke")
        store.put(make(run))

    return work


def test_everything_is_done_once_in_order(store, make):
    done = []
    assert study_run.carry_out(lambda _: RUNS, store, doer(store, make, done), silent, jobs=1) == {}
    assert done == RUNS


def test_what_is_finished_is_not_run_again(store, make):
    for run in RUNS[:4]:
        store.put(make(run))
    done = []
    study_run.carry_out(lambda _: RUNS, store, doer(store, make, done), silent, jobs=2)
    assert sorted(run.policy for run in done) == sorted(run.policy for run in RUNS[4:])


def test_a_run_that_fails_holds_up_no_other_and_is_tried_again_next_time(store, make):
    done = []
    work = doer(store, make, done, broken={"stale"})
    failed = study_run.carry_out(lambda _: RUNS, store, work, silent)
    assert list(failed.values()) == ["it broke"]
    assert len(done) == len(RUNS)
    again = []
    assert study_run.carry_out(lambda _: RUNS, store, doer(store, make, again), silent) == {}
    assert [run.policy for run in again] == ["stale"]


def test_a_run_that_leaves_no_result_has_failed(store):
    failed = study_run.carry_out(lambda _: RUNS[:1], store, lambda run: None, silent)
    assert list(failed) == [RUNS[0].key]


def test_the_plan_grows_with_the_results(store, make):
    def plan(scores):
        return RUNS[: 1 + len(scores)]

    done = []
    study_run.carry_out(plan, store, doer(store, make, done), silent)
    assert done == RUNS


def test_no_more_than_so_many_at_a_time(store, make):
    both = threading.Barrier(2, timeout=60)  # passes only if two are under way at once
    lock = threading.Lock()
    under_way, most = 0, 0

    def work(run):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        both.wait()
        with lock:
            under_way -= 1
        store.put(make(run))

    study_run.carry_out(lambda _: RUNS[:2], store, work, silent, jobs=2)
    assert most == 2


def test_broken_off_it_stops_what_is_under_way_and_keeps_what_is_finished(store, make):
    stopped = threading.Event()

    def work(run):
        if run == RUNS[0]:
            store.put(make(run))
        else:
            assert stopped.wait(timeout=60)
            raise RuntimeError("stopped")

    def interrupt(run, result, why):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study_run.carry_out(lambda _: RUNS, store, work, interrupt, jobs=2, stop=stopped.set)
    assert [result.key for result in store.all()] == [RUNS[0].key]


def test_results_come_back_as_they_were(store, make, tmp_path):
    result = make(RUNS[0])
    store.put(result)
    assert store.get(result.key) == result
    publish(store.all(), tmp_path / "all.jsonl")
    assert published(tmp_path / "all.jsonl") == [result]


def test_half_a_file_is_never_seen(store, make):
    store.put(make(RUNS[0]))
    assert {file.suffix for file in store.folder.iterdir()} == {".json"}


def test_results_that_are_dropped_are_missing_again(store, make):
    store.put(make(RUNS[0]))
    store.drop([RUNS[0].key])
    assert study_run.missing(lambda _: RUNS[:1], {one.key: one.score for one in store.all()}) == RUNS[:1]
