"""What to look for, in every form that it may take."""

from __future__ import annotations

import base64
import json
import os
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
    def of(cls, texts: Mapping[str, str], binary: Mapping[str, bytes] | None = None) -> Needles:
        """Texts in all their forms; ``binary`` as it is (for instance the middle of a compressed file)."""
        forms = {form: name for name, text in texts.items() for form in _forms(text)}
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
