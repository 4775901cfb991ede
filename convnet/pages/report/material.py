"""What a report is made of: a run's history, its net, and the checkpoints that are kept beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from convnet.checkpoint import BEST, Checkpoint, CheckpointFolder, find_latest, load
from convnet.errors import CheckpointError
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles, build_graph
from convnet.pages.report.private import last_name, paths_of, without_folders
from convnet.pages.report.trial import Trial
from convnet.training.history import History
from convnet.training.log import NAME


@dataclass
class Material:
    """A run: its ``history``, of its log where it has one, and of ``checkpoint`` the net and its ``files``, if there is one.

    ``kept`` are all checkpoints in the run's folder, oldest first. ``trial`` is what a test said that was made for the
    report; without one, ``untested`` says why.
    """

    history: History
    has_log: bool = False
    checkpoint: Checkpoint | None = None
    files: LayerFiles | None = None
    graph: Graph | None = None
    kept: Sequence[Path] = ()
    trial: Trial | None = None
    untested: str = ""
    title: str = ""
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, path: str | Path, title: str = "") -> Self:
        """Return what is known of a run: of its folder, a folder of runs, a checkpoint, or a log.

        A run that has saved nothing yet has its history alone. Raises ``ConvnetError``.
        """
        run = Path(path).parent if Path(path).name == NAME else Path(path)
        try:
            file, checkpoint, remarks = find_latest(run, load)
        except CheckpointError:
            if not run.is_dir():
                raise
            material = cls(History.read(run)[0], has_log=True)  # which raises what is wrong where there is no log either
            material.title = title or material.run
            return material
        log = file.parent / NAME
        has_log = log.is_file()
        material = cls(History.read(log if has_log else file)[0], has_log, checkpoint)
        material.files = checkpoint.files(file.name)
        material.graph = build_graph(material.files, dialect=checkpoint.dialect, **checkpoint.sizes)
        material.kept, material.remarks = _kept(file), remarks
        material.title = title or Path(last_name(material.files.definition_path)).stem
        return material

    @property
    def run(self) -> str:
        """What the run is called, which is its folder's name where it has one of its own."""
        return self.history.title

    @property
    def options(self) -> dict[str, object]:
        """Options of the run, as its log has them, or its checkpoint where there is no log."""
        logged = self.history.begin.get("options")
        if self.checkpoint and not (self.has_log and isinstance(logged, dict)):
            return self.checkpoint.options
        return logged if isinstance(logged, dict) else {}

    def public(self, text: str) -> str:
        """Return a text of the run without folders."""
        begin = self.history.begin
        data = begin.get("data")
        known = [begin.get(name) for name in ("net", "parameters", "checkpoint")]
        known += [data.get("path")] if isinstance(data, dict) else []
        return without_folders(text, [*paths_of(self.options), *(str(path) for path in known if path)])


def _kept(file: Path) -> list[Path]:
    """Return the checkpoints of the run that one is of, oldest first: those beside it, if it is named as they are."""
    try:
        names = CheckpointFolder(file.parent).names()
    except OSError:
        names = []
    return names if file in names or file.name == BEST else [file]
