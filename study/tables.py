"""Tables in Markdown, from cells."""

from __future__ import annotations

from collections.abc import Sequence

from .cells import Cell, Spread, Study
from .grid import BASE, POLICIES, RELATIVES, Problem, chosen, tuning
from .results import Result

NONE = "–"
Pair = tuple[str, Result, Result]
"""Policy, a real run, the same simulated."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is words and whose others are numbers.

    >>> print(table(["policy", "s"], [["synchronous", "3"]]))
    | policy | s |
    |---|--:|
    | synchronous | 3 |
    """
    rule = ["---", *["--:"] * (len(head) - 1)]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def show(spread: Spread | None, form: str = ".1f", scale: float = 1.0, sign: bool = False) -> str:
    """Mean ± deviation; how many seeds, where it is not all of them.

    >>> show(Spread(0.9314, 0.0021, 2, 3), scale=100)
    '93.1 ± 0.2 (2 of 3)'
    """
    if spread is None:
        return NONE
    mean = format(spread.mean * scale, ("+" if sign else "") + form)
    more = f" ± {spread.deviation * scale:{form}}" if spread.count > 1 else ""
    return mean + more + (f" ({spread.count} of {spread.of})" if spread.count < spread.of else "")


def compared(problem: Problem, cells: Sequence[Cell], *, rates: bool = False) -> str:
    """Every policy: time, targets, accuracy, loss, utilisation and staleness."""
    low, high = problem.targets
    head = [
        "policy",
        *(["rate"] if rates else []),
        "total time, s",
        "× synchronous",
        f"time to {low:.0%}, s",
        f"time to {high:.0%}, s",
        f"samples to {high:.0%}",
        "final accuracy, %",
        "less synchronous",
        "training loss",
        "utilisation",
        "stale samples, %",
        "mean staleness, batches",
    ]
    rows = [
        [
            f"`{cell.policy}`",
            *([f"{cell.rate:g}"] if rates else []),
            show(cell.spread(lambda one: one.total_s)),
            show(cell.speedup, ".2f"),
            show(cell.spread(lambda one: _reached(one, low, 0))),
            show(cell.spread(lambda one: _reached(one, high, 0))),
            show(cell.spread(lambda one: _reached(one, high, 1)), ".0f"),
            show(cell.spread(lambda one: one.final_accuracy), ".2f", 100),
            NONE if cell.policy == BASE else show(cell.gap, ".2f", 100, sign=True),
            show(cell.spread(lambda one: one.final_loss), ".3f"),
            show(cell.spread(lambda one: one.utilisation), ".2f"),
            show(cell.spread(lambda one: one.stale_fraction), ".0f", 100),
            show(cell.spread(lambda one: one.mean_staleness), ".2f"),
        ]
        for cell in cells
    ]
    return table(head, rows)


def _reached(result: Result, target: float, which: int) -> float | None:
    reached = result.reached(target)
    return None if reached is None else float(reached[which])


def trials(study: Study, problem: Problem, clusters: Sequence[str]) -> str:
    """What each rate scored under each policy; the chosen one in bold, with an arrow where it is an outermost one."""
    rates = problem.rates
    rows = []
    for policy in [policy for policy in POLICIES if policy not in RELATIVES]:
        for cluster in clusters[:1] if policy == BASE else clusters:
            best = chosen(problem, cluster, policy, study.scores)
            row = [f"`{policy}`", "both" if policy == BASE else cluster]
            for trial in tuning(problem, cluster, policy):
                score = study.scores.get(trial.key)
                text = NONE if score is None else f"{score:.1%}"
                edge = " ←" if trial.rate == min(rates) else " →" if trial.rate == max(rates) else ""
                row.append(f"**{text}**{edge}" if trial.rate == best else text)
            if any(text != NONE for text in row[2:]):
                rows.append(row)
    return table(["policy", "cluster", *(f"{rate:g}" for rate in rates)], rows)


def summary(columns: Sequence[tuple[str, Sequence[Cell]]]) -> str:
    """A line per policy; per column (a data set on a cluster) times as fast as synchronous, and points of accuracy."""
    rows = []
    for policy in POLICIES:
        found = [next((cell for cell in cells if cell.policy == policy), None) for _, cells in columns]
        if not any(found):
            continue
        texts = [NONE if cell is None else f"{show(cell.speedup, '.2f')}; {_gap(cell)}" for cell in found]
        rows.append([f"`{policy}`", *texts])
    return table(["policy", *(name for name, _ in columns)], rows)


def _gap(cell: Cell) -> str:
    return "0" if cell.policy == BASE else show(cell.gap, ".2f", 100, sign=True)


def agreement(pairs: Sequence[Pair]) -> str:
    """Real processes beside the simulation: (policy, real, simulated), the first pair being the one to compare with."""
    head = [
        "policy",
        "real, s",
        "simulated, s",
        "× the first, real",
        "× the first, simulated",
        "stale, real, %",
        "stale, simulated, %",
        "final accuracy, real, %",
        "final accuracy, simulated, %",
        "largest gap of the curves over the last half, points",
    ]
    rows = []
    for policy, real, simulated in pairs:
        _, first_real, first_simulated = pairs[0]
        rows.append(
            [
                f"`{policy}`",
                f"{real.total_s:.1f}",
                f"{simulated.total_s:.1f}",
                f"{first_real.total_s / real.total_s:.2f}",
                f"{first_simulated.total_s / simulated.total_s:.2f}",
                f"{real.stale_fraction:.0%}".rstrip("%"),
                f"{simulated.stale_fraction:.0%}".rstrip("%"),
                _percent(real.final_accuracy),
                _percent(simulated.final_accuracy),
                _percent(_curve_gap(real, simulated)),
            ]
        )
    return table(head, rows)


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f}"


def _curve_gap(one: Result, other: Result) -> float | None:
    gaps = [
        abs(a - b)
        for (_, _, a, _), (_, _, b, _) in list(zip(one.curve, other.curve, strict=False))[len(one.curve) // 2 :]
        if a is not None and b is not None
    ]
    return max(gaps, default=None)
