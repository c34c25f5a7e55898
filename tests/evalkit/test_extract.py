"""What a model said becomes an object or a program, or nothing."""

import time

import pytest

from evalkit.extract import extract_json, extract_program, repair_json


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": 1}}',
        'Here it is:\n```json\n{"a": {"b": 1}}\n```\nDone.',
        'Sure! {"a": {"b": 1}} That is all.',
        'A set {x} in prose, then {"a": {"b": 1}}',
        '```\n{"a": {"b": 1}}\n```',
        'First ```python\nx\n```\nthen\n```json\n{"a": {"b": 1}}\n```',
    ],
)
def test_finds_the_object(text):
    assert extract_json(text) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no object",
        "[1, 2]",
        '{"a": {"b": 1}, "c": [1, ',
        '```json\n{"a": {"b": 1}, "c": "',
        "{x} {y}",
        '{"a": ' * 5000,
        "{" * 20000,
    ],
)
def test_finds_nothing(text):
    assert extract_json(text) is None


def test_code_with_fences_inside_an_object_survives():
    assert extract_json('```json\n{"doc": "use ```py``` here"}\n```') == {"doc": "use ```py``` here"}


def test_program_is_the_last_block_that_defines_the_entry_point():
    text = "```python\ndef f():\n    return 1\n```\nwait:\n```python\ndef f():\n    return 2\n```\n```\nf()\n```"
    assert extract_program(text, "f") == "def f():\n    return 2\n"


@pytest.mark.parametrize(
    "text",
    [
        "````\ndef f():\n    return 1\n````",
        "````python\ndef f():\n    return 1\n```",
        "```\r\ndef f():\r\n    return 1\r\n```\r\n",
        "1. So:\n\n   ```python\n   def f():\n       return 1\n   ```\n\n2. Done.",
        "- So:\n\t```python\n\tdef f():\n\t    return 1\n\t```",
        "      ```python\n      def f():\n          return 1",
        "    ```python\ndef f():\n    return 1\n    ```",
        "```python `f`\ndef f():\n    return 1\n```",
        "Solution\n~~~~~~~~\n```python\ndef f():\n    return 1\n```",
        "~~~ so ~~~\n```python\ndef f():\n    return 1\n```",
        "Use ```f()``` so:\n```\ndef f():\n    return 1\n```",
    ],
)
def test_program_in_fences_of_every_kind(text: str):
    assert extract_program(text, "f").replace("\r", "") == "def f():\n    return 1\n"


def test_what_looks_like_a_fence_inside_a_program_is_none():
    bare = 'def f():\n    """Gives.\n\n    Notes\n    ~~~~~\n    one\n    ~~~~~\n    """\n    return 1\n'
    assert extract_program(bare, "f") == bare
    inner = 'def f():\n    return """\n```\n1\n```\n"""\n'
    assert extract_program(f"````python\n{inner}````", "f") == inner


def test_a_block_keeps_its_lines_and_where_it_stands():
    spaces = "def f():\n    a = 1\n    \n    return a\n"
    assert extract_program(f"```\n{spaces}```", "f") == spaces
    body = "    a = 1\n    return a\n"  # it goes on from a prompt: its indentation is its own
    assert extract_program(f"    ```python\n{body}    ```", "f") == body


def test_hostile_fences_cost_no_more_than_reading_them():
    start = time.monotonic()
    texts = [
        "```aaaaaaaaaa\n" * 50_000,
        "".join("`" * n + "\n" for n in range(3, 1000)),
        "   ```\n" + " " * 50_000 + "x",
    ]
    for text in texts:
        extract_json(text)
        extract_program(text, "f")
    assert time.monotonic() - start < 10


def test_program_without_fences_and_with_an_open_one():
    assert extract_program("def f():\n    pass", "f") == "def f():\n    pass\n"
    assert extract_program("Here:\n```python\ndef f():\n    return (", "f") == "def f():\n    return (\n"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "line\nbreak", "b": [1, 2,],}',
        'Here it is:\n```json\n{"a": "line\nbreak", "b": [1, 2]}\n```\nEnjoy!',
        "{'a': 'line\\nbreak', 'b': [1, 2]}",
    ],
)
def test_what_is_nearly_json_is_mended(text: str) -> None:
    assert extract_json(text) is None or "line" in text
    assert repair_json(text) == {"a": "line\nbreak", "b": [1, 2]}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "begun and not',
        '{"a": [1, 2',
        '{"prompt": "x", "tests": ["assert f(1) == 1", "assert f(2',
        "{'a': __import__('os').getcwd()}",
        "{a: 1}",
        '{"a": ",}"',
        "no object",
        "[1, 2,]",
        "{" * 5000,
    ],
)
def test_what_is_missing_is_not_made_up(text: str) -> None:
    assert repair_json(text) is None


def test_commas_in_strings_stay() -> None:
    assert repair_json('{"a": "1,}", "b": ",]",}') == {"a": "1,}", "b": ",]"}
