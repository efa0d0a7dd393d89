"""The predictions of lab 06: what a start takes from the list, and what an unload takes away."""

from mklab.lab import forms
from mklab.lab.prediction import Option, Prediction

__all__ = ["unloaded", "which_runs"]

which_runs = forms.prediction(
    "06.1",
    "Two images, two CPUs",
    Prediction(
        "Image 1 is loaded, then image 2; /proc/multikernel lists both. The host starts CPU 2, waits until a kernel is"
        " up there, then starts CPU 3. What runs?",
        (
            Option(
                "Image 1 on CPU 2, image 2 on CPU 3.",
                "As if a start took an entry out of the list. But nothing does: the list holds two images before and"
                " after, and nothing in a kimage says that it was started.",
            ),
            Option(
                "Image 2 on both.",
                "An ordinary load replaces the image before it, so the newest counts. A multikernel image is added at"
                " the list's end, and looked for from the beginning.",
            ),
            Option(
                "Image 1 on both, in the same memory.",
                "kimage_find_by_type gives the first image of its type, and that is the oldest, whenever one asks. The"
                " second CPU boots in the memory in which the first one runs.",
                right=True,
            ),
            Option(
                "Image 1 on CPU 2; the second start is refused.",
                "There is nothing that could refuse it: no state 'running' in a kimage, no record of CPUs. A second"
                " call of reboot() for another CPU returns 0.",
            ),
        ),
    ),
    (
        "What does multikernel_kexec get from its caller: an image, or a CPU?",
        "The image is chosen by kimage_find_by_type(KEXEC_TYPE_MULTIKERNEL), which walks the list from its head.",
        "Does a start change the list, or anything in a kimage? If not, the second start finds the same image.",
    ),
)

unloaded = forms.prediction(
    "06.6",
    "Unload",
    Prediction(
        "Twelve multikernel images are loaded, and a CPU runs the oldest of them. The host calls kexec_load with no"
        " segments and KEXEC_MULTIKERNEL, which unloads. What now?",
        (
            Option(
                "The list is empty, and the kernel that ran has stopped.",
                "Unload sounds like that. But it frees kimages, and a CPU needs none to go on: it executes its memory,"
                " and nobody sends it anything.",
            ),
            Option(
                "The list is empty, and the kernel that ran goes on.",
                "The second half is right. But v1 collects the images in an array on its stack, of ten entries, and"
                " frees what is in there. The call returns 0 all the same.",
            ),
            Option(
                "Two images are left; the call returns 0; the kernel that ran goes on.",
                "At most ten in one call, the oldest first, and success is reported. On a real kernel with 13 images"
                " loaded, the first unload took 10 and the second one 3, and running CPUs went on.",
                right=True,
            ),
            Option(
                "The call returns -EBUSY, since one of the images is running.",
                "Nobody can know that it is running: no field of a kimage says so. From kexec_load,"
                " -EBUSY means that another kexec call holds the lock.",
            ),
        ),
    ),
    (
        "Two questions: how many images leave the list, and what does a running CPU notice of it?",
        "v1's unload asks kimage_get_all_by_type for images and has room for a fixed number of them.",
        "Look into the log: the kernel prints how many images it has unloaded.",
    ),
)
