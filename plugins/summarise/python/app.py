"""Summarises a JSON document. `about.py` is written by scripts/languages/build.sh."""
import json

from about import INPUT_SCHEMA, NAME, OUTPUT_SCHEMA
from wit_world import exports
from wit_world.exports.step import Descriptor, StepType

TYPES = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}


class Step(exports.Step):
    def describe(self):
        summary = "Counts values by type and member names, and finds the depth and the longest string."
        step = StepType("summarise", summary, INPUT_SCHEMA, OUTPUT_SCHEMA)
        return Descriptor(NAME, "0.1.0", "Summarises a JSON document.", [step])

    def run(self, call):
        types = dict.fromkeys(TYPES.values(), 0)
        names = set()
        longest = 0

        def look(value):
            """Counts a value and what is in it, and returns how deep it is."""
            nonlocal longest
            types[TYPES[type(value)]] += 1
            inner = []
            if isinstance(value, str):
                longest = max(longest, len(value))
            elif isinstance(value, list):
                inner = value
            elif isinstance(value, dict):
                names.update(value)
                inner = value.values()
            return 1 + max(map(look, inner), default=0)

        depth = look(json.loads(call.input)["document"])
        return json.dumps({"types": types, "depth": depth, "keys": len(names), "longest_string": longest})
