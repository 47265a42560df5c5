"""The definition of a student for other laboratories: targets that they have, plain values, no references."""

from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.config_item import ComponentLocator, ConfigItem

STOCK = ("monai.", "torch.")
"""Where the targets of a packed network may be defined."""

OWN = "kdmri_monai.networks."
"""Where they may be defined for laboratories that have this package too."""

PROGRAM = {
    "_target_": "torch.jit.load",
    "f": "$os.path.join(@bundle_root, 'models', 'model.ts')",
    "map_location": "cpu",
}
"""A network that is the exported program itself."""


class NotStockError(ValueError):
    """A network that its receivers could not build."""


def stock_definition(config: ConfigParser, name: str = "network_def", with_package: bool = False) -> dict[str, Any]:
    """The definition of a network with every reference, macro and expression replaced by its value.

    Args:
        config: Configuration of a run; expressions in the definition are evaluated.
        name: Id of the network.
        with_package: Whether networks of this package are allowed beside those of MONAI and torch.

    Returns:
        ``_target_`` and arguments, JSON values only.

    Raises:
        NotStockError: A target outside ``STOCK``, and outside ``OWN`` with the package, or a value that JSON cannot
            hold; it is named.
    """
    definition = _plain(config.get_parsed_content(name, instantiate=False), name)
    if not isinstance(definition, dict) or "_target_" not in definition:
        raise NotStockError(f"{name} is no component with a _target_")
    foreign = {target for target in _targets(definition) if not is_stock(target)}
    own = {target for target in foreign if target.startswith(OWN)}
    if foreign - own or (own and not with_package):
        way = "" if foreign - own or with_package else "--with-package packs it for those who have this package, "
        raise NotStockError(
            f"{name} needs {', '.join(sorted(foreign))}, which a laboratory with MONAI alone does not have; {way}"
            "--program packs the exported program in place of the configuration"
        )
    return definition


def needs_package(definition: Mapping[str, Any]) -> bool:
    """Whether a packed definition names networks of this package."""
    return any(target.startswith(OWN) for target in _targets(definition))


def is_stock(target: str) -> bool:
    """Whether MONAI or torch defines a target, named with dots or as MONAI's short names."""
    if "." in target:
        return target.startswith(STOCK)
    return ComponentLocator().get_component_module_name(target) is not None


def _targets(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield str(tree["_target_"])
        for value in tree.values():
            yield from _targets(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _targets(value)


def _plain(value: Any, place: str) -> Any:
    """Items of MONAI's parser as JSON values."""
    if isinstance(value, ConfigItem):
        return _plain(value.get_config(), place)
    if isinstance(value, Mapping):
        return {str(key): _plain(part, f"{place}#{key}") for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, f"{place}#{number}") for number, part in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise NotStockError(f"{place} is {type(value).__name__}, which a configuration without code cannot hold")
