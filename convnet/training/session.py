"""What a run needs, opened from its options: layer files, data, plan, backend, net, and the checkpoint it goes on from.

What a person should know of it comes back as remarks, for whoever opened it to show.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from convnet.backends import choose_backends, gpu_count
from convnet.backends.base import Backend
from convnet.backends.host import core_numbers
from convnet.checkpoint import (
    BEST,
    Checkpoint,
    CheckpointFolder,
    Foreign,
    Position,
    arithmetic_of,
    find_latest,
    format_for,
    load,
    new_folder,
    restore_streams,
)
from convnet.data import demo
from convnet.data.adopt import adopt
from convnet.data.provider import Provider, Request, range_text
from convnet.data.providers import UnknownProvider, open_provider
from convnet.errors import CheckpointError, DataError, OptionError
from convnet.generation import COMPAT, UNTIL_2012
from convnet.graph.builder import Builder
from convnet.graph.graph import Graph
from convnet.graph.infer import expected_classes, needed_data, takes_classes
from convnet.graph.learning import check_learning
from convnet.graph.loading import parse
from convnet.net import placement
from convnet.net.initial import draw_functions, initial_state
from convnet.net.layout import Layout
from convnet.net.memory_check import check_memory
from convnet.net.net import Net
from convnet.net.parallel import ParallelNet
from convnet.net.parts import Ranks, spread
from convnet.net.surgery import Edits
from convnet.options import TEST, Options
from convnet.pickles import text_of
from convnet.ranks.carriers import carrier_for
from convnet.ranks.communicator import Communicator, Solo
from convnet.ranks.launch import gpu_of, idle_cores, threads_of
from convnet.storage import cache_folder
from convnet.texts import counted
from convnet.training.alike import check_alike, check_same_data, check_same_descriptions
from convnet.training.best import Watch
from convnet.training.definition import changes_since, layer_files, run_section
from convnet.training.plan import ENDLESS, Plan
from convnet.training.unused import unused, unused_by_backend, unused_by_data

_DEMO_EPOCHS = 90  # the paper's; the demonstration stops long before


class RunInputs:
    """What the ``given`` options name, before any data are looked at; ``request`` says what the run wants of these.

    ``checkpoint`` is the one that they name, where it has been loaded. Raises ``ConvnetError`` with every mistake in the
    layer files.
    """

    def __init__(
        self, given: Mapping[str, Any], checkpoint: Checkpoint | None = None, communicator: Communicator | None = None
    ) -> None:
        self.communicator = communicator = communicator or Solo()
        # Before options, of which ranks may have other --threads: all of them gather what these are found from.
        threads, bound = threads_of(communicator, core_numbers()), idle_cores(communicator, core_numbers())
        remarks: list[str] = []
        save_file = given.get("save_file", "")
        if save_file and not CheckpointFolder(Path(save_file)).names():
            save_file = ""  # nothing to go on from yet (io 1.5)
        if checkpoint is None and (source := given.get("load_file") or save_file):
            _, checkpoint, remarks = find_latest(source, load)
        self.checkpoint = checkpoint
        stored = checkpoint.options if checkpoint else None
        options = Options.of(given, stored)
        options.check()
        if checkpoint is None and not options.layer_def:
            raise OptionError("--layer-def is missing (or --load-file, to go on from a checkpoint); see --help")
        if checkpoint and not checkpoint.has_files and not options.layer_def and options.dialect == "auto":
            options = replace(options, dialect=checkpoint.generation)
        self.files, changed = layer_files(options, checkpoint)
        left = [*checkpoint.remarks, *checkpoint.options_left] if checkpoint else []
        own = [bound] if bound and not options.threads else []
        self.remarks = [*remarks, *changed, *left, *own, *unused(options, checkpoint is not None)]
        self.builder = parse(self.files, options.dialect, bool(options.strict))
        self.builder.problems.check()
        section = run_section(self.builder, self.files, options, checkpoint)
        self.options = options = replace(Options.of(given, stored, section), dialect=options.dialect)
        self.request = Request(
            path=options.data_path,
            seed=options.seed,
            crop_border=options.crop_border,
            inner_size=options.inner_size,
            picture_size=options.picture_size,
            color_noise=options.color_noise,
            scalar_mean=options.scalar_mean,
            features=checkpoint.data_dims.get(0, 0) if checkpoint else 0,
            classes=(checkpoint.classes if checkpoint else None) or expected_classes(self.builder),
            builder=self.builder,
            needs=needed_data(self.builder),
            compat=COMPAT[options.compat],
            threads=options.threads or threads,
            ranks=communicator if communicator.size > 1 else None,
        )
        check_alike(communicator, options, self.files, checkpoint)


class Session:
    """All that a run works on, found and checked before anything is computed; raises ``ConvnetError``.

    Of ``options``, those that nobody gave hold what the ``plan`` does. ``state`` are weights to begin with; ``None``: drawn,
    or made by functions: whoever opened the session sets whether it ``may_run_code`` that lies beside the layer file.
    """

    def __init__(self, inputs: RunInputs) -> None:
        self.files, self.checkpoint, self.communicator = inputs.files, inputs.checkpoint, inputs.communicator
        self.communicator.saved = str(self.checkpoint.path) if self.checkpoint else ""
        try:
            self.train, self.test, self.plan, data_remarks = _open_data(
                inputs.options, inputs.request, not inputs.checkpoint
            )
        except UnknownProvider as error:
            if self.checkpoint is None or "data_provider" in inputs.options.given:
                raise
            text = f"{self.checkpoint.path} reads its data by a provider that no installed package brings"
            raise DataError(f"{text}: {error}; install its package, or give --data-provider") from None
        check_same_data(self.communicator, self.train, self.test)
        data_remarks += self._adopt_data(inputs.options) + self._seen_before(inputs.options)
        self.options = replace(
            inputs.options,
            train_range=self.plan.train,
            test_range=self.plan.test,
            epochs=self.plan.epochs,
            test_freq=self.plan.test_freq,
        )
        data_remarks += unused_by_data(self.options, self.train, self.test)
        if self.options.mode == TEST and self.tests < len(self.plan.test):
            text = f"Tests the first of {len(self.plan.test)} test batches, as the program of {self.options.compat} did"
            data_remarks.append(f"{text}; --test-one 0 takes all.")
        self.graph = self.shape(inputs.builder)
        self.changes = changes_since(self.checkpoint, self.files, self.options) if self.checkpoint else []
        self.foreign = Foreign(self.checkpoint, self.graph)
        self.position = self.checkpoint.position(self.plan.train) if self.checkpoint else Position()
        self.state = self.checkpoint.layers if self.checkpoint else None
        self.was_edited = False
        self.may_run_code = False
        self.remarks = [*inputs.remarks, *data_remarks]
        if self.checkpoint is None and self.options.init_funcs == "draw":
            self.remarks += draw_functions(self.graph) or ["No effect where no layer names a function: --init-funcs."]
        self._check_position()
        self._check_format()
        self.watch = Watch.of(self.options, self.graph, self.plan)
        # Last, since what it claims has to be given back.
        path = self.checkpoint.path if self.checkpoint else None
        self.folder = _open_folder(self.options, path, self.communicator)

    def _adopt_data(self, options: Options) -> list[str]:
        """Give both providers the mean and the classes of the checkpoint, and the test data those of the training data.

        Returns what they had otherwise. A --scalar-mean that is given now replaces the mean.
        """
        known, both = self.checkpoint.data if self.checkpoint else None, (self.train, self.test)
        lines: list[str] = []
        if known:
            with_mean = "scalar_mean" not in options.given
            lines = [line for data in both for line in adopt(data, known, with_mean)]
        else:
            adopt(self.test, self.train.description())  # where the mean was computed, of the same batches
        # Here, since ranks find the mean together, not in threads that load batches.
        check_same_descriptions(self.communicator, *both)
        return list(dict.fromkeys(lines))

    def _seen_before(self, options: Options) -> list[str]:
        """Return a remark where a checkpoint's net is only tested, on batches that it was trained on."""
        stored = self.checkpoint.options if self.checkpoint else {}
        folders = {os.path.realpath(text_of(path)) for path in (options.data_path, stored.get("data_path") or "")}
        shared = sorted(set(stored.get("train_range") or ()) & set(self.plan.test))
        if not (options.test_only and shared and len(folders) == 1):
            return []
        return [f"Tests on {range_text(shared)} say nothing of new cases: the net was trained there, too."]

    def shape(self, builder: Builder) -> Graph:
        """Return the graph for the data; raises ``DataError`` if a net of any number of classes was trained on another."""
        before, now = self.checkpoint.classes if self.checkpoint else None, self.train.classes
        if takes_classes(builder) and before not in (None, now):
            count = f"{self.train.where} has {counted(now, 'class')}"
            raise DataError(f"{count}, the net was trained on {before}; begin anew with --layer-def")
        tree = (self.checkpoint.label_tree if self.checkpoint else None) or self.train.tree
        return builder.shape(self.train.dims, self.train.classes, tree, str(self.train.where), self.train.heads)

    def _initial_state(self) -> dict[str, dict[str, Any]]:
        return initial_state(self.graph, self.options.seed, self.may_run_code)

    def _check_position(self) -> None:
        """Forget a batch under way that the run does not train on any more, and say so."""
        position = self.position
        if not self.options.trains or not position.cases or self.plan.is_under_way(position):
            return
        if position.at_batch < 0 and (not position.epoch or position.batch in self.plan.train):
            return  # an early checkpoint, which says only which batch was finished
        which = f"batch {position.at_batch}" if position.at_batch >= 0 else "a batch"
        self.remarks.append(
            f"The checkpoint lies inside {which}, after {counted(position.cases, 'case')}; that batch is not in the "
            "training range any more, so its other cases are left out."
        )
        position.drop_batch()

    def _check_format(self) -> None:
        """Tell of the format of checkpoints, if there will be any; raises ``OptionError`` where it does not hold the net."""
        options = self.options
        if not (options.trains or options.force_save):
            return
        form = format_for(options.checkpoint_format, self.graph)
        remark = form.remark
        if not remark and self.checkpoint and self.checkpoint.is_original and "checkpoint_format" not in options.given:
            before = self.checkpoint.written_as
            other = f"Checkpoints are in the format of {form.name}; --checkpoint-format {before} keeps that of {before}."
            remark = other if before != form.name else ""
        self.remarks += [remark] if remark else []
        if options.zip_save and form.name not in UNTIL_2012:
            self.remarks.append(f"No effect on checkpoints of {form.name}: --zip-save.")

    @property
    def tests(self) -> int:
        """How many of the test batches --test-only tests."""
        is_one = COMPAT[self.options.compat].tests_one_batch and self.plan.test_one
        return 1 if is_one else len(self.plan.test)

    @property
    def has_work(self) -> bool:
        """Whether a run goes on from here, if only to test its last weights: else it leaves all files as they are."""
        return self.plan.batches_left(self.position) != 0 or not (self.position.final_test or self.options.compat)

    def set_newer_aside(self) -> list[str]:
        """Rename checkpoints that are newer than the one beside them that training goes on from; returns remarks."""
        path = self.checkpoint.path if self.checkpoint else None
        if path is None or not self.options.trains or os.path.realpath(path.parent) != os.path.realpath(self.folder.path):
            return []
        position = self.position
        after = path.with_name(f"{position.epoch}.{position.batch}") if path.name == BEST else path
        return [
            f"Going on from {path.name}: the newer {old.name.removesuffix('.aside')} is kept as {old.name}."
            for old in self.folder.set_aside(after)
        ]

    def find_best(self) -> list[str]:
        """Begin to watch for the best test, where the run does; returns remarks on what was best before."""
        return self.watch.take_up(self.position, self.folder, self.checkpoint) if self.watch else []

    def move_files(self) -> list[str]:
        """Do both on rank 0, and have the others know what is best; returns remarks."""
        position, remarks = self.position, []
        if self.communicator.rank == 0:
            remarks = [*self.set_newer_aside(), *self.find_best()]
        best = position.watched, position.best, position.best_at, position.tests_since
        best = self.communicator.all_gather(best)[0]
        position.watched, position.best, position.best_at, position.tests_since = best
        return remarks

    def check_costs(self) -> None:
        """Raise ``OptionError`` for a net without costs; to be trained, for one that would not learn."""
        if not self.graph.costs:
            raise OptionError(f"{self.files.definition_path} has no cost layer, so there is nothing to train or test")
        if self.options.trains:
            check_learning(self.graph, self.files)

    def apply_edits(self) -> list[str]:
        """Carry out --unshare-weights and --conv-to-local; returns what the originals print of them."""
        options = self.options
        if not options.conv_to_local and not options.unshare_weights:
            return []
        state = self.state if self.state is not None else self._initial_state()
        names_sources = COMPAT[options.compat].names_sources
        surgery = Edits(self.graph, state, options.conv_to_local, options.unshare_weights, names_sources)
        self.state, self.files = surgery.state, replace(self.files, changes=self.files.changes | surgery.changes)
        self.graph = self.shape(parse(self.files, options.dialect, bool(options.strict)))
        self.options = replace(options, conv_to_local=[], unshare_weights=[])
        self.was_edited = True
        return surgery.lines

    def backends(self) -> tuple[list[Backend], list[str]]:
        """Return the backend asked for, one for each logical device where it runs on GPUs, and remarks.

        They say why ``auto`` did not take a GPU, and where layers run that ask for more devices than ``--gpu`` lists.
        """
        options = self.options
        gpus, threads = options.gpu or [0], options.threads
        if self.communicator.size > 1:
            threads, gpus = self.train.request.threads, [self._own_gpu()]
        backends, reason = choose_backends(options.backend, threads, gpus, options.math)
        remarks = [f"Not on a GPU: {reason}."] if reason else []
        remarks += unused_by_backend(options, backends[0], self.train)
        if backends[0].name == "cuda" and not self.layout.is_parallel:
            remarks += placement.remarks(self.graph, gpus)
        return backends, remarks

    def _remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)

    def _own_gpu(self) -> int:
        """Return the GPU of this rank, of those that --gpu names, or of all that there are."""
        options = self.options
        count = gpu_count() if options.backend in ("auto", "cuda") and not options.gpu else 1
        return gpu_of(self.communicator, options.gpu or range(max(count, 1)))

    @property
    def layout(self) -> Layout:
        """How a minibatch and the net lie over ranks; raises ``OptionError`` where they cannot."""
        return Layout.of(self.graph, self.communicator.rank, self.communicator.size, self.options.shards)

    @contextmanager
    def _sizes_in_errors(self) -> Iterator[None]:
        """Where weights of the checkpoint do not fit data of another size, say that, not that the weights are wrong."""
        try:
            yield
        except CheckpointError as error:
            before, now = self.checkpoint.data_dims.get(0) if self.checkpoint else None, self.train.dims[0]
            if before in (None, now):
                raise
            text = f"{self.train.where} gives {counted(now, 'value')} per case, and the net was trained on {before}"
            raise DataError(
                f"{text}; scale and crop larger pictures as then: --picture-size, --inner-size, --crop-border ({error})"
            ) from None

    def net(self, backends: list[Backend], in_parts: bool = True) -> Net:
        """Return the net, with the checkpoint's weights and streams; raises ``BackendError`` if memory cannot hold it.

        One that trains, or lies on several ranks, computes minibatches ``in_parts`` where the layout says so.
        """
        options = self.options
        training = options.trains
        layout = self.layout if in_parts and (training or self.communicator.size > 1) else Layout()
        check_memory(
            self.graph, spread(self.graph, backends, self.communicator, layout), layout.part_size(options.mini), training
        )
        compat = COMPAT[options.compat]
        state = self.state if self.state is not None else self._initial_state()
        with self._sizes_in_errors(), self.checkpoint.named_in_errors() if self.checkpoint else nullcontext():
            more = options.mini, options.seed, state, options.wupdate_freq, compat
            if layout.is_parallel:
                ranks = Ranks(self.communicator, layout, partial(carrier_for, say=self._remark))
                net: Net = ParallelNet(self.graph, backends[0], ranks, *more)
                self.remarks += placement.remarks_on_ranks(self.graph, layout, options.mini)
            else:
                net = Net(self.graph, backends, *more)
            if self.checkpoint:
                restore_streams(net, self.checkpoint, not self.was_edited)
        if self.checkpoint:
            before, now = text_of(self.checkpoint.own.get("arithmetic", "an earlier version")), arithmetic_of(net)
            if training and not self.checkpoint.is_original and before != now:
                self.remarks.append(f"The checkpoint was computed by {before}, this run is by {now}: the last bits differ.")
        net.prepare(options.mini, training)
        return net


