#!/usr/bin/env python3
"""api/routes.def and api/openapi.yaml name the same operations, and each path's parameters are declared.

usage: check_routes.py [--list]
"""
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROUTE = re.compile(r'^ROUTE\((\w+), "([^"]+)", (\w+), (\w+), (\w+), ([^)]+)\)', re.M)
METHODS = {"get", "put", "post", "delete", "patch"}
SCOPES = {"NONE", "PUBLIC", "READ", "INFER", "WRITE", "ADMIN"}


def routes():
    text = (ROOT / "api/routes.def").read_text()
    found = ROUTE.findall(text)
    lines = [line for line in text.splitlines() if line.startswith("ROUTE")]
    if len(lines) != len(found):
        sys.exit(f"api/routes.def: {len(lines) - len(found)} lines are not of the form ROUTE(…) on one line")
    return found


def resolve(document, node):
    while isinstance(node, dict) and "$ref" in node:
        target = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def check_operation(document, path, method, item, operation):
    where = f"openapi.yaml: {method.upper()} {path}"
    parameters = [resolve(document, p) for p in item.get("parameters", []) + operation.get("parameters", [])]
    declared = {p["name"] for p in parameters if p["in"] == "path"}
    wanted = set(re.findall(r"\{(\w+)\}", path))
    if declared != wanted:
        yield f"{where}: path parameters {sorted(declared)}, the path has {sorted(wanted)}"
    if not operation.get("responses"):
        yield f"{where}: no responses"
    if not operation.get("summary"):
        yield f"{where}: no summary"
    for response in operation.get("responses", {}).values():
        resolve(document, response)


def main():
    document = yaml.safe_load((ROOT / "api/openapi.yaml").read_text())
    ours, faults, seen = set(), [], set()
    for method, pattern, handler, scope, body, sink in routes():
        key = (method.lower(), pattern.replace("*}", "}"))
        if key in seen:
            faults.append(f"routes.def: {method} {pattern} stands there twice")
        seen.add(key)
        if scope not in SCOPES:
            faults.append(f"routes.def: {method} {pattern}: scope {scope}")
        if (body == "SINK") != (sink != "NULL"):
            faults.append(f"routes.def: {method} {pattern}: a sink goes with BODY SINK")
        ours.add(key)
    theirs, ids = set(), {}
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            theirs.add((method, path))
            faults += check_operation(document, path, method, item, item[method])
            name = item[method].get("operationId")
            if name in ids and name:
                faults.append(f"openapi.yaml: operationId {name} at {ids[name]} and {path}")
            ids[name] = path
    for method, path in sorted(ours - theirs, key=lambda x: x[1]):
        faults.append(f"{method.upper()} {path} is in routes.def, not in openapi.yaml")
    for method, path in sorted(theirs - ours, key=lambda x: x[1]):
        faults.append(f"{method.upper()} {path} is in openapi.yaml, not in routes.def")
    for fault in faults:
        print(fault)
    if "--list" in sys.argv:
        for method, path in sorted(ours, key=lambda x: x[1]):
            print(f"{method.upper():7}{path}")
    print(f"{len(ours)} operations, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
