"""The command ``evener``. Each verb is a file beside this one, imported when it is used."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import metadata

VERBS = {
    "run": "train a script on several workers of this machine, or of a Ray cluster",
    "serve": "train with workers on other machines: this one holds the parameters",
    "join": "work for a server on another machine, or on this one",
    "keys": "make the keys with which a server and its workers know each other",
    "simulate": "a made-up cluster on a virtual clock: a script's real gradients, or timing alone",
    "compare": "several policies on one cluster, simulated or real: a table, plots, and which to take",
    "profile": "measure this machine for a script: samples/s, transfers; a file for 'simulate'",
    "watch": "look at a run that goes on or is over, from any shell",
    "report": "one HTML file about a run, or several: what happened, who waited and why",
    "replay": "feed a recorded run to the core again: does it decide the same?",
    "demo": "see the gain: a small network on real data, four workers of unequal speed",
}
"""Verb → what ``evener --help`` says of it. Its module has the functions ``configure`` and ``execute``."""

DESCRIPTION = "Train one PyTorch model on machines of unequal speed, at the speed of all of them together."


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Args:
        arguments: without the program's name; by default this process's.

    Returns:
        The exit code: 0; 1 when something failed; 2 when it was asked for wrongly; 128 + the number of the
        signal that ended it.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # What follows '--' belongs to the script, whatever it looks like.
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    own, scripts = _joined(arguments[:cut]), arguments[cut + 1 :]
    verb = next((word for word in own if not word.startswith("-")), "")
    parser = argparse.ArgumentParser(prog="evener", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"evener {metadata.version('evener')}")
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True, title="verbs")
    for name, what in VERBS.items():
        described = what[0].upper() + what[1:] + "."
        sub = verbs.add_parser(name, help=what, description=described, allow_abbrev=False)
        if name == verb:
            importlib.import_module(f".{name}", __name__).configure(sub)
    options = parser.parse_args(own)
    options.script_arguments = scripts
    try:
        code: int = importlib.import_module(f".{options.verb}", __name__).execute(options)
    except BrokenPipeError:  # whoever read our output has gone, as 'head' does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def _joined(words: Sequence[str]) -> list[str]:
    """``--speeds -1,2`` as ``--speeds=-1,2``: argparse would take such a value for an option."""
    joined: list[str] = []
    for word in words:
        if joined and re.fullmatch(r"--[a-z-]+", joined[-1]) and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
