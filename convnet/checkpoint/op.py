"""The options of a run as the originals kept them: an ``OptionsParser`` of their ``convnet.py`` (io 1.4, 4.7).

It is the one that their programs merge the command line into, so every option of the generation is there, whoever asks for
it. This project's own options stay in ``model_state["convnet"]``.
"""

from collections.abc import Mapping
from math import isqrt
from typing import Any, NamedTuple

from convnet.generation import G2011, G2012, G2014, GENERATIONS, SINCE_2012, UNTIL_2012, Generation
from convnet.graph.graph import Graph
from convnet.graph.loading import LayerFiles
from convnet.options import Options
from convnet.pickles import LegacyObject, legacy_class


class Declared(NamedTuple):
    """What an original declares of an option; ``ours`` is what this project calls it, where it has the same."""

    name: str
    letter: str
    kind: str  # of value: the name of a class of parsers, ``X,...`` for lists of X
    desc: str
    default: Any = None  # where there is none, the option is mandatory
    generations: tuple[Generation, ...] = GENERATIONS
    ours: str = ""
    excuses: Any = ()
    requires: tuple[str, ...] = ()
    set_once: bool = False


_NEEDLESS = ("data_path", "save_path", "train_batch_range", "test_batch_range")  # to check gradients
_VIEWS = "Cropped DP: test on multiple patches?"
_LATER, _EARLIER = (G2014,), UNTIL_2012
# fmt: off
_DECLARED = (
    Declared("load_file", "f", "String", "Load file", "", _EARLIER, excuses="all"),
    Declared("load_file", "load-file", "String", "Load file", "", _LATER, excuses="all"),
    Declared("save_path", "save-path", "String", "Save path", None, _EARLIER),
    Declared("save_path", "save-path", "String", "Save path", None, _LATER, excuses=("save_file_override",)),
    Declared("save_file_override", "save-file", "String", "Save file override", None, _LATER, excuses=("save_path",)),
    Declared("train_batch_range", "train-range", "Range", "Data batch range: training", ours="train_range"),
    Declared("test_batch_range", "test-range", "Range", "Data batch range: testing", ours="test_range"),
    Declared("dp_type", "data-provider", "String", "Data provider", ours="data_provider"),
    Declared("data_path", "data-path", "String", "Data path", ours="data_path"),
    Declared("testing_freq", "test-freq", "Integer", "Testing frequency", 50, _EARLIER, "test_freq"),
    Declared("testing_freq", "test-freq", "Integer", "Testing frequency", 57, _LATER, "test_freq"),
    Declared("num_epochs", "epochs", "Integer", "Number of epochs", 50000, ours="epochs"),
    Declared("max_filesize_mb", "max-filesize", "Integer", "Maximum save file size (MB)", 0, _EARLIER),
    Declared("zip_save", "zip-save", "Boolean", "Compress checkpoints?", 0, _EARLIER),
    Declared("num_gpus", "num-gpus", "Integer", "Number of GPUs", 1, _EARLIER),
    Declared("gpu", "gpu", "Integer,...", "GPU override", "[-1] * num_gpus", _EARLIER),
    Declared("gpu", "gpu", "Integer,...", "GPU override", None, _LATER),
    Declared("test_only", "test-only", "Boolean", "Test and quit?", 0),
    Declared("test_one", "test-one", "Boolean", "Test on one batch at a time?", 1, ours="test_one"),
    Declared("force_save", "force-save", "Boolean", "Force save before quitting", 0, _LATER),
    Declared("minibatch_size", "mini", "Integer", "Minibatch size", 128, ours="mini"),
    Declared("layer_def", "layer-def", "String", "Layer definition file", None, _EARLIER, set_once=True),
    Declared("layer_def", "layer-def", "String", "Layer definition file", None, _LATER),
    Declared("layer_params", "layer-params", "String", "Layer parameter file"),
    Declared("layer_path", "layer-path", "String", "Layer file path prefix", "", _LATER),
    Declared("check_grads", "check-grads", "Boolean", "Check gradients and quit?", 0, _EARLIER, excuses=_NEEDLESS),
    Declared("check_grads", "check-grads", "Boolean", "Check gradients and quit?", 0, _LATER,
        excuses=(*_NEEDLESS[:2], "save_file_override", *_NEEDLESS[2:])),
    Declared("multiview_test", "multiview-test", "Boolean", _VIEWS, 0, (G2011,), requires=("logreg_name",)),
    Declared("multiview_test", "multiview-test", "Boolean", _VIEWS, 0, SINCE_2012),
    Declared("crop_border", "crop-border", "Integer", "Cropped DP: crop border size", 4, _EARLIER, "crop_border",
        set_once=True),
    Declared("inner_size", "inner-size", "Integer", "Cropped DP: crop size (0 = don't crop)", 0, _LATER, "inner_size",
        set_once=True),
    Declared("conv_to_local", "conv-to-local", "String,...", "Convert given conv layers to unshared local", []),
    Declared("unshare_weights", "unshare-weights", "String,...", "Unshare weight matrices in given layers", []),
    Declared("conserve_mem", "conserve-mem", "Boolean", "Conserve GPU memory (slower)?", 0),
    Declared("color_noise", "color-noise", "Float", "Add PCA noise to color channels with given scale", 0.0, SINCE_2012,
        "color_noise"),
    Declared("test_out", "test-out", "String", "Output test case predictions to given path", "", SINCE_2012,
        requires=("logreg_name", "multiview_test")),
    Declared("logreg_name", "logreg-name", "String", "Cropped DP: logreg layer name (for --multiview-test)", "", (G2011,)),
    Declared("logreg_name", "logreg-name", "String", "Logreg cost layer name (for --test-out)", "", SINCE_2012),
    Declared("pca_noise", "pca-noise", "Float", "Add PCA noise to pixels with given scale", 0.0, (G2012,)),
    Declared("scalar_mean", "scalar-mean", "Float", "Subtract scalar pixel mean (as opposed to vector)?", False, (G2012,),
        "scalar_mean"),
    Declared("scalar_mean", "scalar-mean", "Float", "Subtract this scalar from image (-1 = don't)", -1, _LATER,
        "scalar_mean"),
    Declared("wupdate_freq", "wupdate-freq", "Integer",
        "Weight update (inverse) frequency, in minibatches (1 = every minibatch)", 1, (G2012,), "wupdate_freq"),
    Declared("write_features", "write-features", "String", "Write test data features from given layer", "", _LATER,
        requires=("feature-path",)),
    Declared("feature_path", "feature-path", "String",
        "Write test data features to this path (to be used with --write-features)", "", _LATER),
)
# fmt: on
THEIRS = {declared.ours: declared.name for declared in _DECLARED if declared.ours}  # what they call options of ours
_CALLED = {"save_file_override": "save_file"}  # other names here of options that mean nothing for a run that goes on
_ALWAYS_SET = ("conv_to_local", "unshare_weights")  # to nothing, once they are carried out
_PROVIDERS = {  # under which the originals read what this project's read, and the beginnings of names of random data
    G2011: {},
    G2012: {"image": "inet-lr-cropped-jpeg", "dummy-cn-": "dummy-lr-"},
    G2014: {"cifar-cropped": "cifar", "dummy-cn-": "dummy-lr-"},
}
_UNCROPPED = 4  # crop_border of 2011 and 2012 for data that they did not crop


