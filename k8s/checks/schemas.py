"""Strict validation: Kubernetes' own kinds by kubernetes-validate, custom resources by k8s/schemas."""

import json
from pathlib import Path

import jsonschema
import kubernetes_validate

# The newest release, and the oldest that has all that is used here (preStop.sleep is on by default since 1.30).
RELEASES = ("1.37", "1.30")
FOLDER = Path(__file__).resolve().parents[1] / "schemas"


def strict(schema):
    """An OpenAPI structural schema as JSON Schema that refuses what it does not know."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: {name: strict(value) for name, value in part.items()} if key == "properties" else strict(part) for key, part in schema.items()}
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("type", None)
        made.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    open_ended = made.pop("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in made and "additionalProperties" not in made and not open_ended:
        made["additionalProperties"] = False
    return made


def custom():
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        kind = json.loads(path.read_text(encoding="utf-8"))
        schema = strict(kind["schema"])
        schema["properties"] |= {"apiVersion": {"const": kind["apiVersion"]}, "kind": {"const": kind["kind"]}, "metadata": {"type": "object", "required": ["name"]}}
        schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"})
        found[kind["kind"]] = jsonschema.Draft202012Validator(schema)
    return found


CUSTOM = custom()


def problems(doc):
    """Sentences about one object; none when it is valid."""
    title = f"{doc.get('kind')} {doc.get('metadata', {}).get('name')}"
    if doc.get("kind") in CUSTOM:
        for error in CUSTOM[doc["kind"]].iter_errors(doc):
            yield f"{title}: {'.'.join(str(part) for part in error.absolute_path)}: {error.message[:200]}"
        return
    for release in RELEASES:
        try:
            kubernetes_validate.validate(doc, release, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{title}: Kubernetes {release}: {'.'.join(str(part) for part in error.path)}: {error.message[:200]}"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{title}: no schema for {doc.get('apiVersion')} in Kubernetes {release}"
