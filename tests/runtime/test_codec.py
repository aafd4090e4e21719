"""Codecs: how far off a value may be, what error feedback makes good, and what is not finite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evener.runtime.bulk.codec import (
    BLOCK,
    CODECS,
    SLAB,
    Codec,
    Floats,
    apply_change,
    pack_change,
    pack_gradient,
    unpack,
)

codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
counts = st.sampled_from([1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7, SLAB, SLAB + BLOCK + 3])


@st.composite
def arrays(draw: st.DrawFn, count: int | None = None) -> Floats:
    """Values of very unequal size, zeros and both zeros' signs among them."""
    size = draw(counts) if count is None else count
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    exponent = draw(st.integers(-42, 37))
    values = random.standard_normal(size) * 10.0**exponent * 10.0 ** -random.integers(0, 5, size)
    values[random.random(size) < 0.1] = -0.0
    with np.errstate(under="ignore"):
        return values.clip(-3e38, 3e38).astype(np.float32)


def steps(codec: Codec, values: Floats) -> Floats:
    """The most that each value may be off by."""
    if codec.name == "bf16":
        return np.abs(values) / 256 + np.float32(1e-40)  # below the normal numbers the distance is constant
    padded = np.zeros(-(-len(values) // BLOCK) * BLOCK, np.float32)
    padded[: len(values)] = np.abs(values)
    most = padded.reshape(-1, BLOCK).max(axis=1)
    half = np.where(most < 127 * np.finfo(np.float32).tiny, most, most / 254 * 1.0001)
    return np.repeat(half, BLOCK)[: len(values)].astype(np.float32)


def sent(codec: Codec, values: Floats, weight: float = 1.0, residual: Floats | None = None) -> Floats:
    """What arrives of a contribution."""
    packed = memoryview(bytearray(codec.size(len(values))))
    left = np.zeros_like(values) if residual is None else residual
    *_, done = pack_gradient(codec, values, weight, left, packed)
    assert done == len(packed)
    there = np.full_like(values, np.nan)
    unpack(codec, packed, there)
    return there


@codecs
@settings(max_examples=60, deadline=None)
@given(values=arrays())
def test_no_value_is_off_by_more_than_half_a_step(codec: Codec, values: Floats) -> None:
    before = values.copy()
    residual = np.zeros_like(values)
    there = sent(codec, values, residual=residual)
    assert (np.abs(there - values) <= steps(codec, values)).all()
    assert np.array_equal(values, before)
    assert np.array_equal(residual, values - there)


@pytest.mark.parametrize(("name", "bits"), [("bf16", 16), ("int8", 8 + 32 / BLOCK)])
def test_it_is_as_short_as_it_says(name: str, bits: float) -> None:
    assert CODECS[name].size(10 * SLAB) == 10 * SLAB * bits / 8
    assert CODECS[name].size(1) <= BLOCK + 4


@codecs
@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    count=counts,
    weights=st.lists(st.sampled_from([1.0, 2.0, 37.0, 128.0, 0.5]), min_size=1, max_size=12),
)
def test_of_all_that_was_sent_at_most_the_last_rest_is_missing(
    codec: Codec, data: st.DataObject, count: int, weights: list[float]
) -> None:
    """Whatever the weights: the sum of what arrives is the sum of what was sent, less one step."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    # Small gradients that always point one way, below a step of their blocks: without feedback they never arrive.
    gradients = [(random.standard_normal(count) * 0.1 + 1e-3).astype(np.float32) for _ in weights]
    residual = np.zeros(count, np.float32)
    wanted, arrived, size = np.zeros(count), np.zeros(count), np.zeros(count)
    for gradient, weight in zip(gradients, weights, strict=True):
        owed = gradient + residual / np.float32(weight)
        wanted += weight * gradient.astype(np.float64)
        arrived += weight * sent(codec, gradient, weight, residual).astype(np.float64)
        size += weight * np.abs(gradient)
    step = weights[-1] * steps(codec, owed)
    assert (np.abs(arrived - wanted) <= step + 1e-6 * size + 1e-5 * step).all()


def test_without_feedback_small_values_never_arrive() -> None:
    """The test above would fail then."""
    gradient = np.full(BLOCK, 1e-3, np.float32)
    gradient[0] = 1.0
    arrived = [
        sum(float(sent(CODECS["int8"], gradient, residual=left)[1]) for _ in range(100))
        for left in (None, 0 * gradient)
    ]
    assert arrived == [0, pytest.approx(0.1, abs=0.004)]


@codecs
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3.4e38])
@pytest.mark.parametrize("where", [0, BLOCK + 1, SLAB + 5])
def test_what_is_not_finite_arrives_as_such_and_spoils_nothing_later(codec: Codec, bad: float, where: int) -> None:
    good = np.linspace(-1, 1, SLAB + BLOCK + 9, dtype=np.float32)
    gradient, residual = good.copy(), np.zeros_like(good)
    gradient[where] = bad
    there = sent(codec, gradient, residual=residual)
    if bad == np.float32(3.4e38) and codec.name == "int8":
        assert np.isfinite(there).all()  # it has a scale
        residual.fill(0)
    else:
        assert not np.isfinite(there).all()
    assert np.isfinite(residual).all()
    after = sent(codec, good, residual=residual)
    assert (np.abs(after - good) <= 2.1 * steps(codec, np.ones_like(good))).all()


@codecs
@pytest.mark.parametrize("weight", [np.inf, np.nan, 1e-50, 1e300, 0.0])
def test_a_weight_that_is_no_number_spoils_nothing_later(codec: Codec, weight: float) -> None:
    values, residual = np.linspace(-1, 1, 700, dtype=np.float32), np.zeros(700, np.float32)
    sent(codec, values, weight, residual)
    assert np.isfinite(sent(codec, values, 1.0, residual)).all()


def test_scales_that_are_not_finite_are_unpacked_as_such() -> None:
    """Whoever packs may lie; what comes of it is for the verdict on what was unpacked."""
    codec, there = CODECS["int8"], np.zeros(2 * BLOCK, np.float32)
    for scale in (np.nan, np.inf, 3e38):
        packed = bytearray(b"\x7f" * codec.size(2 * BLOCK))
        packed[:4] = packed[BLOCK + 4 : BLOCK + 8] = np.float32(scale).tobytes()
        unpack(codec, memoryview(packed), there)
        assert not np.isfinite(there).any()


@codecs
@settings(max_examples=30, deadline=None)
@given(data=st.data(), count=counts, changes=st.integers(1, 6))
def test_both_ends_move_alike_and_never_far_away(codec: Codec, data: st.DataObject, count: int, changes: int) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    exact = random.standard_normal(count).astype(np.float32)
    exact[::3] = -0.0
    here, there = exact.copy(), exact.copy()
    for _ in range(changes):
        exact = exact + (random.standard_normal(count) * 10.0 ** random.integers(-9, 0)).astype(np.float32)
        owed = exact - here
        packed = memoryview(bytearray(codec.size(count)))
        assert pack_change(codec, exact, here, packed)
        apply_change(codec, packed, there)
        assert here.tobytes() == there.tobytes()
        assert (np.abs(here - exact) <= steps(codec, owed) + 1e-6 * np.abs(exact)).all()


@codecs
def test_a_change_to_what_is_not_finite_is_none(codec: Codec) -> None:
    old, new = np.ones(SLAB + 3, np.float32), np.ones(SLAB + 3, np.float32)
    new[-1] = np.nan
    assert not pack_change(codec, new, old, memoryview(bytearray(codec.size(len(new)))))
