"""Cells of assembly and C: built for an address, told about at their lines."""

import struct
import sys
from pathlib import Path

import pytest

from mklab.errors import GuestBuildError
from mklab.guest.build import build
from mklab.lab.guestcode import Frame, compiled


def test_bytes_symbols_and_lines() -> None:
    code = compiled("begin:\n  nop\nend_: ret\n.data\nword: .quad begin\n", "asm", 0x5000)
    assert code.data[:2] == b"\x90\xc3"
    assert code.size == len(code.data)
    assert (code.symbols["begin"], code.symbols["end_"]) == (0x5000, 0x5001)
    word = code.symbols["word"] - 0x5000
    assert code.data[word : word + 8] == (0x5000).to_bytes(8, "little")
    assert [code.line(0x5000), code.line(0x5001)] == [2, 3]


def test_intel_syntax_and_the_shared_numbers() -> None:
    text = '#include "abi.h"\n.intel_syntax noprefix\nmov eax, MULTIKERNEL_VECTOR\n'
    assert compiled(text, "asm").data == b"\xb8\xea\0\0\0"
    text = '#include "abi.h"\n.long SIZEOF_mk_ipi_data, OFFSETOF_mk_ipi_data_buffer, MK_PFN_IPI_TYPE'
    assert struct.unpack("<3I", compiled(text, "asm").data) == (272, 16, 0x80000001)
    text = '#include "abi.h"\nunsigned long f(struct mk_ipi_data *slot) { return slot->data_size; }'
    assert compiled(text, "c").data[:3] == bytes.fromhex("554889")


def test_c_with_a_second_source() -> None:
    code = compiled(
        "int twice(int); int f(void) { return twice(21); }",
        "c",
        0x5000,
        Frame(sources=(("more.S", ".globl twice\ntwice: ret"),)),
    )
    assert {"f", "twice"} <= set(code.symbols)
    assert code.line(code.symbols["f"]) == 1
    assert code.line(code.symbols["twice"]) is None


def test_a_header_among_the_sources_may_be_included_and_no_other() -> None:
    code = compiled(
        '#include "list.h"\nint f(void) { return N; }', "c", frame=Frame(sources=(("list.h", "#define N 42\n"),))
    )
    assert b"\xb8\x2a\0\0\0" in code.data
    with pytest.raises(GuestBuildError, match=r"no other file but abi\.h, list\.h"):
        compiled('#include "other.h"\n', "c", frame=Frame(sources=(("list.h", ""),)))


def test_a_cell_with_text_around_it() -> None:
    frame = Frame(".set five, 5\n.code16\nbegin:", "hlt\n.org 8\nend_: ret")
    code = compiled("nop\nmovw $five, %ax", "asm", 0x5000, frame)
    assert code.data == bytes.fromhex("90b80500f4000000c3")
    assert [code.line(at) for at in (0x5000, 0x5001, 0x5004, 0x5008)] == [1, 2, None, None]
    code = compiled("nop\nnop", "asm", 0x5000, Frame("ud2\nhlt", "ret"))
    assert [code.line(at) for at in (0x5000, 0x5002, 0x5003, 0x5004, 0x5005)] == [None, None, 1, 2, None]
    assert compiled('nop\n#line 99 "cell.S"\nnop', "asm", 0x5000).line(0x5001) is None
    with pytest.raises(GuestBuildError, match="line 2: invalid instruction mnemonic 'foo'\n    foo"):
        compiled("nop\nfoo", "asm", 0x5000, frame)
    with pytest.raises(GuestBuildError, match="an address does not fit into the instruction: it is 0x500000"):
        compiled("movw $begin, %ax", "asm", 0x500000, frame)
    with pytest.raises(GuestBuildError, match="more code than there is room for"):
        compiled(".fill 9", "asm", 0x5000, frame)


def test_a_loop_without_a_body() -> None:
    code = compiled("void f(volatile int *p)\n{\n    while (*p & 1) ; *p = 2;\n}\nint g(int x)\n{ return x; }", "c")
    assert code.line(code.symbols["f"]) == 2
    assert code.line(code.symbols["g"]) == 6


def test_a_cell_without_code() -> None:
    assert compiled("", "asm").data == b""


