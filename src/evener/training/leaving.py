"""A server that a signal asks to leave: a last checkpoint first, then the script ends."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue


class Leaving:
    """What SIGTERM and Ctrl-C do to a server that takes checkpoints.

    A signal's handler runs wherever the main thread stands, with whatever locks this holds: it must not wait for
    others, who may need one of them before there can be a checkpoint. So a thread of its own does, the script goes on
    meanwhile, and ends when the thread raises the signal once more.

    Args:
        save: takes a last checkpoint, however long that may take; returns the number of the newest whole one, 0 if
            there is none.

    Attributes:
        reason: why the run ends, in words; empty until it does.
    """

    def __init__(self, save: Callable[[], int]) -> None:
        self.reason = ""
        self._save = save
        self._signals: SimpleQueue[int] = SimpleQueue()  # of the queues the one that a handler may use

    def listen(self) -> None:
        """Handle what the script has no handler of its own for. In the main thread only."""
        threading.Thread(target=self._prepare, name="evener-leaving", daemon=True).start()
        for signum, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(signum) == usual:
                signal.signal(signum, self._asked)

    def _asked(self, signum: int, _: object) -> None:
        if not self.reason:  # it may be told again: Linux tells a child once for each thread of a parent that is killed
            self._signals.put(signum)
            return
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)

    def _prepare(self) -> None:
        signum = self._signals.get()
        last = self._save()
        self.reason = f"stopped by {signal.Signals(signum).name}" + (
            f"; --resume goes on from checkpoint {last}" if last else ""
        )
        main = threading.main_thread().ident
        if hasattr(signal, "pthread_kill") and main is not None:
            signal.pthread_kill(main, signum)  # which ends what the main thread waits for in the system, too
        else:
            _thread.interrupt_main(signal.Signals(signum))
