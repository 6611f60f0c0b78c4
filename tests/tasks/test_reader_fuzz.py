"""Any bytes are examples, or a `DataError` with file and line."""

import json

from helpers import record
from hypothesis import given, settings
from hypothesis import strategies as st

from maml_en_llm import DataError
from maml_en_llm.tasks import read_examples

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
HALVES = st.text(st.characters(codec=None), max_size=20)
KEYS = ("task", "input", "output", "options")
CHANGED = st.dictionaries(st.sampled_from(KEYS), VALUES | HALVES, max_size=3)
LINES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(str.encode),
    VALUES.map(lambda value: json.dumps(value).encode()),
    CHANGED.map(lambda changes: json.dumps(record() | changes).encode()),
)


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(st.lists(LINES, max_size=3))
def test_any_bytes(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(b"\n".join(lines))
    try:
        examples = read_examples(path)
    except DataError as error:
        message = str(error)
        assert message.startswith(f"{path}:") and "expected" in message
        assert len(message) - len(str(path)) < 500
    else:
        for example in examples:
            assert isinstance(example.input, str) and example.output.strip()
            assert not example.options or example.output in example.options
            "".join([example.input, example.output, *example.options]).encode()
