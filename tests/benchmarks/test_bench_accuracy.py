"""Accuracies beside each other, and who has not come to the end."""

import json

import pytest

from benchmarks import accuracy
from benchmarks.accuracy import Found


def found(how, seed, value, counted_once=True):
    return Found(how, seed, value, 1024, 2, 0.05, counted_once)


def test_each_is_held_against_the_first_with_the_same_seed():
    lines = accuracy.table(
        [found("plain", 0, 0.90), found("ours", 0, 0.91), found("plain", 1, 0.80), found("ours", 1, 0.79, False)]
    )
    plain, ours = lines[2:]
    assert plain.startswith("| plain | 85.0% | 90.0% 80.0% |  |")
    assert "| 85.0% | 91.0% 79.0% | +1.0 -1.0 |" in ours
    assert ours.endswith("| **NO** |")


def test_what_was_found_before_a_failure_is_kept(monkeypatch, tmp_path, capsys):
    def refuse(cluster, system, seed, words):
        raise accuracy.FailedError("the server did not end")

    monkeypatch.setattr(accuracy, "simulated", lambda cluster, policy, seed, words: found(" ".join(words), seed, 0.9))
    monkeypatch.setattr(accuracy, "real", refuse)
    assert accuracy.main(["groups", "--simulated", "synchronous", "--out", str(tmp_path), "--", "--pieces", "1"]) == 1
    assert "the server did not end" in capsys.readouterr().err
    [kept] = json.loads((tmp_path / "accuracy-groups.json").read_text())["results"]
    assert kept["how"].endswith("--pieces 1")


@pytest.mark.comparison
def test_a_simulated_run_comes_to_an_accuracy():
    words = ["--batch", "32", "--pieces", "1", "--steps", "2", "--keep", "64"]
    one = accuracy.simulated(accuracy.find("groups"), "synchronous", 0, words)
    assert (one.samples, one.steps, one.counted_once) == (64, 2, True)
    assert 0 <= one.accuracy <= 1
