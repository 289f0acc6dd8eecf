"""Holds custom resources (Prometheus operator, KEDA) to custom_resources.yaml, in which their fields are written down, and their names and labels to
Kubernetes' schema."""

from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

SCHEMAS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())


def _unique_keys(validator, keys, items, schema):
    """x-kubernetes-list-map-keys: the API server refuses two items with the same keys."""
    seen = [tuple(item.get(key) for key in keys) for item in items if isinstance(item, dict)]
    for keys_of in {k for k in seen if seen.count(k) > 1}:
        yield jsonschema.ValidationError(f"two items are called {keys_of}")


def _not_above(validator, names, spec, schema):
    low, high = (spec.get(name) for name in names)
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield jsonschema.ValidationError(f"{names[0]} {low} is above {names[1]} {high}")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator,
                                         {"x-kubernetes-list-map-keys": _unique_keys, "x-not-above": _not_above})


def is_custom(resource):
    return resource["apiVersion"].split("/")[0] in ("monitoring.coreos.com", "keda.sh")


def validate(resource, version):
    """Raises jsonschema.ValidationError, or KeyError for a kind without a schema."""
    schema = SCHEMAS[f"{resource['apiVersion']} {resource['kind']}"]
    if unknown := resource.keys() - {"apiVersion", "kind", "metadata", "spec"}:
        raise jsonschema.ValidationError(f"unknown fields {sorted(unknown)}")
    # Metadata is the same in all kinds: any kind that Kubernetes knows will do.
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "ConfigMap", "metadata": resource["metadata"]}, version, strict=True)
    Validator({**schema, "definitions": SCHEMAS["definitions"]}).validate(resource.get("spec"))