def values_for(
    generation: Generation, options: Options, files: LayerFiles, graph: Graph, save_path: str, provider: str
) -> dict[str, Any]:
    """Return the values of a generation's options, by their names, of a run of this project that reads by ``provider``.

    Modes such as --test-only are left out, and --save-file, where a copy would be saved over the original.
    """
    devices = 1 + max((device for layer in graph.layers.values() for device in layer.gpu), default=0)
    values = {name: getattr(options, ours) for ours, name in THEIRS.items()}
    values |= {
        "load_file": options.load_file,
        "zip_save": options.zip_save,
        "save_path": save_path,
        "layer_def": files.definition_path,
        "layer_params": files.params_path,
        "dp_type": _provider(generation, provider or options.data_provider),
        "num_gpus": max(1, devices),
        "gpu": options.gpu or (list(range(max(1, devices))) if generation == G2014 else [-1] * max(1, devices)),
        "crop_border": options.crop_border or _UNCROPPED,
        "inner_size": options.inner_size or (isqrt(graph.data_dims.get(0, 0) // 3) if options.crop_border else 0),
    }
    if options.scalar_mean < 0:
        values["scalar_mean"] = False if generation == G2012 else -1
    return {one.name: values[one.name] for one in _DECLARED if generation in one.generations and one.name in values}


def given_values(generation: Generation, options: Options, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of what was given to a run, by the names of a generation's options: as typed, or of ``values``."""
    ours = {one.name: one.ours or _CALLED.get(one.name, one.name) for one in _DECLARED if generation in one.generations}
    given = {name: our_name for name, our_name in ours.items() if our_name in options.given}
    return {name: values[name] if our_name in THEIRS else getattr(options, our_name) for name, our_name in given.items()}


def options_parser(generation: Generation, values: Mapping[str, Any]) -> LegacyObject:
    """Return the ``OptionsParser`` of a generation with these values, and defaults where there are none."""
    module = "python_util.options" if generation == G2014 else "options"
    none: tuple[list[str], list[str]] = [], []  # one object each, as the default arguments that they were
    options = {}
    for one in _DECLARED:
        if generation not in one.generations:
            continue
        default = one.default
        if one.name == "gpu" and default:
            default = _instance(module, "OptionExpression", expr=default)
        value = values.get(one.name, one.default)
        options[one.name] = _instance(
            module,
            "Option",
            letter=one.letter,
            name=one.name,
            desc=one.desc,
            parser=_parser(module, one.kind),
            set_once=one.set_once,
            default=default,
            excuses=(one.excuses if one.excuses == "all" else list(one.excuses)) if one.excuses else none[0],
            requires=list(one.requires) or none[1],
            save=True,
            value=value,
            value_given=one.name in _ALWAYS_SET or (value is not None and value != one.default and not _is_auto(one, value)),
            prefixed_letter="-" * min(2, len(one.letter)) + one.letter,
        )
    return _instance(module, "OptionsParser", options=options)


def _is_auto(one: Declared, value: Any) -> bool:
    """Return whether an expression makes the value, which nobody gave."""
    return one.name == "gpu" and one.default is not None and set(value) == {-1}


def _parser(module: str, kind: str) -> Any:
    name, is_list, _ = kind.partition(",")
    parser = legacy_class(module, f"{name}OptionParser")
    return _instance(module, "ListOptionParser", parsers=parser, sepchar=",") if is_list else parser


def _instance(module: str, class_name: str, **attributes: Any) -> LegacyObject:
    instance = legacy_class(module, class_name)()
    vars(instance).update(attributes)
    return instance


def options_in(op: object) -> dict[Any, Any]:
    """Return the options of an ``OptionsParser`` by name; of anything else, none."""
    options = getattr(op, "options", None)
    return options if isinstance(options, dict) else {}


def plain_value(option: object) -> Any:
    """Return the value of an option, a text, a number or a list of them; ``None`` if it has another or none."""
    value = getattr(option, "value", None)
    items = value if isinstance(value, list) else [value]
    return value if all(isinstance(item, str | bytes | int | float) for item in items) else None


def values_of(op: object) -> dict[str, Any]:
    """Return the plain values of an ``OptionsParser`` by name; of anything else, none."""
    found = {name: plain_value(option) for name, option in options_in(op).items() if isinstance(name, str)}
    return {name: value for name, value in found.items() if value is not None}


def providers_read(generation: Generation, cropped: bool) -> dict[str, str]:
    """Return what this project calls the providers of a generation that it calls otherwise, for ``cropped`` data or not."""
    called = {theirs: ours for ours, theirs in _PROVIDERS[generation].items() if not ours.endswith("-")}
    return {theirs: ours for theirs, ours in called.items() if cropped or ours != "cifar-cropped"}


def declared_names(generation: Generation) -> set[str]:
    """Return the names of a generation's options."""
    return {one.name for one in _DECLARED if generation in one.generations}


def _provider(generation: Generation, name: str) -> str:
    for ours, theirs in _PROVIDERS[generation].items():
        if name == ours or (ours.endswith("-") and name.startswith(ours)):
            return theirs + name.removeprefix(ours)
    return name
