"""The layer files of a run while it trains: an edit of the parameters holds from the next batch on.

The parameter file is the one that the run names, or the definition where that holds both. What is edited is checked as at
the start. It holds as a whole or not at all (``convnet.graph.tuning``), and each version of the file is told of once.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from convnet.errors import MOST_PROBLEMS, ConvnetError, LayerFileError, OptionError
from convnet.graph.builder import Builder
from convnet.graph.graph import Graph
from convnet.graph.learning import check_learning
from convnet.graph.loading import LayerFiles, parse
from convnet.graph.tuning import Tuning, tuning
from convnet.language.diagnostics import Problem
from convnet.language.watched import WatchedFile
from convnet.options import Options
from convnet.texts import listed, path_text
from convnet.training.events import Mistakes

_OF_PLAN = {"epochs", "test_freq"}
_SHOWN = 6  # changes that cannot hold


@dataclass(frozen=True)
class Edit:
    """Another version of the layer files, and what is meant to be otherwise; ``warnings`` are those that it adds.

    ``plan`` has the options of ``[run]`` that hold at once, since they are of the plan alone.
    """

    files: LayerFiles
    graph: Graph
    tuning: Tuning
    plan: dict[str, int]
    warnings: Sequence[Problem]

    @property
    def text(self) -> list[str]:
        """Return what changed, in words; empty for comments and the like."""
        later = {name: "" if name in self.plan else ", from the next start" for name in self.tuning.options}
        return [*self.tuning.changed, *(f"{line}{later[name]}" for name, line in self.tuning.options.items())]


class Refused(ConvnetError):
    """An edit that does not hold: ``problems`` are the mistakes in it, rendered."""

    def __init__(self, text: str, problems: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.problems = list(problems)


class Parameters:
    """The layer files that hold in a run, from which ``graph`` was made, and those on the disk.

    ``shape`` makes a graph for the data of the run.
    """

    def __init__(self, files: LayerFiles, graph: Graph, options: Options, shape: Callable[[Builder], Graph]) -> None:
        self.files, self.graph = files, graph
        self._dialect, self._strict, self._shape = options.dialect, bool(options.strict), shape
        self._of_plan = _OF_PLAN - options.given  # the command line goes before [run]
        self._is_single = graph.params is graph.definition
        self._watched, self._definition = self._watch()

    def _watch(self) -> tuple[WatchedFile | None, WatchedFile | None]:
        """Return the file of the parameters, and the definition where that is another."""
        files = self.files
        definition = WatchedFile(Path(files.definition_path), files.definition)
        if self._is_single:
            return definition, None
        with suppress(LayerFileError):  # a definition that is otherwise than in the checkpoint has been told of
            definition.new_text()
        has_params = files.params is not None and files.params_path
        return WatchedFile(Path(files.params_path), files.params or "") if has_params else None, definition

    def look(self) -> Edit | None:
        """Return an edit since the last look that holds, if there is one. Raises ``Refused``, once for each version."""
        if self._definition and self._is_edited(self._definition):
            where = path_text(self._definition.path)
            raise Refused(f"{where} has changed. The net stays as it is: a definition is read when a run begins.")
        if self._watched is None:
            return None
        where = path_text(self._watched.path)
        try:
            text = self._watched.new_text()
            if text is None:
                return None
            files = self.files
            return self.read(replace(files, definition=text) if self._is_single else replace(files, params=text))
        except LayerFileError as error:
            raise Refused(f"{where} has changed and does not hold; the values before it stay:", _shown(error)) from None
        except ConvnetError as error:
            raise Refused(f"{where} has changed and does not hold; the values before it stay: {error}") from None

    @staticmethod
    def _is_edited(definition: WatchedFile) -> bool:
        try:
            return definition.new_text() is not None
        except LayerFileError:
            return True

    def read(self, files: LayerFiles) -> Edit | None:
        """Return the edit that makes these files of those that hold, if it is one; raises ``ConvnetError``."""
        if files == self.files:  # back to what holds
            return None
        graph = self._shape(parse(files, self._dialect, self._strict))
        check_learning(graph, files)
        found = tuning(self.graph, graph)
        if found.fixed:
            what = listed(found.fixed, _SHOWN)
            raise OptionError(f"this cannot change while a net trains ({what})")
        known = {(problem.message, problem.about) for problem in self.graph.warnings}
        plan = {name: int(value) for name, value in found.run.items() if name in self._of_plan}
        return Edit(files, graph, found, plan, [one for one in graph.warnings if (one.message, one.about) not in known])

    def take(self, files: LayerFiles, graph: Graph) -> None:
        """Have other files hold."""
        self.files, self.graph = files, graph


def mistakes_in(edit: Edit) -> Mistakes:
    """Return what to tell of an edit that holds, though something in it means nothing."""
    text = "The parameter file as it is now has no mistakes, but this should be looked at:"
    problems = [text, *(problem.render() for problem in edit.warnings[:MOST_PROBLEMS])]
    return Mistakes("\n".join(problems), problems)


def _shown(error: LayerFileError) -> list[str]:
    problems = [problem.render() for problem in error.problems[:MOST_PROBLEMS]]
    more = len(error.problems) - MOST_PROBLEMS
    return [*problems, f"and {more:,} more like these"] if more > 0 else problems
