"""Checks objects (a JSON list of [name, object] on standard input) against the OpenAPI schemas of
the Kubernetes versions named, without tolerance for unknown fields. Prints what is wrong."""

import json
import sys

import kubernetes_validate

wrong = 0
for name, thing in json.load(sys.stdin):
    for version in sys.argv[1:]:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong += 1
            path = ".".join(str(part) for part in error.path)
            print(f"{name}: Kubernetes {version}: {path}: {error.message}")
sys.exit(min(wrong, 1))
