"""A worker's I/O thread: the sockets, signs of life, and who this process is to the server.

Two threads share a worker process. This one sends and receives; the main thread computes. What one of them must tell
the other is kept under :attr:`Line.changed`, a condition that is notified when something happened.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec
import zmq

from . import protocol as p
from .aside import Aside
from .keys import WorkerKeys
from .knocking import NobodyError, seen
from .numeric import Buffer
from .transport import Dialer, process_name

SILENCE = 20.0
"""Seconds without a word from the server after which it counts as gone."""

PATIENCE = 120.0
"""Seconds to wait for the server to be up: its script may load a large data set first."""

UNSAID = 5.0
"""Seconds without a server after which it is said that there is none yet."""

AGAIN = 15.0
"""Seconds after which it is said again."""

LOST = 900.0
"""Seconds to try to reach a server that was there and is lost: it may be resumed on a machine that must start first."""

BEAT = 1.0
"""Seconds between two signs of life."""

TOLD = 1.0
"""Seconds that the last of what is told gets at the end."""

REFUSED_TOKEN = "refused this run's token: is another run listening on that port?"
REFUSED_KEY = "does not allow this worker's key (any more): make one with 'evener keys' on its machine"

Hear = Callable[[p.Message, Buffer], None]
"""Called in the I/O thread, with the lock held, for each message. The bytes may be kept."""

_Outgoing = tuple[Iterator[tuple[p.Message, Buffer]], Callable[[], None]]
"""Messages with their chunks, and what to do when all have left."""


class RunError(RuntimeError):
    """This worker cannot take part (any more); the message says why and what to do."""


class Line:
    """The connection of one worker process.

    Args:
        address, secret: of the server; of the run, or this worker's keys.
        hello: says who this process is; said again when the server has given it up.
        control, bulk: hear what comes on either connection, and is not for the line itself.
        lost: called in the I/O thread, with the lock held, when the bulk connection alone has ended: whatever was under
            way on it may be lost. It comes back by itself.
        plain_outside: as the dialer's.
        wait: seconds to wait for a server that is not there at first.
        over: which run it is, in words, if it can be seen without a server that it has ended; else empty. Asked while
            there is none.
        tell: is told, again and again, that nobody answers yet; and, elsewhere, why a run was broken off. In a thread
            of its own: it may block, as a terminal does that is paused.

    Attributes:
        changed: the lock and condition of all that both threads touch.
        welcome: the server's terms; ``None`` before it has answered, and while it is asked again.
        finished: how the run ended, once it has.
    """

    def __init__(
        self,
        address: str,
        secret: str | WorkerKeys,
        hello: p.Hello,
        control: Hear,
        bulk: Hear,
        lost: Callable[[], None],
        plain_outside: bool = False,
        wait: float = PATIENCE,
        over: Callable[[], str] = lambda: "",
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.welcome: p.Welcome | None = None
        self.finished: p.Finished | None = None
        self._address = address.removeprefix("tcp://")
        self._secret = secret
        self._refused = REFUSED_TOKEN if isinstance(secret, str) else REFUSED_KEY
        self._hello = hello
        self._on_control = control
        self._on_bulk = bulk
        self._on_lost = lost
        self._wait = wait
        self._over = over
        self._print = tell
        self._aside = Aside("evener-tell")
        self._dialer = Dialer(address, secret, process_name(), plain_outside=plain_outside)
        # Apart: what is decided is not to wait for bulk to be copied.
        self._words: deque[bytes] = deque()
        self._outbox: deque[_Outgoing] = deque()
        self._goodbye: p.Leave | None = None
        self._error: BaseException | None = None
        self._closing = False
        self._joined = False
        self._greeted = 0.0
        self._unsaid = UNSAID
        self._stranger = False
        self._heard = self._beaten = self._awake = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="evener-io", daemon=True)

    # For either thread --------------------------------------------------------------------------------------

    def say(self, message: p.Message) -> None:
        """Send on the control connection."""
        self._words.append(p.encode(message))
        self._ring()

    def ask(self, message: p.Message) -> None:
        """Send on the bulk connection: for what will be answered there."""
        self.send([(message, memoryview(b""))], lambda: None)

    def send(self, chunks: Iterable[tuple[p.Message, Buffer]], copied: Callable[[], None]) -> None:
        """Send bulk. ``copied`` is called, with the lock held, when no byte of it is needed any more."""
        self._outbox.append((iter(chunks), copied))
        self._ring()

    def greet_again(self, lost: bool = False) -> None:
        """Join anew (with the lock held): what is under way counts no longer. ``lost``: nor does what was said before.

        Who has greeted just now waits for the answer, or for the next sign of life that a server which is back answers.
        """
        now = time.monotonic()
        if lost or self.welcome is not None or now - self._greeted > BEAT:
            self.welcome, self._greeted = None, now
            self.say(self._hello)

    def _ring(self) -> None:
        # What the I/O thread itself has to say, it sends before it waits again.
        if threading.current_thread() is not self._thread:
            self._dialer.wake.ring()

    # For the main thread ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the I/O thread, and say hello."""
        self._greeted = time.monotonic()
        self._thread.start()
        self.say(self._hello)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Block, with the lock held, until ``condition()``.

        Raises:
            RunError: the server is gone, or refused this worker.
        """
        while not condition():
            if self._error is not None:
                raise self._error
            # Bounded, so that Ctrl-C is heard on every platform.
            self.changed.wait(0.5)
        if self._error is not None:
            raise self._error

    def close(self, reason: str) -> None:
        """Say goodbye, if anybody is there, and end the I/O thread."""
        if self._closing:
            return
        if self._error is None:
            self._goodbye = p.Leave(reason, time.process_time())
        self._closing = True
        self._dialer.wake.ring()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._aside.wait(TOLD)

    # The I/O thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            with self.changed:
                self._error = error
                self.changed.notify_all()
        finally:
            self._dialer.close()

    def _loop(self) -> None:
        dialer = self._dialer
        poller = zmq.Poller()
        for channel in (dialer.control, dialer.bulk, dialer.wake.socket, dialer.events, dialer.bulk_events):
            poller.register(channel, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(0 if self._outbox else int(BEAT * 1000)))
            if dialer.wake.socket in ready:
                dialer.wake.hear()
            if dialer.control in ready:
                self._heard = time.monotonic()
                while dialer.control.poll(0):
                    self._control(dialer.control.recv_multipart())
            if dialer.bulk in ready:
                self._heard = time.monotonic()
                # One frame a round: a control message that arrives meanwhile is heard before the rest.
                head, chunk = dialer.bulk.recv_multipart(copy=False)
                message = p.decode(head.buffer)
                with self.changed:
                    self._on_bulk(message, chunk.buffer)
            if dialer.events in ready:
                self._news(*dialer.news())
            if dialer.bulk_events in ready and dialer.bulk_lost():
                with self.changed:
                    self._on_lost()
            closing = self._closing  # before what is queued is looked at: it was queued before
            self._flush()
            self._beat()
            if closing and not self._outbox:
                if self._goodbye is not None:
                    dialer.control.send(p.encode(self._goodbye))
                return

    def _news(self, refused: bool, lost: bool) -> None:
        if refused:
            raise RunError(f"the server at {self._address} {self._refused}")
        if lost and self.finished is None:
            with self.changed:
                # What was granted may be lost with it. The server may not have noticed: it is quickly made again.
                # The bulk connection may have ended first, and a greeting gone the way of this one.
                self.greet_again(lost=True)
                self.changed.notify_all()

    def _control(self, frames: list[bytes]) -> None:
        message = p.decode(frames[0])
        with self.changed:
            match message:
                case p.Alive():
                    return
                case p.Refusal(why):
                    raise RunError(why)
                case p.Rejoin():
                    self.greet_again()
                    return
                case p.Welcome():
                    if self.welcome is not None:
                        return  # to a greeting that was repeated
                    self.welcome = message
                    if message.run:  # who answers there later must be of the same run
                        self._hello = msgspec.structs.replace(self._hello, run=message.run)
                    self._joined = True
                case p.Finished(reason=reason, ok=ok):
                    self.finished = message
                    if not ok and isinstance(self._secret, WorkerKeys):  # else it is shown on this machine anyway
                        self._tell(f"the run has ended: {reason}")
            self._on_control(message, memoryview(frames[1] if len(frames) > 1 else b""))
            self.changed.notify_all()

    def _flush(self) -> None:
        """Send all there is to say, then one chunk: the next waits until the connections were listened to."""
        while self._words:
            self._dialer.control.send(self._words.popleft())
        while self._outbox:
            chunks, copied = self._outbox[0]
            if (following := next(chunks, None)) is not None:
                message, chunk = following
                self._dialer.bulk.send_multipart([p.encode(message), chunk])
                return
            self._outbox.popleft()
            with self.changed:
                copied()
                self.changed.notify_all()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._awake > 3 * BEAT:
            # This process was stopped for a while: what came meanwhile may not have been read yet.
            self._heard = now
        self._awake = now
        # After the end the server says that it is there every second, until it leaves.
        silent = now - self._heard
        if self.finished is None and self.welcome is not None and silent > SILENCE:
            with self.changed:
                self.greet_again()  # heard when somebody is there again
        if not self._joined and not self._dialer.up:
            self._seek(silent)
            self._awake = time.monotonic()  # a look takes seconds, in which this process was not stopped
        elif silent > (5 * BEAT if self.finished is not None else LOST if self._joined else PATIENCE):
            where = "speaks any more" if self._joined else "answers"
            raise RunError(f"nobody at {self._address} {where}: is the server's process alive?")
        if now - self._beaten > BEAT:
            self._beaten = now
            self._dialer.control.send(p.encode(p.Alive(time.process_time())))

    def _tell(self, text: str) -> None:
        self._aside.do(partial(self._print, text))

    def _seek(self, silent: float) -> None:
        """There is no server, so far: it has yet to come, or this worker has come too late."""
        if which := self._over():
            raise RunError(
                f"the run {which} is complete: this worker has come too late. A new run needs another folder, or "
                "its job another id."
            )
        if silent > self._wait:
            raise RunError(
                f"nobody at {self._address} answers, for {silent:.0f} s now: the run is over, or its server is lost or "
                "has not begun. When there is one, start this worker (again)."
            )
        if silent > self._unsaid:
            self._unsaid = silent + AGAIN
            so_far = f"for {silent:.0f} s of {self._wait:.0f}"
            try:
                there = seen(self._address, self._secret)
            except NobodyError as error:
                if self._stranger:  # and not one that was about to go
                    raise RunError(str(error)) from None
                there = str(error)
                self._stranger = True
            self._tell(f"waiting for the server at {self._address}, {so_far}: {there}")
