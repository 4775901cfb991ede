"""``Network.train(..., progress=True)``: one line that renews itself, in a terminal or a notebook."""

import shutil
import sys
import time

from convnet.checkpoint import add_costs
from convnet.net.net import Costs
from convnet.texts import fitted, time_text
from convnet.training.costs import Outputs, value_text
from convnet.training.events import BatchBegin, Event, MinibatchEnd

_RENEWED = 0.1  # seconds from one line to the next
_VALUES = 2  # of each cost: itself and the error


class ProgressLine:
    """A callback that shows how far training has come: of ``batches`` in all, of ``epochs`` from ``first`` on."""

    def __init__(self, outputs: Outputs, batches: int, first: int, epochs: int) -> None:
        self.outputs, self.batches, self.first, self.epochs = outputs, batches, first, epochs
        self.begun = time.monotonic()
        self.finished, self.images, self.shown, self.next = 0, 0, 0, 0.0
        self.epoch = 0
        self.running: tuple[Costs, int] = {}, 0  # of this epoch

    def __call__(self, event: Event) -> None:
        """Take note of an event, and renew the line where it is time to."""
        if isinstance(event, BatchBegin):
            if event.epoch != self.epoch:
                self.epoch, self.running = event.epoch, ({}, 0)
        elif isinstance(event, MinibatchEnd):
            self.running = add_costs([self.running, (event.costs, event.cases)])
            self.images += event.cases
            is_last = event.done == event.total
            self.finished += is_last
            now = time.monotonic()
            if now >= self.next or (is_last and self.finished == self.batches):
                self.next = now + _RENEWED
                self._write(self._text(self.finished + (0 if is_last else event.done / event.total), now - self.begun))

    def close(self) -> None:
        """End the line, if one was begun."""
        if self.shown:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _text(self, done: float, seconds: float) -> str:
        values = [
            f"{name} {value_text(name, value)}"
            for numbers in self.outputs.named(*self.running).values()
            for name, value in list(numbers.items())[:_VALUES]
        ]
        speed = f"{self.images / max(seconds, 1e-9):,.0f} images/s"
        is_over = done >= self.batches
        left = f"in {time_text(seconds)}" if is_over else f"{time_text(seconds * (self.batches - done) / done)} left"
        return f"epoch {self.epoch - self.first + 1} of {self.epochs}: {', '.join(values)}; {speed}, {left}"

    def _write(self, text: str) -> None:
        text = fitted(text, shutil.get_terminal_size().columns - 1)
        sys.stdout.write("\r" + text.ljust(self.shown))
        sys.stdout.flush()
        self.shown = len(text)
