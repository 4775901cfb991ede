"""What machine code says of its kernels: registers and shared memory, read from the ELF file that a cubin is."""

import struct

from convnet.errors import BackendError

_SIZED, _REGISTERS = 4, 0x2F  # of entries in .nv.info


def resources_of(cubin: bytes, kernel: str) -> dict[str, int]:
    """Read the registers per thread and static shared bytes of a kernel from the ELF sections of its machine code."""
    if not cubin.startswith(b"\x7fELF"):
        raise BackendError("the compiler gives PTX for this architecture, which does not say how many registers are used")
    sections = _sections(cubin)
    text = sections.get(f".text.{kernel}")
    if text is None:
        raise BackendError(f"no {kernel} in this machine code")
    shared = sections.get(f".nv.shared.{kernel}", (0, 0, 0))[1]
    return {"registers": _register_counts(cubin, sections).get(text[0] & 0xFFFFFF, text[0] >> 24), "shared": shared}


def _register_counts(cubin: bytes, sections: dict[str, tuple[int, int, int]]) -> dict[int, int]:
    """Read registers by symbol number, from attributes in ``.nv.info`` (older compilers: the high byte of sh_info)."""
    _, size, at = sections.get(".nv.info", (0, 0, 0))
    end, counts = at + size, {}
    while at < end:
        form, attribute, length = struct.unpack_from("<BBH", cubin, at)
        at += 4
        if form == _SIZED:
            if attribute == _REGISTERS:
                symbol, count = struct.unpack_from("<II", cubin, at)
                counts[symbol] = count
            at += length
    return counts


def _sections(elf: bytes) -> dict[str, tuple[int, int, int]]:
    """(sh_info, sh_size, sh_offset) by name, of a 64-bit ELF file."""
    start, size, count, names = (
        struct.unpack_from("<Q", elf, 40)[0], *struct.unpack_from("<HHH", elf, 58)
    )  # fmt: skip
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, start + i * size) for i in range(count)]
    table = headers[names][4]
    sections = {}
    for header in headers:
        end = elf.index(b"\0", table + header[0])
        sections[elf[table + header[0] : end].decode()] = (header[7], header[5], header[4])
    return sections
