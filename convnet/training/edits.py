"""Edits of the parameter file while a net trains: taken up between two batches, and saved before they count."""

from collections.abc import Callable

from convnet.checkpoint import Position
from convnet.errors import CheckpointError, ConvnetError
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles
from convnet.net.net import Net
from convnet.options import Options
from convnet.ranks.agreement import is_common
from convnet.training.events import Event, Message, Mistakes
from convnet.training.parameters import Edit, Parameters, Refused
from convnet.training.saver import Saver
from convnet.training.session import Session


class Edits:
    """Takes up what is edited in the parameter file of a ``session``, and has ``tell`` say what does not hold, and why.

    It holds once a checkpoint has it: a run that is killed before goes on from the one before, with the file as it is then.
    So no batch that counts was trained on with values that a resumed run would not know of.
    """

    def __init__(self, session: Session, net: Net, saver: Saver, tell: Callable[[Event], object]) -> None:
        self.net, self.saver, self.tell = net, saver, tell
        self.position: Position = session.position
        self.parameters = Parameters(saver.files, net.graph, session.options, session.shape)

    def follow(self) -> Edit | None:
        """Take up what was edited, if it holds, and return it. Raises ``NumericalError`` for weights that are not finite."""
        try:
            edit = self._look()
        except Refused as error:
            self.tell(Mistakes("\n".join([str(error), *error.problems]), [str(error), *error.problems]))
            return None
        if edit and not edit.text:
            self.parameters.take(edit.files, self.parameters.graph)
            self.saver.hold(edit.files, self.saver.options)
        elif edit and not self._holds(edit):
            return None
        return edit

    def _look(self) -> Edit | None:
        """Return an edit as ``Parameters.look`` does; on several ranks that of the file which rank 0 sees."""
        communicator = self.net.communicator
        if communicator.size == 1:
            return self.parameters.look()
        edit: Edit | None = None
        seen: LayerFiles | Refused | None = None
        if communicator.rank == 0:
            try:
                edit = self.parameters.look()
                seen = edit.files if edit else None
            except Refused as error:
                seen = error
        seen = communicator.all_gather(seen)[0]
        if isinstance(seen, Refused):
            raise seen
        return self.parameters.read(seen) if seen and communicator.rank else edit

    def _holds(self, edit: Edit) -> bool:
        """Return whether an edit holds from here on; if it cannot be saved, it does not."""
        self.net.check_weights()
        saver, parameters = self.saver, self.parameters
        before = parameters.files, parameters.graph, saver.options, saver.saved_at
        text = "The parameters that were edited are not taken"
        try:
            self._retune(edit.files, edit.graph, saver.options.with_section(edit.tuning.run), None)
        except (ConvnetError, OSError) as error:
            if self.net.communicator.size > 1 and not is_common(error):
                raise
            self.tell(Message(f"{text}: {error}"))
            return False
        self.position.count_change(edit.text)
        try:
            saver.save(self.position)
        except (CheckpointError, OSError) as error:
            self.position.changes.pop()
            self._retune(*before)
            self.tell(Message(f"{text}, as no checkpoint can have them: {error}"))
            return False
        return True

    def _retune(self, files: LayerFiles, graph: Graph, options: Options, saved_at: tuple[int, int] | None) -> None:
        self.net.retune(graph)
        self.parameters.take(files, graph)
        self.saver.hold(files, options)
        self.saver.saved_at = saved_at
