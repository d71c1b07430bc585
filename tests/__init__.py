"""The tests: `unit` needs no broker of its own, `http` drives the real thing; `support` is shared by them."""

import pytest

pytest.register_assert_rewrite("tests.support")