@pytest.mark.parametrize(
    ("text", "lang", "words"),
    [
        ("nop\nmov %eax\n", "asm", "line 2: unknown use of instruction mnemonic without a size suffix\n    mov %eax"),
        ("\n\n\nfoo %eax", "asm", "line 4: invalid instruction mnemonic 'foo'\n    foo %eax"),
        ("int f(void)\n{\n    return x;\n}\n", "c", "line 3: use of undeclared identifier 'x'\n    return x;"),
        ("int f(void)\n{\n    int unused;\n    return 1;\n}", "c", "line 3: unused variable"),
        ("void g(void);\nvoid f(void) { g(); }", "c", "undefined symbol: g"),
        ('nop\n.incbin "/etc/hostname"', "asm", "line 2: .incbin: a cell takes in no other file but abi.h"),
        ('  #  include "/etc/hostname"', "c", "a cell takes in no other file"),
        ("#include <stdio.h>", "c", "a cell takes in no other file"),
        ('#include "abi.h"\nhere: .incbin "/etc/hostname"', "asm", "line 2: .incbin"),
        ('nop; .include "/etc/hostname"', "asm", "line 1: .include"),
        ('asm(".incbin \\"/etc/hostname\\"");', "c", ".incbin"),
        ('.macro take what\n.\\what "/etc/hostname"\n.endm\ntake incbin', "asm", "line 4: incbin"),
        ('#inc\\\nlude "/etc/hostname"', "c", "#include"),
        ('%:include "/etc/hostname"', "c", "%:include"),
        ('char text[] = {\n#embed "/etc/hostname"\n};', "c", "line 2: #embed"),
        ('#import "/etc/hostname"', "c", "#import"),
        ("#include_next <limits.h>", "c", "#include_next"),
    ],
)
def test_what_is_wrong_and_where(text: str, lang: str, words: str) -> None:
    with pytest.raises(GuestBuildError) as raised:
        compiled(text, lang)
    assert words in str(raised.value)
    assert "/tmp" not in str(raised.value)


_BIG = "#define A(x) x x x x x x x x x x\n#define B(x) A(A(A(x)))\nint f(void) { return 0 B(B(B(+1))); }"


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        (".fill 0x40000000, 1, 0x90", "asm"),
        (".org 0x40000000\nnop", "asm"),
        (".rept 1000000000\nnop\n.endr", "asm"),
        (".macro m\nm\nm\n.endm\nm", "asm"),
        (".altmacro\n.macro m a\nm a\\()a\n.endm\nm x", "asm"),
        (_BIG, "c"),
        ("char big[1 << 30] = {1};", "c"),
        ('asm(".fill 0x40000000, 1, 0");', "c"),
        ("template<int n> int f() { return f<n + 1>(); }", "c"),
        (f"int f(void) {{ return {'(' * 100_000}1{')' * 100_000}; }}", "c"),
    ],
)
def test_a_cell_that_would_take_for_ever_or_all_memory(text: str, lang: str) -> None:
    with pytest.raises(GuestBuildError):
        compiled(text, lang)


@pytest.mark.skipif(sys.platform != "linux", reason="files are limited by Landlock, which is Linux's")
@pytest.mark.parametrize(
    ("text", "lang"),
    [
        # No filter of words sees through this.
        ('.macro take what\n.inc\\what "{file}"\n.endm\ntake bin', "asm"),
        ('.macro take what\n.incl\\what "{file}"\n.endm\ntake ude', "asm"),
        ('#if __has_include("{file}")\n.byte 1\n#else\n.error "not there"\n#endif', "asm"),
        ('asm(".inc" "bin \\"{file}\\"");', "c"),
        ('#if !__has_include("{file}")\n#error not there\n#endif', "c"),
    ],
)
def test_nothing_outside_is_read(tmp_path: Path, text: str, lang: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("nop\n")
    with pytest.raises(GuestBuildError):
        compiled(text.replace("{file}", str(secret)), lang)


def test_without_a_limit_on_files_these_would_read_it(tmp_path: Path) -> None:
    """That the cells above fail for the reason that they are to fail for."""
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    text = f'.macro take what\n.inc\\what "{secret}"\n.endm\ntake bin\n'
    image = build({"cell.S": text}, "SECTIONS { .text : { *(.text) } }", movable=False)
    assert b"SECRET" in image


def test_another_language() -> None:
    with pytest.raises(ValueError, match=r"lang must be one of \['asm', 'c'\], not 'rust'"):
        compiled("", "rust")


def test_the_same_bytes_again() -> None:
    text = "int f(int a)\n{\n    return a * 3;\n}\n"
    assert compiled(text, "c", 0x5000) == compiled(text, "c", 0x5000)
