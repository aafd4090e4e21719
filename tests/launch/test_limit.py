from __future__ import annotations

import json
from pathlib import Path

import pytest

from evener.launch import LaunchError, RunOptions, mean_limit, measure_limit
from evener.trace import read_limit

from .conftest import Kept, Script

MEASURES = """
assert role == "limit"
rate = {"worker": index, "sizes": {"8": 10.0 * (index + 1), "16": 15.0 * (index + 1)}}
with open(os.path.join(place["record"], f"rate-{index}.json"), "w") as file:
    json.dump(rate, file)
"""


def test_the_rates_of_all_are_gathered(script: Script, screen: Kept, tmp_path: Path) -> None:
    path = measure_limit(RunOptions(script=script(MEASURES), workers=3, record=tmp_path / "limit"), screen)
    assert path == tmp_path / "limit" / "limit.json"
    assert read_limit(path).samples_per_second == 15 * (1 + 2 + 3)
    assert [one["worker"] for one in json.loads(path.read_text())["rates"]] == [0, 1, 2]
    assert list(path.parent.iterdir()) == [path]


def test_one_that_fails_ends_the_measurement(script: Script, screen: Kept) -> None:
    body = "if index == 1: sys.exit(5)\nfor_ever()"
    with pytest.raises(LaunchError, match="worker 1 ended with exit code 5"):
        measure_limit(RunOptions(script=script(body), workers=2), screen)


def test_one_that_does_not_measure_ends_the_measurement(script: Script, screen: Kept) -> None:
    body = "if index == 1: sys.exit()\nfor_ever()"
    with pytest.raises(LaunchError, match="worker 1 ended without a measurement"):
        measure_limit(RunOptions(script=script(body), workers=2), screen)


def test_what_is_no_measurement(script: Script, screen: Kept) -> None:
    body = MEASURES.replace('"worker": index', '"worker": "me"')
    with pytest.raises(LaunchError, match="is no measurement"):
        measure_limit(RunOptions(script=script(body), workers=1), screen)


def test_the_mean_of_two(script: Script, screen: Kept, tmp_path: Path) -> None:
    path = script(MEASURES)
    first = measure_limit(RunOptions(script=path, workers=2, record=tmp_path / "first"), screen)
    path.write_text(path.read_text().replace("10.0", "30.0"))
    second = measure_limit(RunOptions(script=path, workers=2, record=tmp_path / "second"), screen)
    mean = read_limit(mean_limit(tmp_path, [first, second]))
    assert [rates.sizes for rates in mean.rates] == [{8: 20.0, 16: 15.0}, {8: 40.0, 16: 30.0}]
