"""Options in files: a TOML file that ``--config`` names, and the section ``[run]`` of a parameter file."""

import argparse
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from convnet.errors import OptionError, reason_of
from convnet.language.diagnostics import Problems
from convnet.language.ini import Section
from convnet.options.kinds import ZERO_ONE, Kind
from convnet.options.options import BY_NAME, OPTIONS
from convnet.texts import did_you_mean, nearest


def read_config(path: Path) -> dict[str, Any]:
    """Read options from a TOML file: ``layer-def = "net.cfg"``, ``epochs = 10``, ``test-only = true``."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--config {path}: {reason_of(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"--config {path}: not valid TOML: {error}") from None
    options: dict[str, Any] = {}
    faults = []
    for key, value in table.items():
        option = BY_NAME.get(key.replace("-", "_"))
        if option is None:
            faults.append(f"unknown option '{key}'" + did_you_mean(key, [o.flag.lstrip("-") for o in OPTIONS]))
            continue
        if option.name in options:
            faults.append(f"'{key}' gives {option.flag} a second time")
        if option.name == "config":
            faults.append("'config': a file of options cannot name another")
        if option.name == "allow_init_code":  # or a folder of layer files could bring its own permission
            faults.append(f"{key} is read from the command line only")
            continue
        try:
            options[option.name] = option.kind(_text(value, option.kind))
        except argparse.ArgumentTypeError as error:
            faults.append(f"{key}: {error}")
    if faults:
        raise OptionError(f"--config {path}: " + "; ".join(faults))
    return options


def read_section(section: Section, problems: Problems) -> dict[str, Any]:
    """Return the options that ``[run]`` gives, by name; report every one that it cannot give, or not so."""
    options: dict[str, Any] = {}
    report = partial(problems.error, about=section.name)
    for entry in section.entries.values():
        option = BY_NAME.get(entry.key.lower().replace("-", "_"))
        if entry.raw is None or not entry.certain:
            continue  # reported where it was read
        if option is None or not option.in_section:
            known = [other.flag[2:] for other in OPTIONS if other.in_section]
            text = f"no option '{entry.key}'" if option is None else f"'{entry.key}' is for the command line or --config"
            near = nearest(entry.key, known) if option is None else ""
            report(entry.key_place, f"[run]: {text}", expected=", ".join(known), nearest=near)
        elif entry.continued:
            text = f"[run]: this line is indented, so it goes on with the value of '{entry.key}' above"
            report(entry.continued[0], text, expected="a key at the beginning of its line")
        elif option.name in options:
            report(entry.key_place, f"[run]: '{entry.key}' gives {option.flag} a second time")
        else:
            try:
                options[option.name] = option.kind(_text(entry.raw, option.kind))
            except argparse.ArgumentTypeError as error:
                report(entry.place, f"[run]: {entry.key}: {error}")
    if options.get("crop_border") and options.get("inner_size"):
        text = "[run]: crop-border and inner-size are two ways to say how pictures are cropped"
        report(section.place, text, expected="one of them")
    return options


def _text(value: Any, kind: Kind) -> str:
    """Return a value of a file as it is written on the command line; raises ``ArgumentTypeError``."""
    if isinstance(value, list) and all(isinstance(item, str | int) and not isinstance(item, bool) for item in value):
        return ",".join(map(str, value))
    if isinstance(value, bool) and kind is ZERO_ONE:
        return str(int(value))
    if value is True and kind.alone is not None:
        return str(kind.alone)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise argparse.ArgumentTypeError(f"{value!r} is not {kind.name}")
