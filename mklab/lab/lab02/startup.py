"""INIT and SIPI: what the host stores, and what a CPU makes of it."""

from mklab.lab import forms
from mklab.lab.exercise import Mistake
from mklab.lab.forms.python import Case
from mklab.lab.prediction import Option, Prediction

__all__ = ["second_sipi", "sipi_icr_low"]

_NOT_A_PAGE = (
    "A vector has eight bits and counts pages: there is none for this address, and a CPU would start elsewhere."
)

sipi_icr_low = forms.python(
    "02.2",
    "The word that starts a CPU",
    "sipi_icr_low",
    (
        Case(
            "the trampoline's page",
            (0x96000,),
            0x696,
            "Bits 7:0 are the vector, bits 10:8 the delivery mode.",
            wrong=(
                (0x96, "This word sends an ordinary interrupt, vector 0x96: a CPU that waits for a SIPI ignores it."),
                (0x9600, "0x9600 is the segment that the CPU will find in CS. The vector is the number of the page."),
                (0x9C00 | 0x600, "0x9600 is the segment that the CPU will find in CS; the vector has only bits 7:0."),
                (0x9600 | 0x600, "0x9600 is the segment that the CPU will find in CS; the vector has only bits 7:0."),
                (0x596, "Delivery mode 5 is INIT: the CPU would be reset once more, and go on waiting for a SIPI."),
                (0x496, "Delivery mode 4 is NMI: a CPU that waits for a SIPI does not start at it."),
                (
                    0x96600,
                    "The store has put the address itself into the word: bit 12 and those above mean other things.",
                ),
            ),
        ),
        Case("the first page", (0x0,), 0x600, "Page 0 has vector 0."),
        Case("the last page below 1 MiB", (0xFF000,), 0x6FF, "0xFF000 >> 12 is 0xFF, which fits."),
        Case("an address inside a page", (0x96010,), raises="ValueError", look=_NOT_A_PAGE),
        Case("an address at 1 MiB", (0x100000,), raises="ValueError", look=_NOT_A_PAGE),
        Case("an address far above", (0x2000000,), raises="ValueError", look=_NOT_A_PAGE),
    ),
    (
        "Look at the stores to offset 0x300 in the table above: which of their bits are the page's, which are not?",
        "The vector of a SIPI is the number of a 4 KiB page below 1 MiB. Its delivery mode is 6, in bits 10:8.",
        "Refuse what is no page below 1 MiB: raise ValueError(...). Else return 0x600 and the page's number, joined"
        " by |.",
    ),
    (
        Mistake("the segment instead of the page", (("start_ip >> 12", "start_ip >> 4"),), "is the segment that"),
        Mistake("no delivery mode", (("0x600 | ", ""),), "ordinary interrupt, vector 0x96"),
        Mistake("the mode of INIT", (("0x600", "0x500"),), "Delivery mode 5 is INIT"),
        Mistake("an address inside a page is taken", (("start_ip % 0x1000 or ", ""),), "an address inside a page"),
        Mistake("no limit at 1 MiB", ((" or start_ip >= 0x100000", ""),), "an address at 1 MiB"),
        Mistake("the limit is one page too low", (("0x100000", "0xFF000"),), "the last page below 1 MiB"),
        Mistake("the address itself", (("start_ip >> 12", "start_ip"),), "The store has put the address itself"),
        Mistake("refused by return", (("raise ValueError(", "return ValueError("),), "returned ValueError, as if"),
        Mistake("a text", (("0x600 | start_ip >> 12", "hex(0x600 | start_ip >> 12)"),), "a text, not a number"),
    ),
    alternatives=(
        "def sipi_icr_low(start_ip):\n    page, rest = divmod(start_ip, 4096)\n    if rest or not 0 <= page < 256:\n"
        "        raise ValueError(start_ip)\n    return (6 << 8) + page",
    ),
)

second_sipi = forms.prediction(
    "02.3",
    "The second SIPI",
    Prediction(
        "Linux sends the SIPI twice. When the second one comes, CPU 1 has executed a thousand instructions of the"
        " trampoline. What does it do?",
        (
            Option(
                "It starts again at the page's first instruction.",
                "So an INIT would do. A SIPI names a place to start, and it is natural to read it as a jump. But then"
                " the first milestones of the way would be passed twice, and the CPU would wipe the page tables that it"
                " is building.",
            ),
            Option(
                "Nothing: only a CPU in wait-for-SIPI takes one.",
                "INIT puts a CPU into wait-for-SIPI, the first SIPI takes it out, and from then on SIPIs are ignored."
                " The second one is for CPUs that missed the first.",
                right=True,
            ),
            Option(
                "It notes the SIPI, and starts again when it next halts.",
                "Ordinary interrupts do wait: the APIC keeps one bit for each vector. But SIPI has no such bit. It acts"
                " at once or is lost.",
            ),
            Option(
                "It is interrupted, and as it has no interrupt table yet, it shuts down.",
                "That is what an NMI would do here, or an exception. A SIPI goes through no interrupt table: it sets CS"
                " and IP, or does nothing.",
            ),
        ),
    ),
    (
        "Which state does INIT leave a CPU in? Find its name in the first line of the table above.",
        "A SIPI is no interrupt with a handler. It is heeded in one state only.",
        "Ask of each option what the event after the second SIPI would say: Sipi, or Ignored.",
    ),
)
