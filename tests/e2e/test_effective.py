"""What is accepted is effective: each key of the language, set, shows in `show --effective`, or is refused."""

import copy
import json
import subprocess
from datetime import date, timedelta

BASE = {
    "version": 1,
    "listeners": [{"name": "public", "address": "127.0.0.1:8443"}],
    "trusted_proxies": ["192.0.2.0/24"],
    "limits": {}, "timeouts": {}, "admin": {}, "log": {},
    "upstreams": {"api": {"endpoints": [{"address": "127.0.0.1:9000"}], "limits": {}, "timeouts": {},
                          "health": {"path": "/healthz"}}},
    "routes": [
        {"name": "r", "match": {"host": "a.example", "path": "/v1/**"}, "methods": ["GET", "POST"], "auth": "none",
         "upstream": "api", "body": {}, "headers": {}, "forward": {},
         "cors": {"origins": ["https://app.example.com"]}, "rate_limit": {"rate": "10/s", "classes": [{"name": "partners", "networks": ["198.51.100.0/24"], "rate": "20/s"}]},
         "concurrency": {"limit": 5},
         "rewrite": {"add_prefix": "/x"}},
        {"name": "fixed", "match": {"host": "a.example", "path": "/fixed"}, "methods": ["GET"], "auth": "none",
         "respond": {"status": 200}},
    ],
    "waivers": [
        {"rule": "csp-html", "on": "routes.r", "reason": "pages with their own policy", "owner": "a@b.example",
         "expires": str(date.today() + timedelta(days=100))},
    ],
}  # fmt: skip


class Tool:
    def __init__(self, program, folder):
        self.program, self.file = program, folder / "merlon.yaml"

    def run(self, config):
        """The values in force, or None and the findings."""
        self.file.write_text(json.dumps(config))
        self.file.chmod(0o640)
        ran = subprocess.run([self.program, "show", "-c", self.file, "--effective", "--format", "json"],
                             capture_output=True, text=True)  # fmt: skip
        if ran.returncode == 0:
            rows = json.loads(ran.stdout)["values"]
            return {row["place"]: row["value"] for row in rows}, ""
        assert ran.returncode == 1, ran.stderr
        return None, ran.stderr

    def posture(self):
        ran = subprocess.run([self.program, "audit", self.file, "--kind", "merlon", "--format", "json"],
                             capture_output=True, text=True)  # fmt: skip
        return json.loads(ran.stdout)["waivers"]


def resolve(schema, root):
    while "$ref" in schema:
        at = root
        for part in schema["$ref"].split("/")[1:]:
            at = at[part]
        schema = at
    return schema


def objects_of(schema, root):
    """The forms of a value that are mappings."""
    schema = resolve(schema, root)
    forms = schema.get("oneOf", []) + schema.get("anyOf", [])
    out = [schema] if "properties" in schema else []
    for form in forms:
        out += objects_of(form, root)
    return out


def values_of(schema, root):
    """Values that the schema lets through, unlike each other."""
    schema = resolve(schema, root)
    out = list(schema.get("examples", []))
    out += schema.get("enum", [])
    if "const" in schema:
        out.append(schema["const"])
    if schema.get("type") == "boolean":
        out += [True, False]
    if schema.get("type") == "integer":
        out += [schema.get("minimum", 1), schema.get("maximum", 2)]
    if schema.get("type") == "array":
        out += [[value] for value in values_of(schema.get("items", {}), root)]
    for form in schema.get("oneOf", []) + schema.get("anyOf", []):
        out += values_of(form, root)
    return out


def places(schema, value, root, path=()):
    """Each key that can stand in a mapping of the base: its path and its schema."""
    schema = resolve(schema, root)
    if isinstance(value, list):
        items = resolve(schema.get("items", {}), root)
        for index, item in enumerate(value):
            yield from places(items, item, root, (*path, index))
        return
    if not isinstance(value, dict):
        return
    for form in objects_of(schema, root):
        for key, below in form["properties"].items():
            yield (*path, key), below
            if key in value:
                yield from places(below, value[key], root, (*path, key))
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key in value:
            yield from places(extra, value[key], root, (*path, key))


def with_value(config, path, value):
    out = copy.deepcopy(config)
    at = out
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return out


def test_every_key_that_is_set_shows_or_is_refused(merlon_bin, tmp_path):
    ran = subprocess.run([merlon_bin, "schema"], capture_output=True, text=True, check=True)
    schema = json.loads(ran.stdout)
    tool = Tool(merlon_bin, tmp_path)
    before, why = tool.run(BASE)
    assert before is not None, why
    tool.base_posture = tool.posture()
    seen, silent, shown = set(), [], 0
    for path, below in places(schema, BASE, schema):
        if path in seen:
            continue
        seen.add(path)
        values = [*values_of(below, schema)[:4], "made-up"]
        if any(changes(tool, path, value, before) for value in values if base_value(path) != value):
            shown += 1
        else:
            silent.append(f"{path}: {values!r}")
    assert not silent, "\n".join(silent)
    assert len(seen) >= 80, seen


def base_value(path):
    at = BASE
    for step in path:
        if isinstance(at, dict) and step not in at:
            return None
        at = at[step]
    return at


def changes(tool, path, value, before):
    """Setting it is refused, at a place, or changes what is in force."""
    after, why = tool.run(with_value(BASE, path, value))
    if after is None:
        assert "merlon.yaml:" in why, f"{path}: refused without a place\n{why}"
        return True
    # Waivers are no values: the posture shows them.
    return tool.posture() != tool.base_posture if path[0] == "waivers" else after != before
