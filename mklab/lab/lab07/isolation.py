"""Exercise 07.1, what keeps a partition apart; and the question at the end, which asks the same elsewhere."""

from mklab.lab.forms import prediction
from mklab.lab.prediction import Option, Prediction

__all__ = ["EXERCISE", "exit_question"]

_QUESTION = Prediction(
    "Kernel 1 and kernel 2 have 16 MiB of memory each, and not a byte in common. Code of kernel 1 now stores four bytes"
    " in the memory of kernel 2. What stops it?",
    (
        Option(
            "The page tables.",
            "Page tables do keep programs apart, because a kernel writes them and the programs cannot. But kernel 1"
            " is a"
            " kernel: it writes its own, and they map what it likes. If they stopped it, you would see a page fault on"
            " its CPU.",
        ),
        Option(
            "kexec_load, which has checked where each image goes.",
            "It looks at an image once, while it is loaded; who stores what afterwards it never sees. And the check of"
            " reserved memory is switched off (#if 0 in kimage_load_multikernel_segment, patch 1).",
        ),
        Option(
            "The IOMMU.",
            "It is the one piece of hardware that the partition of later versions relies on. But it filters what"
            " devices read and write (DMA); a store of a CPU does not pass it.",
        ),
        Option(
            "Nothing.",
            "The windows are an agreement. All CPUs are in ring 0, there is no hypervisor, and each kernel can map all"
            " of the memory.",
            right=True,
        ),
    ),
)

EXERCISE = prediction(
    "07.1",
    "What stops a store?",
    _QUESTION,
    (
        "Ask of each option: who could change it or switch it off? If kernel 1 could, it stops nothing.",
        "There is no hypervisor in this machine: both kernels run in ring 0 and write their own page tables.",
        'choice = a letter from "A" to "D", confidence = "guess", "fairly" or "sure".',
    ),
)

exit_question = Prediction(
    "Kernel 2 should be safe at last: its window is in no other kernel's memory map, the host has given up its CPU, and"
    " a device is kept out by the IOMMU. Kernel 1 writes two words into its own local APIC, with the delivery mode INIT"
    " and the APIC id of kernel 2's CPU. What happens to kernel 2?",
    (
        Option(
            "Nothing: an APIC takes INIT from its own kernel only.",
            "An APIC does not know of kernels. It knows ids, and an ICR write reaches any of them (defect 39).",
        ),
        Option(
            "Its CPU is reset, in the middle of whatever it was doing, and waits for a SIPI.",
            "The same two stores that started it end it. `mklab demo --attack init` shows it; on the real kernel an"
            " INIT to a CPU of the host was silent, and the host hung when it tried to take that CPU offline.",
            right=True,
        ),
        Option(
            "It gets an interrupt and prints a line.",
            "That would be delivery mode 0. INIT needs no gate and no handler, and asks nobody.",
        ),
    ),
)
