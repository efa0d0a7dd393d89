"""The course's texts keep the rules of `mklab.lab.texts`, and each rule catches what it is there for."""

import re
from pathlib import Path

import nbformat
import pytest

from mklab.lab import exercises
from mklab.lab.texts import claims, glossary, length, links, prose, spelling
from mklab.lab.texts.every import complaints, labs
from mklab.lab.texts.prose import Text

ROOT = prose.ROOT
GLOSSARY = (ROOT / glossary.NAME).read_text(encoding="utf-8")
LABS = labs()


def text(markdown: str) -> Text:
    return Text("here", markdown, ROOT / "labs")


def said(found: list[object]) -> list[str]:
    return [str(one) for one in found]


def test_nobody_has_anything_to_complain_of() -> None:
    assert said([*complaints()]) == []


def test_it_has_read_all_texts() -> None:
    """No rule is content because it has found nothing to read."""
    assert [name[:2] for name in LABS] == list(exercises.LABS)
    assert all(len(cells) > 5 for cells in LABS.values())
    names = {one.where for one in prose.pages()}
    assert {"README.md", "docs/fidelity.md", glossary.NAME} <= names
    told = {one.where.split("/")[0] for one in prose.exercise_texts()}
    assert told == {f"lab{number}" for number in exercises.LABS}
    assert len(glossary.terms(GLOSSARY)) == GLOSSARY.count("<a id=")


def test_the_instructors_page_names_exercises_and_times_that_are_there() -> None:
    page = (ROOT / "docs" / "instructor.md").read_text(encoding="utf-8")
    known = {one.id for one in exercises.every()}
    named = {one for one in re.findall(r"\b0\d\.\d\b", page) if one[:2] in exercises.LABS} - {"04.9"}
    assert named <= known, named - known
    for name, cells in LABS.items():
        claimed = re.search(r"\*\*Time:\*\* (\d+) minutes", cells[0].markdown)
        assert claimed is not None
        assert re.search(rf"^\| {name[:2]} [^|]*\| {claimed[1]} \|", page, re.MULTILINE), name
        count = len(exercises.of(name[:2]))
        assert re.search(rf"^\| {name[:2]} [^|]*\| \d+ \|[^|]*\| {count} \|", page, re.MULTILINE), name


@pytest.mark.parametrize("path", sorted((ROOT / "labs" / "solutions").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_picture_has_a_text_twin(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    assert said([one for cell in notebook.cells for one in links.check_outputs(cell.id, cell)]) == []


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("The kernal halts.", "'kernal' is misspelt"),
        ("It has a colour and a color.", "'color' is American: write 'colour'"),
        ("The initialized neighbor", "'neighbor' is American: write 'neighbour'"),
        ("Recieved, once.", "'Recieved' is misspelt"),
    ],
)
def test_spelling(markdown: str, words: str) -> None:
    (found,) = said([*spelling.check([text(markdown)])])
    assert words in found


@pytest.mark.parametrize(
    "markdown",
    [
        "The `kernal` and ```\nrecieve\n``` and [the page](recieve.md), 0x2f and kexec_lod, SIPI and GiB.",
        "Initialise or initialize; a program's behaviour; the student's minikernel.",
    ],
)
def test_what_is_no_misspelling(markdown: str) -> None:
    assert spelling.check([text(markdown)]) == []


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("[SIPI](glossary.md#sipy)", "nothing there is called sipy"),
        ("[a page](nowhere.md)", "there is no nowhere.md"),
        ("[a row](../docs/fidelity.md#no-such-row)", "nothing there is called no-such-row"),
        ("[an address](http://example.com)", "no https address"),
        ("![](../docs/pictures/second-kernel.svg)", "has no text that stands for it"),
        ('<img src="../docs/pictures/second-kernel.svg">', "has no alt="),
        ("[](glossary.md)", "has no words"),
    ],
)
def test_links(markdown: str, words: str) -> None:
    assert any(words in one for one in said([*links.check([text(markdown)])]))


def test_links_that_lead_somewhere(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('# A `title`, with: signs\n## Twice\n## Twice\n- <a id="here"></a>word\n```\n# no heading\n```\n')
    assert links.anchors(page) == {"a-title-with-signs", "twice", "twice-1", "here"}
    good = "`[0](nowhere.md)` [`0`](page.md) [1](page.md#twice-1)"
    good += " [2](page.md#here) [3](page.md) [4](https://example.com) ![five](page.md)"
    assert links.check([Text("here", good, tmp_path)]) == []


@pytest.mark.parametrize("twin", ["", "<mklab.widgets.Panel object at 0x7f0000>", "A picture"])
def test_a_picture_without_a_twin(twin: str) -> None:
    data = {"image/svg+xml": "<svg/>", "text/plain": twin}
    assert len(links.check_outputs("here", {"outputs": [{"data": data}]})) == 1
    assert links.check_outputs("here", {"outputs": [{"data": {"text/plain": twin}}]}) == []


TITLE = "# 99 Why?\n**Time:** {} minutes: read.\n"
EXERCISE = "## Exercise 99.1: it\n*10 minutes.*\n"


def test_reading_length() -> None:
    cells = [text(TITLE.format(11)), text(EXERCISE)]
    assert length.check("99", cells, ["99.1"]) == []
    for wrong, words in (
        ([text(TITLE.format(20)), text(EXERCISE)], "20 minutes are claimed; reading and exercises come to about 10"),
        ([text(TITLE.format(5)), text(EXERCISE)], "5 minutes are claimed"),
        ([text("# 99 Why?"), text(EXERCISE)], "does not say **Time:** N minutes"),
        ([text(TITLE.format(1)), text("## Exercise 99.1: it\n")], "does not say how many minutes it takes"),
        ([*cells, text("word " * 181)], "181 words in a cell"),
        ([*cells, text("word " * 180 + "\n| a | table |")], ""),
        ([*cells, *[text("word " * 180)] * 23], "words, and 4000 are the most"),
    ):
        found = said([*length.check("99", wrong, ["99.1"])])
        assert any(words in one for one in found) if words else not any("in a cell" in one for one in found), words


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("Linux keeps no record.", ["names no function", "neither the RFC's patch nor a file"]),
        ("Linux, in the RFC's first version, keeps none.", ["names no function", "neither the RFC's patch nor a file"]),
        ("In Linux the handler is `sysvec_multikernel`.", ["neither the RFC's patch nor a file"]),
        ("The RFC checks it (patch 1).", ["names no function"]),
        ("Good.\n- Linux copies it in `kimage_lod` (patch 1).", ["names no function"]),
        ("In Linux, kernel/kexec_core.c has it.", ["names no function"]),
    ],
)
def test_claims(markdown: str, words: list[str]) -> None:
    found = said([*claims.check([text(markdown)])])
    assert len(found) == len(words)
    assert all(word in one for word, one in zip(words, found, strict=True))


