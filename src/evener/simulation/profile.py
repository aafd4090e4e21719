"""What one machine does for one script, as measured; and the same as a cluster file of one host."""

from __future__ import annotations

import math
import os
import statistics
from datetime import datetime
from typing import Any, Literal

import msgspec

from ..core.plan import USEFUL
from .cluster import Cluster, Host
from .line import Line, fit

VARIABLE = "EVENER_PROFILE"
"""The environment variable that holds a :class:`Request` as JSON, where a script is to be measured and not trained."""

EFFICIENT = 0.9
"""The smallest efficient micro-batch is the smallest measured whose rate is at least this share of the best."""


ENOUGH = 3
"""Sizes through which a line is laid, at least, before those are left out that no worker is given."""

SURE = 1.5
"""So many times its standard error must a burst be, or it is chance."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the process of a script is to measure.

    Attributes:
        folder: where its answer goes: the :class:`Profile` as JSON, or why there is none, in words.
        sizes: of micro-batch, in samples; empty: some up to the script's batch.
        seconds: that computing is measured for; the rest takes about a quarter of it.
        threads: of torch; 0: as many as it takes by itself.
        autocast: the lower precision in which the script's loop computes; empty: none.
    """

    folder: str
    sizes: tuple[int, ...] = ()
    seconds: float = 16.0
    threads: int = 0
    autocast: Literal["", "bfloat16", "float16"] = ""

    def environment(self) -> dict[str, str]:
        """The variable to add to the process's environment."""
        return {VARIABLE: msgspec.json.encode(self).decode()}

    @classmethod
    def here(cls) -> Request | None:
        """What this process is to measure, if anything.

        Raises:
            ValueError: the variable is set, but to something else.
        """
        text = os.environ.get(VARIABLE)
        try:
            return msgspec.json.decode(text, type=cls) if text else None
        except msgspec.DecodeError as error:
            raise ValueError(
                f"the environment variable {VARIABLE} does not say what to measure ({error}). "
                "It is set by 'evener profile'; unset it to run the script alone."
            ) from error


class Machine(msgspec.Struct, frozen=True):
    """What was measured on: the processor, or the accelerator, by name; device, torch's version and threads."""

    processor: str
    device: str
    torch: str
    threads: int

    @property
    def words(self) -> str:
        """Where and how torch computed."""
        return f"torch {self.torch} on {self.device}, {self.threads} thread{'s' if self.threads != 1 else ''}"


class Transfers(msgspec.Struct, frozen=True):
    """What a push and a pull cost over loopback TCP, in seconds.

    Attributes:
        push_bytes, pull_bytes: of one push, of one set of parameters.
        push: until the server has received, judged and added it.
        pull: until the worker has received and installed it.
        message: a control message, one way.
        cpu: CPU seconds of one push and one pull, of both ends together.
    """

    push_bytes: int
    pull_bytes: int
    push: float
    pull: float
    message: float
    cpu: float


