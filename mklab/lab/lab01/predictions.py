"""The predictions of lab 01: when the bytes move, and what a load that fails leaves behind."""

from mklab.lab import forms
from mklab.lab.prediction import Option, Prediction

__all__ = ["halfway", "when_it_changes"]

when_it_changes = forms.prediction(
    "01.1",
    "When does the memory change?",
    Prediction(
        "Kernel 1 runs on CPU 2, at address 0x2000000 (32 MiB). The host calls kexec_load with KEXEC_MULTIKERNEL and"
        " another image for the same address; nobody starts it. When does the memory of kernel 1 change?",
        (
            Option(
                "When that image is started with reboot().",
                "So it is with an ordinary image: kexec_load keeps the pages elsewhere, and a control page copies them"
                " when the old kernel ends. A multikernel image has no control page, and no list of pages to copy:"
                " the steps of the load below have nothing but 'copy', straight to 0x2000000.",
            ),
            Option(
                "During the call of kexec_load.",
                "kimage_load_multikernel_segment copies each page to its destination at once. When the call returns,"
                " kernel 1 executes, and finds in its variables, what belongs to the other image.",
                right=True,
            ),
            Option(
                "Never: kexec_load returns -EADDRNOTAVAIL, since kernel 1 lies there.",
                "One would like that. But sanity_check_segment_list compares the segments of one image with each other"
                " only, and the comparison with memory in use stands under #if 0. The call below returns 0.",
            ),
            Option(
                "Never: the page tables of kernel 1 keep the host out.",
                "Page tables bind the CPU that uses them: CPU 2. The host copies on CPU 0, by its own tables, which map"
                " all memory.",
            ),
        ),
    ),
    (
        "Think of the two jobs of a load: to check, and to copy. Which of them waits for a start?",
        "An ordinary image replaces its loader, so its copying must wait. Whom does a multikernel image replace?",
        "Follow the function that copies: kimage_load_multikernel_segment, called by kexec_load for each segment.",
    ),
)

halfway = forms.prediction(
    "01.8",
    "A load that fails halfway",
    Prediction(
        "An image has one segment of three pages for 0x3000000, where every byte is 0xCC. The process that calls"
        " kexec_load has mapped only the first page of its buffer: the call returns -EFAULT. What lies at 0x3000000,"
        " 0x3001000 and 0x3002000?",
        (
            Option(
                "0xCC everywhere: a call that fails changes nothing.",
                "That holds for the list of images, which has no new entry. But the first page was copied before"
                " anybody knew that the second one could not be read, and nobody puts the old bytes back.",
            ),
            Option(
                "The first page of the image, then zeros, then 0xCC.",
                "Page by page: the first one was copied; the second one was cleared, and then copy_from_user failed;"
                " the third was never reached. A real kernel with the RFC's patches did the same.",
                right=True,
            ),
            Option(
                "The first page of the image, then 0xCC twice.",
                "Nearly: but each page is cleared before it is filled. The second page had been cleared already when"
                " its buffer turned out to be unreadable.",
            ),
            Option(
                "The first page of the image, then zeros twice: memory is cleared up to memsz first.",
                "Memory up to memsz is cleared, but each page in its turn, not all of them in advance. The load ended"
                " before it came to the third page.",
            ),
        ),
    ),
    (
        "The copying goes page by page. At which page does it find out?",
        "For one page the order is: map it, clear it, copy into it. Nothing is ever undone.",
        "Three pages, three fates: copied; cleared and not copied; not reached.",
    ),
)
