"""What to look for, in every form that it may take."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

VARIABLE = "LEAK_NEEDLES"
"""The environment tells a child what to look for: on a disk the list would be found itself."""


@dataclass(frozen=True)
class Needles:
    """{form as bytes: name of the canary}."""

    forms: Mapping[bytes, str]

    @classmethod
    def of(
        cls,
        texts: Mapping[str, str],
        binary: Mapping[str, bytes] | None = None,
        places: Mapping[str, tuple[str, str]] | None = None,
    ) -> Needles:
        """Texts in all their forms; ``binary`` as it is (for instance the middle of a compressed file).

        ``places`` are coordinates, of which each number by itself is looked for, as text and as a computer keeps it.
        """
        forms = {form: name for name, text in texts.items() for form in _forms(text)}
        forms.update({form: name for name, pair in (places or {}).items() for form in _forms_of_place(*pair)})
        return cls({**forms, **{data: name for name, data in (binary or {}).items()}})

    @classmethod
    def from_environment(cls) -> Needles:
        return cls({bytes.fromhex(form): name for form, name in json.loads(os.environ[VARIABLE]).items()})

    def to_variable(self) -> str:
        return json.dumps({form.hex(): name for form, name in self.forms.items()})

    def found_in(self, data: bytes | bytearray) -> set[str]:
        """Names of the canaries that the bytes hold."""
        return {name for form, name in self.forms.items() if form in data}


def _forms(text: str) -> Iterable[bytes]:
    """As text, in URLs and JSON, in UTF-16, in hexadecimal, and in base64 at each of three offsets."""
    plain = text.encode()
    yield from {plain, quote(text, safe="").encode(), quote_plus(text).encode(), json.dumps(text)[1:-1].encode()}
    yield text.encode("utf-16-le")
    yield plain.hex().encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + plain)
        yield encoded[4 * (offset > 0) + 4 : -4]


def _forms_of_place(latitude: str, longitude: str) -> Iterable[bytes]:
    """Each number without its sign, whole and to five decimals (a metre), and as a double of either byte order.

    Four bytes stand in any large file by chance: single precision is looked for where two numbers stand together, as
    in an array of rows or of one column (the rows of the canary participants are all at the same place).
    """
    for text in (latitude, longitude):
        digits = text.lstrip("-")
        yield from _forms(digits)
        short = digits[: digits.index(".") + 6]
        yield from (short.encode(), short.encode("utf-16-le"), short.encode().hex().encode())
        yield from (struct.pack("<d", float(text)), struct.pack(">d", float(text)))
    lat, lon = float(latitude), float(longitude)
    for pair in ((lat, lon), (lat, lat), (lon, lon)):
        yield struct.pack("<2f", *pair)
