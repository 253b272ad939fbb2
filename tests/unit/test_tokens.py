"""Page tokens: what this server gave for this request, and nothing else."""

import base64
from string import ascii_letters, digits

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import InvalidArgument
from router.tokens import Tokens

KEY = bytes(range(32))
TOKENS = Tokens(KEY)
REQUEST = (b"List", b"prefix", b"0123456789abcdef", b"")
# Their lengths differ, and so do the bits of their last characters that stand for nothing.
GIVEN = [TOKENS.write(b"the last id"[:length], *REQUEST) for length in (9, 10, 11)]

lasts = st.binary(max_size=40)
requests = st.lists(st.binary(max_size=6), max_size=4).map(tuple)


def refused(token: str, *request: bytes) -> bool:
    try:
        TOKENS.read(token, *request)
    except InvalidArgument as error:
        return "page token" in str(error)
    return False


@given(last=lasts, request=requests)
def test_a_token_comes_back_as_the_last_entry_of_its_page(
    last: bytes, request: tuple[bytes, ...]
) -> None:
    token = TOKENS.write(last, *request)
    assert TOKENS.read(token, *request) == last
    # It can stand in a URL, and is the same after a restart.
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")
    assert Tokens(KEY).write(last, *request) == token


@given(last=lasts, request=requests, other=requests)
@example(last=b"", request=(b"a", b"b"), other=(b"ab",))
@example(last=b"", request=(b"a", b""), other=(b"a",))
@example(last=b"b", request=(b"a",), other=(b"a", b"b"))
def test_a_token_of_another_request_is_refused(
    last: bytes, request: tuple[bytes, ...], other: tuple[bytes, ...]
) -> None:
    assert refused(TOKENS.write(last, *request), *other) == (request != other)


def test_a_token_of_another_server_is_refused() -> None:
    assert refused(Tokens(KEY[1:]).write(b"the last id", *REQUEST), *REQUEST)


@pytest.mark.parametrize("token", GIVEN)
def test_a_token_with_any_bit_changed_is_refused(token: str) -> None:
    decoded = bytearray(base64.urlsafe_b64decode(token))
    for bit in range(8 * len(decoded)):
        decoded[bit >> 3] ^= 1 << (bit & 7)
        assert refused(base64.urlsafe_b64encode(decoded).decode(), *REQUEST)
        decoded[bit >> 3] ^= 1 << (bit & 7)
    assert not refused(base64.urlsafe_b64encode(decoded).decode(), *REQUEST)


@pytest.mark.parametrize("token", GIVEN)
def test_a_token_with_any_character_changed_is_refused(token: str) -> None:
    for place, own in enumerate(token):
        for other in {*ascii_letters, *digits, *"-_+/= .ä"} - {own}:
            assert refused(token[:place] + other + token[place + 1 :], *REQUEST)


@pytest.mark.parametrize("token", GIVEN)
def test_a_token_that_is_cut_or_longer_is_refused(token: str) -> None:
    for length in range(len(token)):
        assert refused(token[:length], *REQUEST)
    for more in ("A", "=", "====", "\n", token):
        assert refused(token + more, *REQUEST) and refused(more + token, *REQUEST)


@given(st.text(max_size=80))
def test_any_text_is_refused(text: str) -> None:
    assert refused(text, *REQUEST)


@given(st.binary(max_size=80), st.booleans())
def test_anything_that_looks_like_a_token_is_refused(content: bytes, padded: bool) -> None:
    forged = base64.urlsafe_b64encode(content).decode()
    assert refused(forged if padded else forged.rstrip("="), *REQUEST)


def test_what_is_said_of_a_token_is_short_and_says_what_to_do() -> None:
    with pytest.raises(InvalidArgument, match="start without a token") as told:
        TOKENS.read("x" * 100_000, *REQUEST)
    assert len(str(told.value)) < 300
