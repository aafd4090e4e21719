"""The study's script on evener, to its end: what the model is worth after so many samples."""

from __future__ import annotations

from evener.training.joining import take
from study.train import arguments, train

from .evener import group_of, place_of
from .job import Job


def main() -> None:
    """Train, and end. The accuracy is in the run's record."""
    job = Job.here()
    train(take(place_of(job), plain_outside=not job.keys, group=group_of(job)), arguments())


if __name__ == "__main__":
    main()
