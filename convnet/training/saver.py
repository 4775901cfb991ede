"""The checkpoints of a run: what they hold besides its position, in which format, and where each place is saved, once."""

import os
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from convnet.checkpoint import Format, Position, format_for, pack
from convnet.checkpoint.fitting import files_for
from convnet.errors import ConvnetError
from convnet.graph.loading import LayerFiles
from convnet.net.net import Net
from convnet.options import NPZ, Options
from convnet.ranks.agreement import together
from convnet.storage import cache_folder, write_atomically
from convnet.training.session import Session

_Place = tuple[int, int]  # batches done, and minibatches of the next


class Saver:
    """Saves ``net`` and where a run is, with the layer ``files`` and ``options`` that hold.

    ``saved_at`` is the place that was saved last; ``None`` has the next one saved in any case.
    """

    def __init__(self, session: Session, net: Net) -> None:
        self.session, self.net = session, net
        self.files, self.options = _findable_anywhere(session.files, session.options)
        self.saved_at: _Place | None = None
        self._format: Format | None = None

    def hold(self, files: LayerFiles, options: Options) -> None:
        """Have other files and options hold from the next checkpoint on."""
        self.files, self.options, self._format = files, options, None

    def save(self, position: Position) -> Path:
        """Save the run at ``position``, unless that has been done; returns the path. All ranks call it, rank 0 writes.

        Raises ``NumericalError`` for weights that are not finite, ``ConvnetError`` or ``OSError`` where it cannot be saved.
        """
        session, folder, here = self.session, self.session.folder, (position.batches_done, position.minibatches)
        if self.saved_at == here:
            return folder.path / f"{position.epoch}.{position.batch}"
        self.net.check_weights()
        self._format = self._format or self._chosen_format()
        data, name = session.test.description(), session.train.name
        value = pack(self.net, self.files, position, self.options, self._format, data, name, session.foreign)
        path, communicator = folder.path / f"{position.epoch}.{position.batch}", session.communicator

        def write() -> None:
            folder.save(value, position.epoch, position.batch)
            communicator.saved = str(path)  # at once: others may be killed meanwhile
            if session.options.keep_best and position.is_best:
                folder.keep_best(path, value)

        together(communicator, write if communicator.rank == 0 else lambda: None)
        self.saved_at, communicator.saved = here, str(path)
        return path

    def _chosen_format(self) -> Format:
        """Return the format of the run's checkpoints, with layer files that the originals that open them find and read.

        Those lie in the cache, as the programs of 2014 remove what is beside their checkpoint.
        """
        form = format_for(self.options.checkpoint_format, self.net.graph)
        if form.name == NPZ:
            return form
        texts = files_for(self.net.graph, self.files, form.generation)
        with suppress(OSError, ConvnetError):  # without them checkpoints are as good here
            definition, params = (_keep(text, form.name) for text in texts)
            return replace(form, definition_path=definition, params_path=params)
        return form


def _findable_anywhere(files: LayerFiles, options: Options) -> tuple[LayerFiles, Options]:
    """Return layer files and options whose paths do not depend on the current folder, from which a run may go on."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if path and os.path.lexists(path) else path

    files = replace(files, definition_path=absolute(files.definition_path), params_path=absolute(files.params_path))
    return files, replace(options, data_path=absolute(options.data_path), layer_path=absolute(options.layer_path))


def _keep(text: str, generation: str) -> str:
    """Keep a layer file in the cache; return its path, for no text none."""
    data = text.encode("utf-8", "surrogateescape")
    path = cache_folder() / "layer-files" / f"{sha256(data).hexdigest()[:16]}-{generation}.cfg"
    if text and not path.is_file():
        write_atomically(path, lambda file: file.write(data))
    return str(path) if text else ""
