"""Header blocks are remembered by their bytes, and mean what a decoder without memory reads in them."""

from hpack import Decoder, HPACKError
from hypothesis import given
from hypothesis import strategies as st

from router.http2.headers import HeaderBlocks

PSEUDO = b"\x83\x86\x84"  # POST, http, /: of the static table


def literal(first: int, name: bytes, value: bytes) -> bytes:
    """A literal; `first` is 0x40 for one that goes into the table, 0 for one that does not."""
    return bytes((first, len(name))) + name + bytes((len(value),)) + value


def indexed(entry: int) -> bytes:
    """An entry of the dynamic table; 0 is the newest."""
    return bytes((0x80 | 62 + entry,))


# Few and long ones, so that they push each other out of the table of 4,096 bytes.
NAMES = st.sampled_from([b"a", b"b"])
VALUES = st.sampled_from([b"1", b"2", b"x" * 120])
PARTS = st.one_of(
    st.builds(literal, st.sampled_from([0x40, 0x00]), NAMES, VALUES),
    st.builds(indexed, st.integers(0, 1)),
    st.just(b"\x20"),  # the table is emptied
)


# Blocks that change the table, and blocks that say what is in it.
TELLING = [[literal(0x40, b"a", b"1")], [literal(0x40, b"b", b"2")], [indexed(0)], [indexed(1)]]


@given(
    blocks=st.lists(st.lists(PARTS, max_size=3), max_size=3).map(TELLING.__add__), data=st.data()
)
def test_a_block_means_what_it_does_to_a_decoder_without_a_memory(
    blocks: list[list[bytes]], data: st.DataObject
) -> None:
    reads, plain = HeaderBlocks(), Decoder()
    order = data.draw(st.lists(st.sampled_from(blocks), min_size=1, max_size=24))
    for parts in order:
        resized = [one for one in parts if one == b"\x20"]
        block = b"".join([*resized, PSEUDO, *(one for one in parts if one != b"\x20")])
        try:
            expected = dict(plain.decode(block, raw=True))
        except HPACKError:
            return  # an index that is not there: the connection ends here
        found = reads.request(block)
        fields = {name.encode(): value.encode() for name, value in found.fields.items()}
        assert fields == {n: v for n, v in expected.items() if not n.startswith(b":")}


def test_a_block_that_fills_the_table_fills_it_each_time_it_comes() -> None:
    reads = HeaderBlocks()
    adds = PSEUDO + literal(0x40, b"a", b"1")
    for _ in range(2):
        assert reads.request(adds).fields == {"a": "1"}
    assert reads.request(PSEUDO + indexed(1)).fields == {"a": "1"}


def test_a_block_is_read_once_while_the_table_stays_as_it_is() -> None:
    reads = HeaderBlocks()
    block = PSEUDO + literal(0x00, b"a", b"1")
    assert reads.request(block) is reads.request(block)
    reads.skip(PSEUDO + literal(0x40, b"b", b"2"))
    first = reads.request(PSEUDO + indexed(0))
    assert first.fields == {"b": "2"}
    reads.skip(PSEUDO + literal(0x40, b"c", b"3"))
    assert reads.request(PSEUDO + indexed(0)).fields == {"c": "3"}
