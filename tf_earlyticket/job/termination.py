"""SIGTERM, the warning of a machine that is about to be taken away, as something to look at."""

import contextlib
import signal
import threading


class Termination:
    """Notes SIGTERM while training, so that the step in progress ends and its state is saved.

    Attributes:
        requested: Whether the signal came.
    """

    def __init__(self):
        self.requested = False

    @contextlib.contextmanager
    def noticed(self):
        """Notes the signal within a `with` block; a second one ends the process as always.

        Does nothing outside of the main thread, where Python sets no handlers.
        """
        self.requested = False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = signal.getsignal(signal.SIGTERM)

        def note(number, frame):
            self.requested = True
            signal.signal(signal.SIGTERM, former)

        signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, former)


# Signals are the process's, not an object's.
TERMINATION = Termination()