@pytest.mark.parametrize(
    "markdown",
    [
        "Linux checks it in `sanity_check_segment_list` (kernel/kexec_core.c).",
        "v1 writes the entry in `do_multikernel_boot_cpu()` (patches 1 and 2).",
        "In Linux: patch 2, arch/x86/kernel/trampoline_64_bsp.S.",
        "Linux sets it up in `some_function_of_linux` (arch/x86/kernel/apic/apic.c).",
        "Two Linux kernels ran. A Linux kernel was booted. As Linux is on your computer.",
    ],
)
def test_claims_that_are_bound(markdown: str) -> None:
    assert claims.check([text(markdown)]) == []


HEAD = "## What Linux does\n| step | function | file |\n|---|---|---|\n"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("| vector | `sysvec_multikernel` | arch/x86/kernel/smp.c (patch 3) |", ""),
        ("| vector | `sysvec_multikernel` | arch/x86/kernel/smp.c | 3, 4 |", ""),
        ("| vector | `sysvec_multikernel` | arch/x86/kernel/smp.c (3) |", ""),
        ("| check | `sanity_check_segment_list` | kernel/kexec_core.c |", ""),
        ("| vector | `sysvec_multikernel` | arch/x86/kernel/smp.c |", "the row names no patch, and 3 has it"),
        ("| vector | `sysvec_multikernel` | arch/x86/kernel/smp.c | 5 |", "patch 5 has none of sysvec_multikernel"),
        (
            "| vector | `sysvec_multikernel` | arch/x86/kernel/smp.c (patch 5) |",
            "patch 5 has none of sysvec_multikernel",
        ),
        ("| vector | `sysvec_multikernel` | arch/x86/kernel/smp.c (patch 9) |", "the RFC has patches 1 to 7, not 9"),
        ("| vector | `sysvec_multikernal` | arch/x86/kernel/smp.c (patch 3) |", "is no name that the project knows"),
        ("| vector | `sysvec_multikernel` | somewhere (patch 3) |", "names no file of Linux"),
        ("| vector | the handler | arch/x86/kernel/smp.c (patch 3) |", "names no function in code"),
    ],
)
def test_the_table_of_what_linux_does(row: str, words: str) -> None:
    found = said([*claims.check_table("99", [text(HEAD + row)])])
    assert (found == []) if not words else any(words in one for one in found)


def test_a_lab_without_the_table() -> None:
    assert len(claims.check_table("99", [text("## What Linux does\nThis and that.")])) == 1


def entry(word: str, anchor: str = "", meaning: str = 'a word (SDM, "Chapter").') -> str:
    return f'- <a id="{anchor or word.lower()}"></a>**{word}**: {meaning}'


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ([entry("APIC"), entry("kexec"), entry("SIPI")], ""),
        ([entry("SIPI"), entry("APIC")], "'APIC' must stand before 'SIPI'"),
        ([entry("APIC"), entry("APIC")], "stands there twice"),
        ([entry("long mode")], "its id must be 'long-mode'"),
        ([entry("APIC", meaning="a word.")], "ends with no source"),
        ([entry("APIC", meaning="a word (of mine).")], "ends with no source"),
        ([entry("APIC", meaning="One. Two (kernel/kexec.c).")], "must be one sentence"),
        (["- **APIC**: a word (SDM)."], "a line of another form"),
    ],
)
def test_the_glossary(page: list[str], words: str) -> None:
    found = said([*glossary.check("\n".join(page))])
    assert (found == []) if not words else any(words in one for one in found)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["# SIPI\nA [SIPI](glossary.md#sipi), and a SIPI."], ""),
        (["`SIPI` and [SIPIs](glossary.md#sipi)"], ""),
        (["Two SIPIs.", "A [SIPI](glossary.md#sipi)."], "the first 'SIPI' does not link"),
        (["A [SIPI](https://example.com/sipi) here, [later](glossary.md#sipi)."], "the first 'SIPI' does not link"),
        (["A [SIPI vector](glossary.md#sipi-vector), then a [SIPI](glossary.md#sipi)."], ""),
        (["A [SIPI vector](glossary.md#sipi-vector), then a SIPI."], "the first 'SIPI' does not link"),
        (["Nothing."], "no lab links to it"),
    ],
)
def test_uses_of_the_glossary(cells: list[str], words: str) -> None:
    first = text("# 99 Goals: a SIPI")
    recall = text("<details><summary>A SIPI?</summary>Yes.</details>")
    found = said([*glossary.check_uses(entry("SIPI"), {"99": [first, recall, *map(text, cells)]})])
    assert (found == []) if not words else any(words in one for one in found), found
