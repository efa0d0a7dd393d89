"""Mutants of assembly and C, by lines and tokens."""

import re
from collections.abc import Iterator
from itertools import pairwise

from mklab.lab.mutants import Mutant

__all__ = ["mutants"]

_NUMBER = re.compile(r"(?<![\w.])(0[xX][0-9a-fA-F]+|\d+)(?![\w.]|[bf]\b)")
_LABEL = re.compile(r"^\s*[\w.$]+:\s*$")
_TOKENS = {
    "asm": (
        *(("je", "jne"), ("jne", "je"), ("jz", "jnz"), ("jnz", "jz"), ("ja", "jae"), ("jae", "ja"), ("jb", "jbe")),
        *(("jbe", "jb"), ("add", "sub"), ("sub", "add"), ("and", "or"), ("or", "and"), ("shl", "shr"), ("shr", "shl")),
        *(("inc", "dec"), ("dec", "inc"), ("iretq", "ret"), ("sti", "cli"), ("cli", "sti")),
    ),
    "c": (
        *(("<", "<="), ("<=", "<"), (">", ">="), (">=", ">"), ("==", "!="), ("!=", "=="), ("<<", ">>"), (">>", "<<")),
        *(("+", "-"), ("-", "+"), ("&", "|"), ("|", "&"), ("&&", "||"), ("||", "&&"), ("++", "--"), ("*", "+")),
    ),
}
_C_OPERATOR = re.compile(r"->|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||\+\+|--|[-+*/%&|^]=|(?<=[\w)\]] )[-+*&|<>](?= [\w(~!])")
_SUFFIX = {"add", "sub", "and", "or", "shl", "shr", "inc", "dec"}
_COMMENT = {"asm": re.compile(r"\s*(?:#|//|/\*).*$"), "c": re.compile(r"\s*(?:/\*.*\*/|//.*)\s*$")}


def mutants(source: str, lang: str) -> Iterator[Mutant]:
    """Every change of one number, operator or instruction, line, or order of two lines."""
    lines = source.splitlines()
    kept = [number for number, line in enumerate(lines) if _is_step(line, lang)]
    for number, line in enumerate(lines):
        code = _COMMENT[lang].sub("", line)
        if code.strip():
            for what, other in _in_line(code, lang):
                yield _with(lines, number, what, [other])
    for number in kept:
        yield _with(lines, number, f"{lines[number].strip()!r} is dropped", [""])
    for first, second in pairwise(kept):
        if second == first + 1:
            swapped = [*lines[:first], lines[second], lines[first], *lines[second + 1 :]]
            yield Mutant(f"line {first + 1}: {lines[first].strip()!r} comes one later", "\n".join(swapped) + "\n")


def _with(lines: list[str], number: int, what: str, instead: list[str]) -> Mutant:
    text = "\n".join([*lines[:number], *instead, *lines[number + 1 :]]) + "\n"
    return Mutant(f"line {number + 1}: {what}", text)


def _is_step(line: str, lang: str) -> bool:
    """Whether a line does something by itself: an instruction, data, or a whole statement."""
    code = _COMMENT[lang].sub("", line).strip()
    if lang == "asm":
        return bool(code) and not _LABEL.match(code) and not re.match(r"\.(?!byte|word|long|quad|asci|zero|fill)", code)
    declares = re.match(r"(?:extern|static|typedef|struct \w+ \{)", code) or code.startswith(("#", "return"))
    return code.endswith(";") and not declares and not code.startswith(("for", "}"))


def _in_line(code: str, lang: str) -> Iterator[tuple[str, str]]:
    if code.strip().startswith("#") or re.match(
        r"\s*\.(?:globl|global|section|text|align|balign|type|size|code)", code
    ):
        return
    for match in _NUMBER.finditer(code):
        for other in _numbers(match[1]):
            yield f"{match[1]} becomes {other}", code[: match.start()] + other + code[match.end() :]
    if lang == "c":
        for match in _C_OPERATOR.finditer(code):
            for old, new in _TOKENS["c"]:
                if match[0] == old:
                    yield f"{old} becomes {new}", code[: match.start()] + new + code[match.end() :]
        return
    for old, new in _TOKENS["asm"]:
        suffix = "([bwlq]?)" if old in _SUFFIX else "()"
        if found := re.search(rf"(?<![\w%$.]){old}{suffix}(?=\s|$)", code):
            yield f"{old} becomes {new}", code[: found.start()] + new + found[1] + code[found.end() :]


def _numbers(text: str) -> list[str]:
    value, in_hex = int(text, 0) if not re.fullmatch(r"0\d+", text) else int(text, 8), text.lower().startswith("0x")
    others = [value + 1, *([value - 1] if value else [])]
    return [hex(one) if in_hex else str(one) for one in others]
