"""Arrays that go from card to card by NCCL, through nccl4py's bindings, which are imported here alone.

Only its sends and receives are used, in groups, on the stream EXCHANGE: sums are made by ops of the backend. Its
communicators do not block: a call may return while NCCL still connects ranks, which a state says that the host looks at
(``ncclCommGetAsyncError``). Until that is settled nobody may call NCCL again, or issue anything to its stream; the device
computes on. So a rank that waits for another one still handles signals, and ends when the communicator of MPI says so.
The bindings have the names and arguments of NCCL's own documentation. What nccl4py puts above them looks at every array
through PyTorch or CuPy where these are installed, and imports them for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from convnet.backends.cuda.array import DeviceArray
from convnet.backends.cuda.device import Device
from convnet.backends.cuda.machine import as_backend_error
from convnet.backends.cuda.transfers import COMPUTE, EXCHANGE
from convnet.errors import BackendError, first_line
from convnet.ranks.carriers import Carrier
from convnet.ranks.communicator import Communicator, Pending

Ways = Iterable[tuple[DeviceArray, int]]  # arrays, each with the rank that it goes to or comes from
_ADVICE = "CONVNET_NCCL=0 does without it"


def load_nccl() -> Any:
    """Import nccl4py's bindings and NCCL; raises ``BackendError`` with what is missing and how to get it."""
    try:
        from nccl.bindings import nccl

        nccl.get_version()  # bindings look for their library when they are first used
    except Exception as error:  # a missing library shows in several kinds of errors
        raise BackendError(f"NCCL is missing ({first_line(error)}); pip install '.[nccl]'") from None
    return nccl


def version_of_library(api: Any) -> str:
    """Format the 23203 of NCCL 2.32.3."""
    number = api.get_version()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


class Nccl(Carrier):
    """Carries arrays of ``device`` by a communicator of NCCL's own, with the ranks of ``communicator``, a card for each.

    Raises ``BackendError`` for what NCCL refuses, and for what it finds later, in the next call.
    """

    def __init__(self, device: Device, communicator: Communicator) -> None:
        super().__init__(communicator)
        self.device, self._api = device, load_nccl()
        self._comm: Any = None
        self._last: _Moving | None = None
        self._going: list[_Moving] = []  # kept until they have arrived, whether or not anybody waits for them
        rank, size, api = communicator.rank, communicator.size, self._api
        with as_backend_error("NCCL cannot begin", _ADVICE):
            ids = communicator.all_gather(bytes(api.get_unique_id()) if rank == 0 else b"")
            config = api.Config()
            config.blocking = 0
            with device.lend(EXCHANGE):
                self._comm = api.comm_init_rank_config(size, api.UniqueId.from_buffer(ids[0]), rank, config)
        self.until(self.is_settled)

    def exchange(self, pieces: Sequence[DeviceArray], out: Sequence[DeviceArray]) -> Pending:
        return self.move([(pieces[other], other) for other in self.others], [(out[other], other) for other in self.others])

    def move(self, sent: Ways, filled: Ways) -> Pending:
        """Begin to send arrays to ranks, and to fill others from ranks, all at the same time; empty ones stay here."""
        if self.device.unsettled is not None:  # one after another, too, where several carriers share a device
            self.until(self.device.unsettled.is_settled)
        sent, filled = ([way for way in ways if way[0].size] for ways in (sent, filled))
        device, api = self.device, self._api
        device.wait_event(EXCHANGE, device.record_event(COMPUTE))
        with device.lend(EXCHANGE) as stream, as_backend_error("NCCL", _ADVICE):
            api.group_start()
            try:
                for call, ways in ((api.send, sent), (api.recv, filled)):
                    for array, rank in ways:
                        call(array.pointer, array.nbytes, api.DataType.Uint8, rank, self._comm, stream)
            finally:
                api.group_end()
        self.communicator.bytes_sent += sum(array.nbytes for array, _ in sent)
        self._going = [moving for moving in self._going if not device.is_done(moving.arrived)]
        self._last, device.unsettled = _Moving(self, [array for array, _ in (*sent, *filled)]), self
        self._going.append(self._last)
        return self._last

    def is_settled(self) -> bool:
        """Look whether NCCL has taken its last calls; an event then marks the end of their work. Raises for errors."""
        api = self._api
        with self.device.lend(EXCHANGE), as_backend_error("NCCL", _ADVICE):
            state = api.comm_get_async_error(self._comm)
            if state == api.Result.InProgress:
                return False
            if state != api.Result.Success:
                raise BackendError(f"NCCL: {api.get_error_string(state)} (run with NCCL_DEBUG=WARN for details); {_ADVICE}")
        if self._last is not None:
            self._last.arrived = self.device.record_event(EXCHANGE)
            self._last = self.device.unsettled = None
        return True

    def close(self, failed: bool = False) -> None:
        if self._comm is None:
            return
        if not failed:  # nobody frees what another rank still reads
            self.until(self.is_settled)
            self.device.synchronize(self.device.record_event(EXCHANGE))
            self.communicator.all_gather(None)
        comm, self._comm = self._comm, None
        # Destroying waits for other ranks; after a failure nobody comes, and after the wait above nothing is left to do.
        with suppress(BackendError), self.device.lend(EXCHANGE), as_backend_error("NCCL"):
            self._api.comm_abort(comm)


class _Moving(Pending):
    """A group of sends and receives, with its arrays."""

    def __init__(self, carrier: Nccl, arrays: list[DeviceArray]) -> None:
        self.carrier, self.arrays = carrier, arrays
        self.arrived: Any = None  # the event after the group

    def _is_taken(self) -> bool:
        return self.carrier.is_settled() or self.arrived is not None  # looks in any case: for errors

    def done(self) -> bool:
        return self._is_taken() and self.carrier.device.is_done(self.arrived)

    def wait(self) -> None:
        self.carrier.until(self._is_taken)
        self.carrier.device.wait_event(COMPUTE, self.arrived)
