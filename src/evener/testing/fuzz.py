"""Mutated messages, by number: at the parser, and at the port of a server that trains (``make fuzz``).

:mod:`~evener.testing.mutants` makes them. No message may end in anything but a message or a
:class:`~evener.runtime.protocol.ProtocolError`, the process may not grow, and a run may not notice.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from ..runtime import protocol as p
from ..runtime.conduct import Said, flaw
from .fuzz_live import at_a_live_port
from .mutants import mutant


def parse(data: bytes) -> str:
    """What becomes of ``data``: ``message``, ``refused`` by its conduct, or ``garbage``."""
    try:
        message = p.decode(data)
    except p.ProtocolError:
        return "garbage"
    return "refused" if isinstance(message, Said) and flaw(message, version=3) else "message"


def main() -> int:
    """Run them; 1 if one does what it must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="messages at the parser")
    parser.add_argument("--live", type=int, default=100_000, help="messages at the port")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"message": 0, "refused": 0, "garbage": 0}
    for number in range(options.first, options.first + options.count):
        data = mutant(number, options.seed)
        try:
            found[parse(data)] += 1
        except BaseException as error:
            print(f"number {number}: {error!r} from {data.hex()}", file=sys.stderr)
            return 1
    seconds = time.perf_counter() - began
    counts = ", ".join(f"{count:,} {what}" for what, count in found.items())
    print(f"parser: {options.count:,} messages in {seconds:.0f} s: {counts}")
    if options.live and (problem := at_a_live_port(options.live, options.first, options.seed)):
        print(problem, file=sys.stderr)
        return 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory: the process grew by {grown:.0f} MB (most at any time), in {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
