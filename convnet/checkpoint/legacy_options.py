"""Options of a run of the originals, as its checkpoint has them: what a run here takes over, and what is told (io 1.4)."""

import argparse
from collections.abc import Mapping
from typing import Any

from convnet.checkpoint.op import THEIRS, declared_names, options_in, plain_value
from convnet.generation import G2012, G2014, Generation
from convnet.options import BY_NAME
from convnet.pickles import path_of, text_of
from convnet.texts import listed, shortened

# What changes no result, or only what a run does once: paths, devices, files that it wrote.
_WITHOUT_EFFECT = {
    "check_grads", "conserve_mem", "conv_to_local", "feature_path", "force_save", "gpu", "layer_def", "layer_params",
    "layer_path", "load_file", "logreg_name", "max_filesize_mb", "max_test_err", "num_gpus", "pca_noise",
    "save_file_override", "save_path", "test_out", "unshare_weights", "write_features", "zip_save",
}  # fmt: skip
_MODES = ("multiview_test", "test_only")  # which the originals inherited


class LegacyOptions:
    """The options in ``op``, an ``OptionsParser`` of the originals, or anything else that has none.

    ``taken`` are those that a resumed run takes over, by this project's names; ``left`` has a line for everything else that
    changed results. Options that have the values that are ``known`` are left out.
    """

    def __init__(self, op: object, generation: Generation, known: Mapping[str, Any] | None = None) -> None:
        known = known or {}
        self._options = {
            name: option
            for name, option in options_in(op).items()
            if name not in known or plain_value(option) != known[name]
        }
        self.taken: dict[str, Any] = {}
        self.left: list[str] = []
        for name in THEIRS:
            self._take(name)
        if "cropped" not in self.taken.get("data_provider", ""):
            self.taken.pop("crop_border", None)  # 2011 and 2012 kept its default of 4 for data that they did not crop
        self.left += [line for line in (self._mean_left(generation), self._modes_left(), self._unknown()) if line]

    def _take(self, name: str) -> None:
        """Take an option over, if it holds what could be given to it here; a default of ``False`` stands for none."""
        value = plain_value(self._options.get(THEIRS[name]))
        if value is None or value is False:
            return
        text = ",".join(map(str, value)) if isinstance(value, list) else path_of(str(value))
        kind = BY_NAME[name].kind
        try:
            if text or name != "data_path":
                self.taken[name] = kind(text)
        except argparse.ArgumentTypeError as error:
            self.left.append(f"{BY_NAME[name].flag} of the run that saved it is not taken over: {error}.")

    def _mean_left(self, generation: Generation) -> str:
        """Leave out a ``scalar_mean`` that meant something else: a switch in 2012, a second mean for 2014's CIFAR data."""
        mean = self.taken.get("scalar_mean", -1)
        if generation == G2012 and self.taken.pop("scalar_mean", 0):
            what = "2012's --scalar-mean, the mean of the mean picture in place of that picture"
            return f"The run that saved it asked for {what}: not taken over, give --scalar-mean with that number."
        if generation == G2014 and mean != -1 and self.taken.get("data_provider") == "cifar":
            del self.taken["scalar_mean"]
            what = f"{mean:g} beside the mean picture (2014's --scalar-mean on cifar)"
            return f"The run that saved it subtracted {what}, which is not done here."
        return ""

    def _modes_left(self) -> str:
        modes = [BY_NAME[name].flag for name in _MODES if plain_value(self._options.get(name))]
        return f"The run that saved it had {listed(modes)}: not taken over, give it where it is wanted." if modes else ""

    def _unknown(self) -> str:
        """Return a line on options of forks that were given."""
        known = {*THEIRS.values(), *_MODES, *_WITHOUT_EFFECT}
        given = [
            f"{text_of(name)} {shortened(text_of(getattr(option, 'value', '')), 20)}"
            for name, option in self._options.items()
            if isinstance(name, str) and name not in known and getattr(option, "value_given", False) is True
        ]
        return f"Options of the run that saved it which are not known here: {listed(sorted(given), 5)}." if given else ""


def lost_options(op: object, generation: Generation) -> list[str]:
    """Return a line for each option of an original that was given, changes results, and is not one of ``generation``."""
    known = declared_names(generation) | _WITHOUT_EFFECT
    return [
        f"--{text_of(getattr(option, 'letter', name))}={shortened(text_of(getattr(option, 'value', '')), 20)} of its run"
        for name, option in options_in(op).items()
        if name in {*THEIRS.values()} - known - {"inner_size", "crop_border"}
        and getattr(option, "value", None) not in (None, getattr(option, "default", None))
    ]
