"""A chapter's parameters as a form: Colab shows a field for each of them."""

import ast
import re

# values to choose from; tests/test_plain.py compares them with the package's
CHOICES = {
    "preset": ("smoke", "cpu", "mini", "colab", "paper"),
    "mode": ("direct", "channel"),
    "moments": ("shared", "shared-frozen", "fresh"),
    "separator": ("newline", "space"),
}
KINDS = {str: "string", int: "integer", float: "number"}
QUOTES = 'Texts of fields that begin with None are typed in quotes: "gpt2".'
LINE = re.compile(r"(?P<name>\w+) = (?P<value>.+?)  # (?P<about>.+)")


def form(source: str) -> str:
    """The parameters, each with what it means and the kind of its field.

    A value that may be of several kinds is typed as Python has it ("raw").
    """
    lines = ["# @title Parameters", f"# @markdown {QUOTES}"]
    for line in source.splitlines():
        found = LINE.fullmatch(line)
        if found is None:
            if not line.startswith("# "):
                raise SystemExit(
                    "parameters: expected lines of name = value  # meaning, "
                    f"found {line!r}"
                )
            lines.append(f"# @markdown {line[2:]}")
            continue
        name, value = found["name"], found["value"]
        lines.append(f"# @markdown **{name}**: {found['about']}")
        lines.append(f"{name} = {value}  # @param {field(name, value)}")
    return "\n".join(lines)


def field(name: str, value: str) -> str:
    """What Colab is told of a parameter whose default is ``value``."""
    if name in CHOICES:
        return "[" + ", ".join(f'"{choice}"' for choice in CHOICES[name]) + "]"
    kind = KINDS.get(type(ast.literal_eval(value)), "raw")
    return f'{{type:"{kind}"}}'
