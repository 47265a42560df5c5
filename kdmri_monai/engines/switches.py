"""Switches as they come from a command line."""

_ON, _OFF = {"true", "yes", "on", "1"}, {"false", "no", "off", "0", "none", ""}


def switched_on(value: object) -> bool:
    """Whether a switch is on, given as a boolean or as a word: MONAI's command line passes ``true`` as text.

    Raises:
        ValueError: The word is neither of the two.
    """
    word = str(value).strip().lower()
    if word in _ON | _OFF:
        return word in _ON
    raise ValueError(f"{value!r} is no switch: use true or false")
