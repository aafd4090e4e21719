"""Mutation testing of the core: `make mutants` (`ALL=1`: every mutant, not a sample).

mutmut makes the mutants and runs the tests that reach each. What is here: a sample with a fixed seed, in which each
file has its proportional part; which mutants are left out; and the table, with intervals. Mutants without a verdict
are run, and those that survived before: a killed one is run again only when its function has changed.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SEED = 20170301
NUMBER = 500
SECONDS = 10.0
CORE = Path("mutants/src/evener/core")
# pytest's exit codes for a failure and for an internal error, and mutmut's for a run without end.
KILLED = (1, 3, 24, -24, 36, 152, 255)

Way = tuple[ast.AST, ...]


@dataclass(frozen=True)
class Mutant:
    file: str
    name: str
    verdict: int | None
    original: ast.AST
    changed: ast.AST


def generate() -> None:
    """Write all mutants to ``mutants/``, without running one (the tool has no command for that)."""
    from mutmut import __main__ as tool
    from mutmut.mutation.trampoline import set_mutant_under_test

    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    # The tool leaves what is no longer there: tests would be run, and mutants counted.
    shutil.rmtree("mutants/tests", ignore_errors=True)
    for copy in CORE.rglob("*.py"):
        if not copy.relative_to("mutants").exists():
            copy.unlink()
    tool.copy_src_dir()
    tool.create_mutants(1)


def mutants() -> list[Mutant]:
    """All that there are, but those of texts."""
    found = []
    for path in sorted(CORE.rglob("*.py")):
        verdicts = json.loads(Path(f"{path}.meta").read_text())["exit_code_by_key"]
        nodes = ast.walk(ast.parse(path.read_text()))
        functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
        for name, verdict in verdicts.items():
            short = name.rpartition(".")[2]
            original = functions[short.partition("__mutmut_")[0] + "__mutmut_orig"]
            mutant = Mutant(str(path.relative_to(CORE)), name, verdict, original, functions[short])
            if not of_text(mutant):
                found.append(mutant)
    return found


def differences(one: ast.AST, other: ast.AST, within: Way = ()) -> Iterator[tuple[Way, ast.AST]]:
    """The smallest parts that differ: the way to each from the top of ``one``, and what is there in ``other``."""
    way = (*within, one)
    inner, theirs = list(ast.iter_child_nodes(one)), list(ast.iter_child_nodes(other))
    leaf = isinstance(one, ast.Constant | ast.Name)
    if type(one) is not type(other) or len(inner) != len(theirs) or (leaf and ast.dump(one) != ast.dump(other)):
        yield way, other
        return
    for part, its in zip(inner, theirs, strict=True):
        yield from differences(part, its, way)


def of_text(mutant: Mutant) -> bool:
    """Whether it changes only words: the message of an exception, or a string of three words and more."""
    found = list(differences(mutant.original, mutant.changed))
    return bool(found) and all(
        any(isinstance(node, ast.Raise) for node in way) or (_is_text(way[-1]) and _is_text(other))
        for way, other in found
    )


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > 1


def sample(everything: Sequence[Mutant], number: int) -> list[Mutant]:
    """Of each file its proportional part, rounded up."""
    chosen = []
    for file in sorted({mutant.file for mutant in everything}):
        # Each has its place by its name alone: a larger sample holds a smaller one, and other code does not change it.
        of_file = sorted((mutant for mutant in everything if mutant.file == file), key=_place)
        chosen += of_file[: math.ceil(number * len(of_file) / len(everything))]
    return chosen


def _place(mutant: Mutant) -> str:
    return hashlib.sha256(f"{SEED} {mutant.name}".encode()).hexdigest()


def interval(killed: int, number: int) -> tuple[float, float]:
    """Of 95%, for a proportion (Wilson 1927)."""
    z = 1.96
    rate, spread = killed / number, z * z / number
    middle, half = rate + spread / 2, z * math.sqrt(rate * (1 - rate) / number + spread / (4 * number))
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def table(everything: Sequence[Mutant], tried: Sequence[Mutant]) -> Iterator[str]:
    """Lines of Markdown: killed by file, and in all."""
    yield "| file | mutants | tried | killed | rate | 95% interval |"
    yield "|---|---|---|---|---|---|"
    files = sorted({mutant.file for mutant in tried})
    for file in (*files, ""):
        its = [mutant for mutant in tried if file in ("", mutant.file)]
        there_are = sum(file in ("", mutant.file) for mutant in everything)
        killed = sum(mutant.verdict in KILLED for mutant in its)
        low, high = interval(killed, len(its))
        label = f"`{file}`" if file else "**all**"
        yield f"| {label} | {there_are} | {len(its)} | {killed} | {killed / len(its):.0%} | {low:.0%} to {high:.0%} |"


def change(mutant: Mutant) -> str:
    """What differs, as lines of code before and after."""
    lines = (ast.unparse(which).splitlines() for which in (mutant.original, mutant.changed))
    # The name of the function differs always.
    before, after = ([line.strip() for line in which if "__mutmut_" not in line] for which in lines)
    removed, added = ([line for line in a if line not in b] for a, b in ((before, after), (after, before)))
    return f"{' ; '.join(removed)}  ->  {' ; '.join(added)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--number", type=int, default=NUMBER, help="mutants in the sample; 0: all (default: %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=1, help="mutants at a time (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU time for a mutant (default: %(default)s)")
    parser.add_argument("--only", default="", help="files of the core whose name begins so")
    parser.add_argument("--go-on", action="store_true", help="leave those that survived before")
    parser.add_argument("--report", action="store_true", help="run nothing: say what is known")
    arguments = parser.parse_args()
    if not arguments.report:
        generate()
    everything = [mutant for mutant in mutants() if mutant.file.startswith(arguments.only)]
    chosen = sample(everything, arguments.number or len(everything))
    known = {mutant.name for mutant in chosen if mutant.verdict is not None and arguments.go_on}
    todo = [mutant.name for mutant in chosen if mutant.verdict not in KILLED and mutant.name not in known]
    if todo and not arguments.report:
        command = [sys.executable, "-c", "from mutmut.__main__ import cli; cli()", "run"]
        command += ["--max-children", str(arguments.processes), *todo]
        settings = {"EVENER_HYPOTHESIS": "mutants", "MUTANT_SECONDS": str(arguments.seconds)}
        subprocess.run(command, env={**os.environ, **settings}, check=True)
    verdicts = {mutant.name: mutant for mutant in mutants()}
    tried = [found for mutant in chosen if (found := verdicts[mutant.name]).verdict is not None]
    if not tried:
        return 1
    print("\n".join(table(everything, tried)))
    for mutant in tried:
        if mutant.verdict not in KILLED:
            print(f"\n{mutant.name}\n    {change(mutant)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
