"""What a file writes out of settings, of layers and of training: unknown words and impossible values, at their place.

Left out: what expressions, ranges and defines come to. Those, and settings that do not go together, are judged with the
candidate; ``nas space check`` says how many fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from nas.space.grammar.spot import Spot
from nas.space.words import forms_in, is_layer_list, mistaken_form

if TYPE_CHECKING:
    from nas.space.grammar.read import Reader


USUAL = "usual"  # in place of a range's [low, high]: the one that suits the setting


class KnownLayer(Protocol):
    """All that is to be known of a layer here: what it may be given (an entry's keys, or its one ``main`` value)."""

    @property
    def main(self) -> str: ...

    def setting_names(self) -> Collection[str]: ...

    def wrong_value(self, setting: str, value: Any) -> str: ...


class KnownSection(Protocol):
    """All that is to be known of a mapping of settings of which some are mappings again."""

    def setting_names(self) -> Collection[str]: ...

    def within(self, setting: str) -> KnownSection | None: ...  # what is known of its mapping; None: it can be none

    def wrong_value(self, setting: str, value: Any) -> str: ...

    def usual_range(self, setting: str) -> tuple[float, float, bool] | None: ...  # low, high, log; of no others: None


def with_usual_ranges(data: Any, section: KnownSection) -> Any:
    """A copy of a space in which each ``{float: usual}`` of a setting is its range in numbers.

    So a journal holds numbers, and means the same where a later version's usual ranges differ. Where none is known the
    word stays, for the reader to refuse.
    """
    given = data.get("hyperparameters") if isinstance(data, dict) else None
    return {**data, "hyperparameters": _filled_in(given, section)} if isinstance(given, dict) else data


def _filled_in(raw: Any, section: KnownSection | None) -> Any:
    """``raw`` is a mapping of the section's settings, or a choice of these."""
    if not isinstance(raw, dict):
        return raw
    filled = dict(raw)
    for name, value in raw.items():
        if name == "choice" and isinstance(value, list):
            filled[name] = [_filled_in(option, section) for option in value]
        elif section and _is_usual(value) and (usual := section.usual_range(name)):
            low, high, log = usual
            filled[name] = {**({"log": True} if log and "step" not in value else {}), **value, "float": [low, high]}
        elif section and isinstance(value, dict):
            # Of a setting that is a choice of numbers, the ranges among its options are that setting's.
            inner = section.within(name)
            filled[name] = _filled_in(value, inner) if inner else _filled_options(value, section, name)
    return filled


def _filled_options(raw: dict[str, Any], section: KnownSection, name: str) -> dict[str, Any]:
    options = raw.get("choice")
    if not isinstance(options, list):
        return raw
    return {**raw, "choice": [_filled_in({name: option}, section)[name] for option in options]}


def _is_usual(value: Any) -> bool:
    return isinstance(value, dict) and value.get("float") == USUAL


def check_section(reader: Reader, section: KnownSection, raw: dict[str, Any], spot: Spot, of: str) -> None:
    """``raw`` is a mapping of settings, of which each may be a choice."""
    names = section.setting_names()
    reader.keys(raw, spot, names, of)
    for setting in [name for name in raw if name in names]:
        inner = section.within(setting)
        for given, here in _options(raw[setting], spot.key(setting)):
            value = given
            if isinstance(given, dict):  # with its settings left out, which are judged one by one
                value = {name: {} for name in given if inner and inner.within(name)}
                if inner:
                    check_section(reader, inner, given, here, f"`{setting}`")
                    if not all(name in inner.setting_names() for name in given):
                        continue
            elif not _is_plain(given):
                continue
            if message := section.wrong_value(setting, value):
                reader.wrong(here, message)


def check_settings(reader: Reader, name: str, kind: KnownLayer, raw: Any, spot: Spot) -> None:
    """``raw`` stands below the layer's ``name``: a mapping of settings, the main value alone, or a choice of these."""
    for given, here in _options(raw, spot):
        if isinstance(given, dict):
            reader.keys(given, here, kind.setting_names(), f"the layer '{name}'")
            for setting, value in given.items():
                _check_value(reader, kind, setting, value, here.key(setting))
        elif kind.main and given is not None and not is_layer_list(given):
            _check_value(reader, kind, kind.main, given, here)


def _check_value(reader: Reader, kind: KnownLayer, setting: str, raw: Any, spot: Spot) -> None:
    for value, here in _options(raw, spot):
        if _is_plain(value) and (message := kind.wrong_value(setting, value)):
            reader.wrong(here, message)


def _options(raw: Any, spot: Spot) -> Iterator[tuple[Any, Spot]]:
    """``raw`` itself, or what it is chosen from; nothing of other forms (nor of mistaken ones, which are told so)."""
    if not forms_in(raw) and not mistaken_form(raw):
        yield raw, spot
    elif isinstance(raw.get("choice"), list):
        for i, option in enumerate(raw["choice"]):
            yield from _options(option, spot.key("choice").key(i))


def _is_plain(value: Any) -> bool:
    """Whether this is a value as a candidate will have it: a scalar, or a list of them, without expressions."""
    if isinstance(value, list):
        return bool(value) and all(not isinstance(item, list) and _is_plain(item) for item in value)
    return not isinstance(value, dict) and not (isinstance(value, str) and value.startswith("="))
