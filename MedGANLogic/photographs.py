"""What a photograph's file says beside its pixels: whether it is whole, how deep its values are, and a note.

ITK reads and writes the pixels; it reads half of a JPEG in silence, stretches masks of one bit to 255, and writes no
note. Only bytes here: PNG (ISO/IEC 15948), TIFF 6.0, JPEG (ITU-T T.81).
"""

import struct
import zlib
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
#: PNG's kinds of pixels.
_GREY, _PALETTE = 0, 3
#: TIFF's field that says in words what a picture shows, and its type: ASCII.
_DESCRIPTION, _ASCII = 270, 2


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels.

    ``stretched``: ITK's values are so many times those of the file (greys of less than 8 bits). ``painted``: values
    are looked up in a palette. ``note``: what the file says in words, if anything.
    """

    stretched: int = 1
    painted: bool = False
    note: str = ""


def header_of(content: bytes) -> Header:
    """Return what a PNG, JPEG or TIFF file says beside its pixels. Raises ValueError where it is cut short or damaged.

    TIFF has nothing by which damage inside of it could be known.
    """
    if content.startswith(_PNG):
        return _of_png(content)
    if content.startswith(b"\xff\xd8"):
        if b"\xff\xd9" not in content[-1024:]:
            raise ValueError("the end of the picture is missing")
        return Header()
    if content[:4] in (b"II*\0", b"MM\0*"):
        return _of_tiff(content)
    raise ValueError("it is neither PNG nor JPEG nor TIFF")


def with_note(content: bytes, note: str) -> bytes:
    """Return a PNG or TIFF file that also says a note (ASCII), by which nothing else in it changes."""
    if content.startswith(_PNG):
        # Behind the header, which is the first chunk and 25 bytes long.
        place = len(_PNG) + 25
        return content[:place] + _chunk(b"tEXt", b"Description\0" + note.encode("ascii")) + content[place:]
    order, fields, following = _directory(content)
    # What is not longer than four bytes would stand in the field itself.
    said = note.encode("ascii").ljust(4) + b"\0"
    # Offsets count from the file's beginning: a longer directory, and what it points to, may stand at its end.
    content += b"\0" * (len(content) % 2)
    field = struct.pack(f"{order}HHII", _DESCRIPTION, _ASCII, len(said), len(content))
    content += said + b"\0" * (len(said) % 2)
    kept = [one for one in fields if struct.unpack_from(f"{order}H", one)[0] != _DESCRIPTION]
    every = sorted([*kept, field], key=lambda one: struct.unpack_from(f"{order}H", one)[0])
    directory = struct.pack(f"{order}H", len(every)) + b"".join(every) + struct.pack(f"{order}I", following)
    return content[:4] + struct.pack(f"{order}I", len(content)) + content[8:] + directory


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _of_png(content: bytes) -> Header:
    place, note, bits, kind = len(_PNG), "", 8, _GREY
    while True:
        name, data = _read_chunk(content, place)
        if name == b"IHDR":
            bits, kind = data[8], data[9]
        elif name == b"tEXt" and data.startswith(b"Description\0"):
            note = data.partition(b"\0")[2].decode("latin-1")
        elif name == b"IEND":
            stretched = 255 // (2**bits - 1) if kind == _GREY and bits < 8 else 1
            return Header(stretched, kind == _PALETTE, note)
        place += 12 + len(data)


def _read_chunk(content: bytes, place: int) -> tuple[bytes, bytes]:
    # Checksums are ITK's to compare.
    try:
        (length,) = struct.unpack_from(">I", content, place)
    except struct.error as error:
        raise ValueError("it is cut short") from error
    return content[place + 4 : place + 8], content[place + 8 : place + 8 + length]


def _of_tiff(content: bytes) -> Header:
    order, fields, following = _directory(content)
    if following:
        raise ValueError("it holds several pictures: give one")
    for one in fields:
        tag, kind, count, place = struct.unpack(f"{order}HHII", one)
        if (tag, kind) == (_DESCRIPTION, _ASCII) and count > 4:
            return Header(note=content[place : place + count].rstrip(b"\0").decode("latin-1"))
    return Header()


def _directory(content: bytes) -> tuple[str, list[bytes], int]:
    """Return a TIFF's byte order, the fields of its first directory, and where the next one is."""
    order = "<" if content[:2] == b"II" else ">"
    try:
        (place,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, place)
        fields = [content[place + 2 + 12 * n : place + 14 + 12 * n] for n in range(count)]
        (following,) = struct.unpack_from(f"{order}I", content, place + 2 + 12 * count)
    except struct.error as error:
        raise ValueError("it is cut short") from error
    return order, fields, following