class Profile(msgspec.Struct, frozen=True):
    """A machine's measurements for a script.

    Attributes:
        machine: which.
        autocast: the lower precision that it computed in; empty: none.
        batch: the script's, in samples.
        parameters: numbers that are trained.
        durations: seconds of each repeat, by the size of the micro-batch in samples: loading it, forward and backward,
            and adding its gradient up.
        left_out: sizes for which there was no time.
        transfers: what they cost.
        step: seconds of an optimizer step, until the new parameters can be sent.
        rested: seconds of each repeat, by size, of micro-batches that began after an idle time as long as they take.
    """

    machine: Machine
    autocast: str
    batch: int
    parameters: int
    durations: dict[int, list[float]]
    left_out: tuple[int, ...]
    transfers: Transfers
    step: float
    rested: dict[int, list[float]] = {}

    @property
    def medians(self) -> dict[int, float]:
        """The median seconds of each size, sizes ascending."""
        return {size: statistics.median(self.durations[size]) for size in sorted(self.durations)}

    def rates(self, size: int) -> tuple[float, float, float]:
        """Samples/s of a size: the lower quartile of its repeats, their median, the upper quartile."""
        took = self.durations[size]
        low, middle, high = statistics.quantiles(took, n=4, method="inclusive") if len(took) > 1 else took * 3
        return size / high, size / middle, size / low

    @property
    def line(self) -> Line:
        """The line through the means: throughput is what is to be predicted, and under a CPU quota few micro-batches
        take what the median one does. The simulator's noise makes a mean that much longer. Sizes that are given to
        workers count, if there are enough of them."""
        longer = 1.0 if self.burst else math.exp(self.noise**2 / 2)
        means = {size: statistics.fmean(some) / longer for size, some in self.durations.items()}
        given = {size: mean for size, mean in means.items() if size >= USEFUL}
        return fit(given if len(given) >= ENOUGH else means)

    @property
    def burst(self) -> float:
        """Seconds that a rest saves, as under a CPU quota; 0: none, or no more than chance may."""
        saved, chance = 0.0, 0.0
        for size, some in self.rested.items():
            other = self.durations.get(size, [])
            if len(some) > 1 and len(other) > 1:
                saved += (statistics.fmean(other) - statistics.fmean(some)) / len(self.rested)
                chance += statistics.variance(other) / len(other) + statistics.variance(some) / len(some)
        return saved if saved > SURE * math.sqrt(chance) / max(1, len(self.rested)) else 0.0

    @property
    def scatter(self) -> float:
        """Seconds by which an end is early or late, where there is a burst: a duration has two ends."""
        squares = [(s - statistics.fmean(some)) ** 2 for some in self.durations.values() for s in some]
        degrees = len(squares) - len(self.durations)
        return math.sqrt(sum(squares) / degrees / 2) if self.burst and degrees > 0 else 0.0

    @property
    def efficient(self) -> int:
        """The smallest efficient micro-batch; see :data:`EFFICIENT`."""
        rates = {size: size / took for size, took in self.medians.items()}
        best = max(rates.values())
        return min(size for size, rate in rates.items() if rate >= EFFICIENT * best)

    @property
    def noise(self) -> float:
        """Standard deviation of the logarithm of a duration, about the median of its size."""
        medians = self.medians
        squares = [math.log(s / medians[size]) ** 2 for size, some in self.durations.items() for s in some]
        return math.sqrt(sum(squares) / len(squares))

    def cluster(self) -> Cluster:
        """This machine as the only host of a cluster whose server is another such machine."""
        line, cost = self.line, self.transfers
        host = Host(
            pace=line.pace,
            overhead=line.overhead,
            noise=0.0 if self.burst else self.noise,
            burst=self.burst,
            scatter=self.scatter,
            uplink=cost.push,
            downlink=cost.pull,
            push_work=cost.push,
            pull_work=cost.pull,
            latency=cost.message,
        )
        return Cluster((host,), step_seconds=self.step)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for programs."""
        line = self.line
        rates = [
            {"size": size, "samples_per_second": rate, "quartiles": [low, high], "repeats": len(self.durations[size])}
            for size in self.medians
            for low, rate, high in [self.rates(size)]
        ]
        return {
            **msgspec.to_builtins(self, str_keys=True),
            "rates": rates,
            "line": {"overhead": line.overhead, "pace": line.pace, "error": line.error},
            "smallest_efficient": self.efficient,
            "noise": self.noise,
        }

    def to_toml(self, script: str, when: datetime) -> str:
        """A cluster file of one host, with comments that say what was measured, of which script, on what and when.

        ``evener simulate --cluster`` takes it as it is.
        """
        machine, cost, line = self.machine, self.transfers, self.line
        host, step = self.cluster().hosts[0], self.step
        precision = f", autocast to {self.autocast}" if self.autocast else ""
        table = [f"{size:>11}  {self.rates(size)[1]:>9.1f}  {len(self.durations[size]):>7}" for size in self.medians]
        comments = [
            f"Measured by evener profile on {when:%Y-%m-%d %H:%M}.",
            f"script:    {_one_line(script)}",
            f"processor: {_one_line(machine.processor)}",
            f"with:      {machine.words}{precision}",
            f"model:     {self.parameters} trained parameters; batch {self.batch}",
            "",
            "micro-batch  samples/s  repeats",
            *table,
            "",
            f"Smallest efficient micro-batch: {self.efficient} samples, the smallest measured with at least "
            f"{EFFICIENT:.0%} of the best rate.",
            "Put several such files together by naming them all: the first is the server's machine, too.",
            "  evener simulate SCRIPT --cluster this.toml --cluster other.toml",
        ]
        values = [
            ("pace", host.pace, "samples/s: a micro-batch of k samples takes overhead + k / pace seconds,"),
            ("overhead", host.overhead, f"s; the line meets the medians within {line.error:.1%} (root mean square)"),
            ("noise", host.noise, "standard deviation of the logarithm of a micro-batch's duration"),
            ("burst", host.burst, "s that one which begins after a rest takes less, as under a CPU quota"),
            ("scatter", host.scatter, "standard deviation, in s, of when one ends, as under a CPU quota"),
            ("uplink", host.uplink, f"s; a push has {cost.push_bytes} bytes; loopback: add bytes / bandwidth"),
            ("downlink", host.downlink, f"s; a set of parameters has {cost.pull_bytes} bytes; likewise"),
            ("push_work", host.push_work, "s by which a push that begins holds up what is computed"),
            ("pull_work", host.pull_work, "s by which parameters that come do; loopback: both ends' work"),
            ("latency", host.latency, "s; a control message; loopback: add half the network's round trip"),
        ]
        return "\n".join(
            [
                *(f"# {comment}".rstrip() for comment in comments),
                "",
                f"step_seconds = {_plain(step)}  # an optimizer step, were this machine the server",
                "",
                "[[hosts]]",
                *(f"{name} = {_plain(value)}  # {what}" for name, value, what in values),
                "",
            ]
        )


def _plain(value: float) -> str:
    """Four digits are more than was measured; TOML wants a point or an exponent."""
    return repr(float(f"{value:.4g}"))


def _one_line(text: str) -> str:
    """Names are not ours: none may end a comment."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
