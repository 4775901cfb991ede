"""Options that were given and have no effect: each is said in a line, so that nobody takes them for done.

In which modes of a run an option has one is declared with it (``Option.modes``); here is what else decides: the data, the
backend, a checkpoint, or another option.
"""

from collections.abc import Iterable
from typing import Any

from convnet.backends import reads_math
from convnet.backends.base import Backend
from convnet.data.provider import Provider
from convnet.errors import OptionError
from convnet.generation import COMPAT
from convnet.options import BY_NAME, CHECK, FEATURES, TEST, TRAIN, Options

_OF_DATA = ("data_path", "crop_border", "inner_size", "picture_size", "scalar_mean", "color_noise")
_OF_SAVING = ("save_path", "keep")
_MODE_TEXT = {TRAIN: "in training", TEST: "with --test-only", FEATURES: "with --write-features", CHECK: "with --check-grads"}


def unused(options: Options, has_checkpoint: bool) -> list[str]:
    """Return a remark for each reason why given options have no effect, before data and backend are known."""
    mode, given = options.mode, _changed(options)
    remarks = []
    if mode in (TEST, FEATURES) and not has_checkpoint:
        remarks.append("The weights are the initial ones, not trained: no checkpoint is named (--load-file).")
    obeyed = {"test_one"} if mode == TEST and COMPAT[options.compat].tests_one_batch else set()
    remarks += [_text((name for name in given if mode not in BY_NAME[name].modes and name not in obeyed), _MODE_TEXT[mode])]
    left = {name for name in given if mode in BY_NAME[name].modes}
    if mode == TEST and not options.force_save:
        remarks.append(_text((name for name in _OF_SAVING if name in left), "with --test-only without --force-save"))
    elif options.save_file and "save_path" in left:
        remarks.append(_text(["save_path"], "beside --save-file"))
    reads_logreg = options.test_out or (mode == TEST and (options.report or options.average))
    if "logreg_name" in left and not reads_logreg:
        remarks.append(_text(["logreg_name"], "without --test-out, --report or --average"))
    if "conserve_mem" in left:
        remarks.append(_text(["conserve_mem"], "here: memory is always conserved"))
    if has_checkpoint and "layer_path" in left and not {"layer_def", "layer_params"} & options.given:
        remarks.append(_text(["layer_path"], "on the files of a checkpoint"))
    if "init_funcs" in left and has_checkpoint:
        remarks.append(_text(["init_funcs"], "on the weights of a checkpoint"))
    if has_checkpoint and "seed" in options.given:
        what = "crops, noise and dropout from here on" if mode == TRAIN else "random data"
        remarks.append(f"Weights are those of the checkpoint: --seed {options.seed} holds for {what}.")
    if mode == CHECK and not options.compat:
        exact = "with --check-grads, which computes in float64 without --compat"
        remarks.append(_text((name for name in ("backend", "threads", "init_funcs") if name in left), exact))
    return [remark for remark in remarks if remark]


def unused_by_data(options: Options, train: Provider, test: Provider) -> list[str]:
    """Return remarks on given options that the data do not read.

    Raises ``OptionError`` for colour noise that they cannot have: who asks for it means the training to be another one.
    """
    left = {name for name in _changed(options) if options.mode in BY_NAME[name].modes}
    if "color_noise" in left and "color_noise" not in train.reads:
        raise OptionError(
            f"--color-noise needs pictures in JPEG batches with their colour axes (makebatches writes them); "
            f"{train.where} is read by '{train.name}', which adds no noise"
        )
    names = [name for name in _OF_DATA if name in left and name not in test.reads]
    return [text] if (text := _text(names, f"on data of '{test.name}'")) else []


def unused_by_backend(options: Options, be: Backend, data: Provider) -> list[str]:
    """Return remarks on given options that the backend does not read."""
    left = {name for name in _changed(options) if options.mode in BY_NAME[name].modes}
    idle = {"gpu"} if be.name != "cuda" else set()
    if not reads_math(be.name, options.math):
        idle.add("math")
    if be.name != "cpu" and "threads" not in data.reads:
        idle.add("threads")
    names = [name for name in ("gpu", "math", "threads") if name in left & idle]
    return [text] if (text := _text(names, f"on the {be.name} backend")) else []


def _changed(options: Options) -> list[str]:
    """Return the names of given options, in order, that ask for anything but their default."""

    def value(name: str) -> Any:
        return getattr(options, name)

    return [name for name in BY_NAME if name in options.given and value(name) != BY_NAME[name].default]


def _text(names: Iterable[str], where: str) -> str:
    """Return ``No effect with --test-only: --epochs, --keep.``, or an empty text if there are no names."""
    flags = ", ".join(BY_NAME[name].flag for name in names)
    return f"No effect {where}: {flags}." if flags else ""
