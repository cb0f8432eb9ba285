"""A checksum inside a checkpoint file, where ZIP archives keep their comment: every reader of ZIP passes over it."""

from __future__ import annotations

import hashlib
import io
import struct

END = b"PK\x05\x06"  # the record that ends a ZIP archive, 22 bytes with the length of the comment last (APPNOTE 4.3.16)
END_BYTES = 22
MARK = b"speechml sha256 "
SEAL_BYTES = len(MARK) + 64


def seal(archive: io.BytesIO) -> None:
    """Add to a ZIP archive the SHA-256 of all that stands before it, as the archive's comment; in place."""
    archive.seek(max(0, archive.getbuffer().nbytes - END_BYTES))
    end = archive.read()
    if end[:4] != END or end[-2:] != b"\0\0":
        raise ValueError("no ZIP archive without a comment")
    archive.seek(-2, io.SEEK_END)
    archive.write(struct.pack("<H", SEAL_BYTES) + MARK)
    digest = hashlib.sha256(archive.getbuffer()).hexdigest()
    archive.write(digest.encode())


def seal_copy(archive: bytes) -> bytes:
    """A sealed copy of a ZIP archive."""
    copy = io.BytesIO(archive)
    seal(copy)
    return copy.getvalue()


def is_sealed(content: bytes) -> bool:
    """Whether a seal stands at the end, be it right or wrong."""
    return content[-SEAL_BYTES:-64] == MARK


def is_whole(content: bytes) -> bool:
    """Whether the seal is that of the content."""
    return is_sealed(content) and hashlib.sha256(content[:-64]).hexdigest().encode() == content[-64:]
