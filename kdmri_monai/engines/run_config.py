"""The configuration of a finished run, with what its command line had changed."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue  # type: ignore[import-untyped]  # what monai.bundle reads its own with
from monai.bundle import ConfigParser

from kdmri_monai.data.json_object import read_json_object
from kdmri_monai.engines.run_record import FILE

CONFIG = "config.json"

NOT_OVERRIDES = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}
"""Options of ``monai.bundle run`` itself; all others name ids of the configuration."""


def run_config(folder: str | PathLike[str]) -> ConfigParser:
    """The configuration by which a run was trained: ``config.json``, and the overrides that ``run.json`` remembers.

    What is parsed from it runs code that the configuration names, as ``monai.bundle`` does; open runs that you trust.

    Args:
        folder: Folder of a run that was started by ``python -m monai.bundle run``.

    Returns:
        A parser; ``image_size`` and ``classes`` are those of the run's record.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ValueError: They are not those of such a run.
    """
    folder = Path(folder)
    for name in (FILE, CONFIG):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}, which training by python -m monai.bundle run leaves: give the folder of a run"
            )
    record = read_json_object(folder / FILE)
    if not isinstance(record.get("command"), list) or not isinstance(record.get("settings"), dict):
        raise ValueError(f"{folder / FILE} is not the record of a run: it has no command or no settings")
    parser = ConfigParser(read_json_object(folder / CONFIG))
    parser.update(run_overrides(record["command"]))
    if "image_size" in record["settings"]:
        parser["image_size"] = record["settings"]["image_size"]
    classes = record.get("data", {}).get("classes")
    if classes is not None and "classes" in parser:
        parser["classes"] = classes  # as they were, wherever the datalist is now
    return parser


def run_overrides(command: Sequence[str]) -> dict[str, Any]:
    """Ids and their values that a command line of ``python -m monai.bundle run`` overrides, values read as Fire does.

    Args:
        command: The words, ``--id value`` or ``--id=value`` among them; a lone ``--id`` is True.

    Raises:
        ValueError: The command has an ``--args_file``, whose content is not in the record.
    """
    given = dict(_options(command))
    if "args_file" in given:
        raise ValueError("the run was started with --args_file, whose overrides were not recorded")
    return {name: value for name, value in given.items() if name not in NOT_OVERRIDES}


def _options(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for place, word in enumerate(words):
        if not word.startswith("--") or word == "--":
            continue
        name, mark, value = word[2:].partition("=")
        follower = words[place + 1] if place + 1 < len(words) else "--"
        if not mark and follower.startswith("--"):
            yield name.replace("-", "_"), True
        else:
            yield name.replace("-", "_"), DefaultParseValue(value if mark else follower)
