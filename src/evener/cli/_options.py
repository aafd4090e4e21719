"""Command line values: from text to what is meant, with errors that say what is valid."""

from __future__ import annotations

import argparse
import math


def speeds(text: str) -> tuple[float, ...]:
    """``8,4,2,1`` → four speeds. Whether they can be emulated is the launcher's to say."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no list of speeds; write one number for each worker, such as 8,4,2,1"
        ) from None


def micro_batch(text: str) -> int:
    """``32`` → 32 samples."""
    try:
        samples = int(text)
    except ValueError:
        samples = 0
    if samples < 2:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no micro-batch; write a number of samples, 2 or more (BatchNorm cannot normalise one)"
        )
    return samples


def target(text: str) -> tuple[str, float]:
    """``test_accuracy=0.9`` → name and value."""
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name.strip() or not math.isfinite(number):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no target; write NAME=VALUE, such as test_accuracy=0.9, "
            "with a name that the script gives to session.log()"
        )
    return name.strip(), number
