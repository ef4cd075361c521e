"""What is accepted is effective: each key of the language, set to another value that its schema allows,
changes what the gateway does, or is refused with a place.

That a value is shown (`show --effective`) is not enough. Either the posture or `explain` must say
something else, or a test must be named here that watches the key at work in a running gateway.
"""

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest
from effective_base import SETTLED, WATCHED, alternatives, base, bases, files, requests

# Hundreds of short runs: leaks at the end of each are looked for in the other tests of these commands.
HASTE = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=0"}


class Tool:
    def __init__(self, program, folder):
        self.program, self.file = program, folder / "merlon.yaml"

    def ask(self, *arguments, **options):
        return subprocess.run([self.program, *arguments], env=HASTE, capture_output=True, text=True, timeout=120,
                              **options)  # fmt: skip

    def shown(self, config):
        """The values in force, or None and the findings."""
        self.file.write_text(json.dumps(config))
        self.file.chmod(0o640)
        ran = self.ask("show", "-c", self.file, "--effective", "--format", "json")
        if ran.returncode == 0:
            rows = json.loads(ran.stdout)["values"]
            return {row["place"]: row["value"] for row in rows}, ""
        assert ran.returncode == 1, ran.stderr
        return None, ran.stderr

    def posture(self):
        audit = json.loads(self.ask("audit", self.file, "--kind", "merlon", "--format", "json").stdout)
        parts = ("exposure", "findings", "measures", "waivers", "certificates")
        return without_places({part: audit[part] for part in parts})

    def explained(self):
        """What `explain` says of requests that meet what it can tell of."""
        asked = "".join(json.dumps(each) + "\n" for each in requests())
        ran = self.ask("explain", "-c", self.file, "--batch", input=asked)
        assert ran.returncode in (0, 1, 2, 4), ran.stderr
        return ran.returncode, [without_places(json.loads(line)) for line in ran.stdout.splitlines()]

    def tells_otherwise(self, posture, explained):
        """Whether posture or explain say something else of the configuration that was shown last."""
        return self.posture() != posture or self.explained() != explained


def without_places(value):
    """All is on one line here, and what is set moves what stands behind it."""
    if isinstance(value, dict):
        return {key: without_places(v) for key, v in value.items() if key not in ("location", "at", "line")}
    return [without_places(v) for v in value] if isinstance(value, list) else value


def resolve(schema, root):
    """What a reference stands for, and its name; the root has none."""
    name = ""
    while "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        schema = root["$defs"][name]
    return schema, name


def forms_of(schema, root):
    """The forms of a value that are mappings, with their names."""
    schema, name = resolve(schema, root)
    out = [(schema, name)] if "properties" in schema else []
    for form in schema.get("oneOf", []) + schema.get("anyOf", []):
        out += forms_of(form, root)
    return out


def values_of(schema, root):
    """Values that the schema allows, unlike each other."""
    schema, _ = resolve(schema, root)
    out = [*schema.get("examples", []), *schema.get("enum", [])]
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
    """Each key that can stand in a mapping of `value`: its path, the names of mapping and key, its schema."""
    here, _ = resolve(schema, root)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(here.get("items", {}), item, root, (*path, index))
        return
    if not isinstance(value, dict):
        return
    forms = forms_of(schema, root)
    for form, name in forms:
        for key, below in form["properties"].items():
            yield (*path, key), (name, key), below
            if key in value:
                yield from places(below, value[key], root, (*path, key))
    extra = here.get("additionalProperties")
    if isinstance(extra, dict):
        for key in value:
            yield from places(extra, value[key], root, (*path, key))


def keys_of(schema):
    """All keys of the language, by the mapping that they stand in."""
    mappings = [("", schema), *schema["$defs"].items()]
    return {(name, key) for name, mapping in mappings for key in mapping.get("properties", {})}


def value_at(config, path):
    for step in path:
        if isinstance(config, dict) and step not in config:
            return None
        config = config[step]
    return config


def with_value(config, path, value):
    """`value` in its place; None: without the key."""
    out = copy.deepcopy(config)
    at = value_at(out, path[:-1])
    if value is None:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = value
    return out


@pytest.fixture(scope="module")
def language(merlon_bin):
    return json.loads(subprocess.run([merlon_bin, "schema"], capture_output=True, text=True, check=True).stdout)


def test_every_key_has_an_effect(merlon_bin, tmp_path, pki, language):
    tool = Tool(merlon_bin, tmp_path)
    files(tmp_path, pki)
    other = alternatives(tmp_path, pki)
    left, inert = keys_of(language) - set(SETTLED), {}
    for start in bases(tmp_path, pki):
        before, why = tool.shown(start)
        assert before is not None, why
        posture, explained = tool.posture(), tool.explained()
        names = {}
        for path, name, below in places(language, start, language):
            names[path] = name
            for value in (other.get(name) or values_of(below, language)) if name in left else ():
                if value == value_at(start, path):
                    continue
                after, why = tool.shown(with_value(start, path, value))
                if after is None:
                    inert[name] = f"{path} = {value!r}: {why}"
                    continue
                # Waivers are no values: the posture alone shows them.
                is_shown = after != before or path[0] == "waivers"
                if is_shown and (name in WATCHED or tool.tells_otherwise(posture, explained)):
                    # What is in a mapping is the effect of the mapping.
                    left -= {names[path[:n]] for n in range(1, len(path) + 1) if path[:n] in names}
                    break
                inert[name] = f"{path} = {value!r} changes nothing that is told"
    assert not left, "\n".join(f"{'.'.join(name)}: {inert.get(name, 'not reached')}" for name in sorted(left))


def test_what_is_settled_is_refused_with_a_place(merlon_bin, tmp_path, pki, language):
    """Keys of which the language knows one value only, or that must not be here twice."""
    assert set(SETTLED) <= keys_of(language)
    tool = Tool(merlon_bin, tmp_path)
    files(tmp_path, pki)
    start = base(tmp_path, pki)
    for path, value in SETTLED.values():
        after, why = tool.shown(with_value(start, path, value))
        assert after is None, path
        assert "merlon.yaml:" in why, path


def test_the_tests_that_watch_keys_exist_and_speak_of_them(language):
    folder = Path(__file__).parent
    assert set(WATCHED) <= keys_of(language)
    for (_, key), place in WATCHED.items():
        file, _, name = place.partition("::")
        text = (folder / file).read_text()
        assert f"def {name}(" in text, place
        assert key in text, f"{place} does not speak of {key}"