def _open_data(options: Options, request: Request, is_new: bool) -> tuple[Provider, Provider, Plan, list[str]]:
    """Open providers for training and testing; return them, which batches each uses, and remarks."""
    name = options.data_provider
    test = open_provider(name, replace(request, multiview=bool(options.multiview_test)))
    train_range, test_range = test.ranges(options.train_range, options.test_range)
    test.check_range(test_range, "test")
    train = open_provider(name, replace(request, training=True, batches=train_range))
    if options.trains:
        train.check_range(train_range, "training")
    is_demo = isinstance(test, demo.Demo)
    stops_early = is_demo and is_new and options.max_batches is None and "epochs" not in options.given
    plan = Plan(
        train_range,
        test_range,
        options.epochs or (_DEMO_EPOCHS if is_demo else ENDLESS),
        options.test_freq or (demo.TRAIN_BATCHES if is_demo else COMPAT[options.compat].test_freq),
        bool(options.test_one),
        demo.TRAIN_BATCHES if stops_early else options.max_batches or 0,
        COMPAT[options.compat].extra_batch,
    )
    remarks = []
    if (shared := sorted(set(train_range) & set(test_range))) and options.trains:
        remarks.append(f"Tests on {range_text(shared)} say nothing of new cases: the run trains there, too.")
    if (aside := sorted(set(train_range) & set(test.test_numbers) - set(shared))) and options.trains:
        remarks.append(f"Trains on {range_text(aside)}, which batches.meta sets aside for testing (test_batches).")
    if is_demo:
        remarks.append(f"No --data-path: using the demonstration set, drawn shapes in {cache_folder()}.")
        if stops_early:
            remarks[0] += f" It stops after {plan.max_batches} batches; --max-batches 0 goes on."
    if options.trains and plan.is_endless and "epochs" not in options.given:
        remarks.append("Trains until Ctrl-C; --epochs N ends it.")
    return train, test, plan, remarks + list(dict.fromkeys([*train.problems, *test.problems]))


def _open_folder(options: Options, path: Path | None, communicator: Communicator) -> CheckpointFolder:
    """Return where to save: beside the checkpoint at ``path`` unless --save-path is given, else anew.

    A run that will save claims it, on rank 0. Raises ``CheckpointError`` if it cannot be written, or another run writes
    there.
    """
    if communicator.rank:
        communicator.all_gather(None)
        return CheckpointFolder(communicator.all_gather(None)[0], options.keep)
    below = None
    if options.save_file:
        folder = CheckpointFolder(Path(options.save_file).absolute(), options.keep)
    elif path is None or (options.save_path and "save_path" in options.given):
        below = options.save_path
        folder = CheckpointFolder(new_folder(below), options.keep)
    else:
        folder = CheckpointFolder(Path(os.path.realpath(path)).parent, options.keep)
    communicator.all_gather(None)  # nothing is claimed where another rank has failed
    if options.trains or options.force_save:
        folder.claim(below)
    communicator.all_gather(folder.path)
    return folder
