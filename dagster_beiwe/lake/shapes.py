"""Read JSON into declared types, strictly: exactly these fields and types, or ``ShapeError``.

A right MAC does not prove a document's shape: without a passphrase anybody can make one, and so can a newer version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ShapeError(ValueError):
    """A document is not of the form that is expected. Its message names no value."""


def read_as(kind: type[T], value: object) -> T:
    """``value``, as JSON gives it, as a ``kind``: text, whole numbers from 0 on, truth, and what is made of them.

    Known are dataclasses, ``dict`` with text as keys, ``tuple`` (of any length, or with a type for each entry),
    ``Literal`` texts, and ``| None``.
    """
    declared: Any = kind
    result: T = _reader(declared)(value)
    return result


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is str:
        return _text
    if kind is int:
        return _number
    if kind is bool:
        return lambda value: _of(bool, value)
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if origin is Literal:
        return lambda value: _one_of(parts, value)
    if origin is UnionType and NoneType in parts:
        (other,) = (_reader(part) for part in parts if part is not NoneType)
        return lambda value: None if value is None else other(value)
    if origin is tuple and parts[-1] is ...:
        entry = _reader(parts[0])
        return lambda value: tuple(map(entry, _of(list, value)))
    if origin is tuple:
        entries = [_reader(part) for part in parts]
        return lambda value: tuple(each(one) for each, one in zip(entries, _of(list, value), strict=True))
    if origin is dict:
        inner = _reader(parts[1])
        return lambda value: {_text(key): inner(each) for key, each in _of(dict, value).items()}
    raise TypeError(f"Expected a type that JSON can be read as, got {kind!r}.")


def _dataclass_reader(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {each.name: _reader(hints[each.name]) for each in fields(kind)}
    needed = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}

    def read(value: Any) -> Any:
        entry = _of(dict, value)
        if not needed <= entry.keys() <= readers.keys():
            raise ShapeError(f"not the fields of {kind.__name__}")
        return kind(**{name: readers[name](each) for name, each in entry.items()})

    return read


def _of(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise ShapeError(f"no {kind.__name__}")
    return value


def _text(value: object) -> str:
    text = _of(str, value)
    if not text.isascii():
        text.encode()  # half a surrogate pair can't be; that is a ValueError, too
    return text


def _one_of(texts: tuple[str, ...], value: object) -> str:
    if _of(str, value) not in texts:
        raise ShapeError("none of the words that are known")
    return str(value)


def _number(value: object) -> int:
    number = _of(int, value)
    if number < 0:
        raise ShapeError("a negative number")
    return number
