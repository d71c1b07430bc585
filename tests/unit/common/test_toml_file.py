"""Files of the operator: what cannot be used is one line that names the file, however it was made."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import StartError
from common.toml_file import MAX_DEPTH, read_toml


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fanmail.toml"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[fanmail", "Expected"),
        ("port = " + "9" * 5000, "digits"),
        ("port = 0x" + "f" * 5000, "an integer has over 64 bits"),
        ("ports = [1, {a = 9223372036854775808}]", "an integer has over 64 bits"),
        ("a = " + "[" * 5000 + "]" * 5000, "nested more than"),
        ("a" + ".a" * 5000 + " = 1", "nested more than"),
        ("a = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH, "nested more than"),
    ],
)
def test_what_cannot_be_read_is_one_line(path: Path, text: str, reason: str) -> None:
    path.write_text(text)
    with pytest.raises(StartError) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"{path}: not TOML: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bytes_and_no_file_are_one_line_too(path: Path) -> None:
    with pytest.raises(StartError, match=r"fanmail\.toml: No such file"):
        read_toml(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(StartError, match="not TOML: 'utf-8' codec"):
        read_toml(path)


def test_what_is_as_deep_and_as_large_as_it_may_be_is_read(path: Path) -> None:
    depth = MAX_DEPTH - 2
    path.write_text("a = " + "[" * depth + "9223372036854775807" + "]" * depth)
    assert str(read_toml(path)["a"]).count("[") == depth
