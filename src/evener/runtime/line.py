"""A worker's I/O thread: the sockets, signs of life, and who this process is to the server.

Two threads share a worker process. This one sends and receives; the main thread computes. What one of them must tell
the other is kept under :attr:`Line.changed`, a condition that is notified when something happened.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import zmq

from . import protocol as p
from .numeric import Buffer
from .transport import Dialer, process_name

SILENCE = 20.0
"""Seconds without a word from the server after which it counts as gone."""

PATIENCE = 120.0
"""Seconds to wait for the server to be up: its script may load a large data set first."""

BEAT = 1.0
"""Seconds between two signs of life."""

Hear = Callable[[p.Message, Buffer], None]
"""Called in the I/O thread, with the lock held, for each message. The bytes may be kept."""

_Outgoing = tuple["zmq.Socket[bytes]", list[bytes | Buffer]] | Callable[[], None]
"""Frames and the connection they leave by, or what to do when those before it have left."""


class RunError(RuntimeError):
    """This worker cannot take part (any more); the message says why and what to do."""


class Line:
    """The connection of one worker process.

    Args:
        address, token: of the server and the run.
        hello: says who this process is; said again when the server has given it up.
        control, bulk: hear what comes on either connection, and is not for the line itself.

    Attributes:
        changed: the lock and condition of all that both threads touch.
        welcome: the server's terms; ``None`` before it has answered, and while it is asked again.
        finished: how the run ended, once it has.
    """

    def __init__(self, address: str, token: str, hello: p.Hello, control: Hear, bulk: Hear) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.welcome: p.Welcome | None = None
        self.finished: p.Finished | None = None
        self._address = address
        self._hello = hello
        self._on_control = control
        self._on_bulk = bulk
        self._dialer = Dialer(address, token, process_name())
        self._outbox: deque[_Outgoing] = deque()
        self._error: BaseException | None = None
        self._closing = False
        self._heard = self._beaten = self._awake = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="evener-io", daemon=True)

    # For either thread --------------------------------------------------------------------------------------

    def say(self, message: p.Message) -> None:
        """Send on the control connection."""
        self._post((self._dialer.control, [p.encode(message)]))

    def ask(self, message: p.Message) -> None:
        """Send on the bulk connection: for what will be answered there."""
        self._post((self._dialer.bulk, [p.encode(message)]))

    def send(self, chunks: Iterable[tuple[p.Message, Buffer]], copied: Callable[[], None]) -> None:
        """Send bulk. ``copied`` is called, with the lock held, when no byte of it is needed any more."""
        items: list[_Outgoing] = [(self._dialer.bulk, [p.encode(message), chunk]) for message, chunk in chunks]
        self._post(*items, copied)

    def _post(self, *items: _Outgoing) -> None:
        self._outbox.extend(items)
        # What the I/O thread itself has to say, it sends before it waits again.
        if threading.current_thread() is not self._thread:
            self._dialer.wake.ring()

    # For the main thread ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the I/O thread, and say hello."""
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
            self.say(p.Leave(reason, time.process_time()))
        self._closing = True
        self._dialer.wake.ring()
        if self._thread.is_alive():
            self._thread.join(5.0)

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
        for channel in (dialer.control, dialer.bulk, dialer.wake.socket, dialer.events):
            poller.register(channel, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(int(BEAT * 1000)))
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
            if dialer.events in ready and dialer.refused():
                raise RunError(
                    f"the server at {self._address} refused this run's token: is another run listening on that port?"
                )
            self._flush()
            self._beat()
            if self._closing and not self._outbox:
                return

    def _control(self, frames: list[bytes]) -> None:
        message = p.decode(frames[0])
        with self.changed:
            match message:
                case p.Alive():
                    return
                case p.Refusal(why):
                    raise RunError(why)
                case p.Rejoin():
                    if self.welcome is not None:
                        self.welcome = None
                        self.say(self._hello)
                    return
                case p.Welcome():
                    self.welcome = message
                case p.Finished():
                    self.finished = message
            self._on_control(message, memoryview(frames[1] if len(frames) > 1 else b""))
            self.changed.notify_all()

    def _flush(self) -> None:
        while self._outbox:
            item = self._outbox.popleft()
            if isinstance(item, tuple):
                channel, frames = item
                channel.send_multipart(frames)
            else:
                with self.changed:
                    item()
                    self.changed.notify_all()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._awake > 3 * BEAT:
            # This process was stopped for a while: what came meanwhile may not have been read yet.
            self._heard = now
        self._awake = now
        # After the end the server says that it is there every second, until it leaves.
        patience = PATIENCE if self.welcome is None else SILENCE if self.finished is None else 5 * BEAT
        if now - self._heard > patience:
            where = "answers" if self.welcome is None else "speaks any more"
            raise RunError(f"nobody at {self._address} {where}: is the server's process alive?")
        if now - self._beaten > BEAT:
            self._beaten = now
            self._dialer.control.send(p.encode(p.Alive(time.process_time())))
