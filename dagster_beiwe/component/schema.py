"""The schema of the component: with it, ``dg check yaml`` names the field that is wrong, and its line."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from dagster_beiwe.automation.notices import Notices
from dagster_beiwe.component.fields import Deployment, StudyInYaml
from dagster_beiwe.definitions import Automation
from dagster_beiwe.streams import STREAM_GROUPS, STREAM_NAMES
from dagster_beiwe.studies.config import encryptions

_UNSET = "__DAGSTER_UNSET_DEFAULT__"


@cache
def precise_model(component: type[Any]) -> type[BaseModel]:
    """The model of the component, with a schema that says what each field means, lists its choices, and does not hide
    behind alternatives."""
    model = component.model()

    class Precise(model):  # type: ignore[misc, valid-type]
        @classmethod
        def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
            schema: dict[str, Any] = super().model_json_schema(*args, **options)
            _describe(schema, component)
            for part in (StudyInYaml, Deployment, Automation, Notices):
                _describe(schema["$defs"][part.model().__name__], part)
            fields = schema["$defs"][StudyInYaml.model().__name__]["properties"]
            fields["encryption"] |= {"anyOf": [{"enum": list(encryptions())}, {"type": "string"}]}
            for name in ("streams", "plain_streams", "quality_streams"):
                fields[name]["anyOf"][0]["items"] = _stream_schema()
            translation = schema["properties"]["translation"]
            translation["anyOf"] = [each for each in translation["anyOf"] if "$ref" in each] + [{"type": "string"}]
            fields["silent_groups"]["anyOf"][0]["propertyNames"] = {"enum": list(STREAM_GROUPS)}
            precise: dict[str, Any] = _precise(schema)
            return precise

    Precise.__name__ = model.__name__
    return Precise


def _describe(schema: dict[str, Any], part: type[BaseModel]) -> None:
    """Add the descriptions of a part's fields, which Dagster leaves out, and leave out the defaults that it adds."""
    for model in reversed(part.__mro__):  # a field that is declared again has the description of its first declaration
        for name, field in getattr(model, "model_fields", {}).items():
            if field.description:
                schema["properties"][name]["description"] = " ".join(field.description.replace("``", "`").split())
    for shown in schema["properties"].values():
        if shown.get("default") == _UNSET:
            del shown["default"]


def _precise(schema: Any) -> Any:
    """The schema without "this or text", as Dagster allows for templates (``{{ }}``): a validator cannot tell what is
    wrong in one of several alternatives."""
    if isinstance(schema, list):
        return [_precise(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _precise(value) for name, value in schema.items()}
    alternatives = found.get("anyOf", [])
    if len(alternatives) == 2 and alternatives[1] == {"type": "string"} and _has_parts(alternatives[0]):
        del found["anyOf"]
        found |= {"if": {"type": "string", "pattern": r"\{\{"}, "else": alternatives[0]}
    return found


def _has_parts(schema: dict[str, Any]) -> bool:
    return bool({"$ref", "enum"} & schema.keys()) or schema.get("type") in ("array", "object")


def _stream_schema() -> dict[str, Any]:
    """A stream's name: one of the catalog or one of the server's own, but none that is one typing error away from the
    catalog's."""
    known = list(STREAM_NAMES)
    return {
        "type": "string",
        "examples": known,
        "allOf": [{"if": {"anyOf": _near(name), "not": {"enum": known}}, "then": {"const": name}} for name in known],
    }


def _near(name: str) -> list[dict[str, str]]:
    """Patterns of a name with a letter changed, left out, added or swapped, with or without its underscores."""
    letters = ["[_ -]?" if letter == "_" else letter for letter in name]
    other = ".{0,2}" if len(name) > 4 else ".?"
    changed = ["".join((*letters[:at], other, *letters[at + 1 :])) for at in range(len(letters))]
    swapped = [
        "".join((*letters[:at], letters[at + 1], letters[at], *letters[at + 2 :])) for at in range(len(letters) - 1)
    ]
    return [{"pattern": f"^{each}$"} for each in (*changed, *swapped)]
