"""Bytes with something wrong: cut, flipped, overwritten, inserted, repeated."""

from hypothesis import strategies as st

# What parsers stumble over: NUL, signs, quotes, brackets, largest numbers.
TOKENS = (
    b"\x00",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x00\x00\x00\x00\x80",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b'"',
    b",",
    b";",
    b"{",
    b"[",
    b"-1",
    b"1e999",
    b"NaN",
    b"../",
)


def damaged(whole: bytes) -> st.SearchStrategy[tuple[str, bytes]]:
    """Draws what was done to some bytes, and what they are then."""
    size = len(whole)

    # Without arguments, which would be part of each message of hypothesis.
    @st.composite
    def draw_one(draw: st.DrawFn) -> tuple[str, bytes]:
        how = draw(st.sampled_from(sorted(_DAMAGES)))
        # Formats have what matters at their ends; fuzzing finds the middle.
        near = st.integers(0, min(300, size))
        place = draw(
            st.one_of(near, near.map(lambda n: size - n), st.integers(0, size))
        )
        return how, _DAMAGES[how](draw, whole, place)

    return draw_one()


def _flip(draw: st.DrawFn, whole: bytes, place: int) -> bytes:
    changed = bytearray(whole)
    for step in draw(st.lists(st.integers(0, 40), min_size=1, max_size=8)):
        if place + step < len(changed):
            changed[place + step] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def _overwrite(draw: st.DrawFn, whole: bytes, place: int) -> bytes:
    new = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=16)))
    return whole[:place] + new + whole[place + len(new) :]


def _insert(draw: st.DrawFn, whole: bytes, place: int) -> bytes:
    new = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=64)))
    return whole[:place] + new + whole[place:]


def _remove(draw: st.DrawFn, whole: bytes, place: int) -> bytes:
    return whole[:place] + whole[place + draw(st.integers(1, 64)) :]


def _repeat(draw: st.DrawFn, whole: bytes, place: int) -> bytes:
    part = whole[place : place + draw(st.integers(1, 512))]
    return whole[:place] + part * draw(st.integers(2, 5)) + whole[place:]


_DAMAGES = {
    "cut": lambda draw, whole, place: whole[:place],
    "flipped": _flip,
    "overwritten": _overwrite,
    "inserted": _insert,
    "removed": _remove,
    "repeated": _repeat,
}
