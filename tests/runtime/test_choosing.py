"""Whether packing pays, by what was timed."""

from __future__ import annotations

import pytest

from evener.runtime import protocol as p
from evener.runtime.bulk.choosing import ENOUGH, MOST, Choosing, choose
from evener.runtime.bulk.codec import CODECS
from evener.runtime.numeric import Extent

COUNT = 200_000
EXTENT = Extent(16, 24, 4 * COUNT)


def timed(*seconds: float) -> Choosing:
    choosing = Choosing(EXTENT)
    for each in seconds:
        choosing.begins(100.0)
        choosing.ends(100.0 + each)
    return choosing


def test_the_median_transfer_counts_and_few_are_timed() -> None:
    assert timed().wanted
    assert not timed(ENOUGH).wanted  # on a slow link one says enough
    assert timed(*[0.001] * (MOST - 1)).wanted
    assert not timed(*[0.001] * MOST).wanted
    assert timed(0.03, 0.001, 0.02).transfer_s == pytest.approx(0.02)
    assert timed().transfer_s is None


def test_what_comes_without_the_untrained_state_before_it_is_not_timed() -> None:
    choosing = timed(0.01)
    choosing.ends(200.0)
    assert choosing.transfer_s == pytest.approx(0.01)


def test_packing_is_chosen_where_it_saves_more_than_it_costs() -> None:
    slow, fast = timed(600.0), timed(1e-9)
    for choosing in (slow, fast):
        assert choosing.packing("auto") is None  # before it has chosen
        choosing.choose()
    packing = slow.packing("auto")
    assert packing is not None
    assert packing.codec.name == "int8"
    assert fast.packing("auto") is None
    assert fast.choice.packing_s > 0
    for compress in ("bf16", "int8"):  # which leaves no choice
        packing = fast.packing(compress)
        assert packing is not None
        assert packing.codec.name == compress
    assert slow.packing("none") is None


def test_where_nothing_was_timed_or_is_to_be_packed_nothing_is() -> None:
    untimed = timed()
    untimed.choose()
    assert not untimed.choice.packs
    assert not choose(CODECS["int8"], 0, 16, 600.0).packs
    # Few values behind large statistics: there is hardly anything to save.
    assert not choose(CODECS["int8"], 512, 1 << 40, 1e-3).packs


def test_what_the_server_asks_for_must_be_known_here() -> None:
    with pytest.raises(p.ProtocolError, match="compresses as 'zip'"):
        Choosing(EXTENT).packing("zip")
    with pytest.raises(p.ProtocolError, match="compresses as 'int8'"):
        Choosing(None).packing("int8")
