"""Addresses without their credentials: nothing secret is left, and nothing else is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.names import name_fault, shown, without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.org/x.png?id=3&size=big#top", "https://a.org/x.png?id=3&size=big#top"),
        ("https://jane:pw@a.org/x", "https://…@a.org/x"),
        ("https://TOKEN@a.org", "https://…@a.org"),
        ("got 'http://u:p@ss@a.org/x@y': failed", "got 'http://…@a.org/x@y': failed"),
        ("mail me@a.org", "mail me@a.org"),
        ("the key=value of a table", "the key=value of a table"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


@pytest.mark.parametrize(
    "name",
    [
        "token", "access_token", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential",
        "X-Goog-Signature", "sig", "Signature", "api_key", "apiKey", "key", "password", "pwd",
        "client_secret", "auth", "authorization",
    ],
)  # fmt: skip
def test_a_secret_in_a_query_is_hidden_and_still_tells_addresses_apart(name: str) -> None:
    one, other = (without_credentials(f"https://a.org/x?n=1&{name}=s3cr{i}t&m=2") for i in "ab")
    assert "s3cr" not in one
    assert one != other
    assert one.startswith(f"https://a.org/x?n=1&{name}=…")
    assert one.endswith("&m=2")


@given(st.text(alphabet="abc:@.-_%", min_size=1))
def test_no_user_and_no_password_is_left(user: str) -> None:
    assert without_credentials(f"https://{user}@a.org/x") == "https://…@a.org/x"


@pytest.mark.parametrize("sign", ["\n", "\x7f", "\u202e", "\u202a", "\u2066", "\u2069"])
def test_signs_that_control_a_terminal_or_turn_its_text_are_refused_and_shown(sign: str) -> None:
    assert name_fault(f"cat{sign}gpj.png") == "the name holds control characters"
    assert shown(f"cat{sign}gpj").isprintable()
    assert shown(f"cat{sign}gpj").encode().decode("unicode_escape") == f"cat{sign}gpj"


@pytest.mark.parametrize(
    "name", ["\u05d7\u05ea\u05d5\u05dc", "a\u200fb", "\u0646\u06cc\u200c\u0646"]
)
def test_names_that_are_read_from_the_right_are_not(name: str) -> None:
    assert name_fault(name) is None
    assert shown(name) == name
