"""Where kexec has placed images in memory, and where two of them, or one and the host, want the same bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from mklab.recording import Frame
from mklab.widgets.kimage_list import Images, Segment
from mklab.widgets.memory import Layout

__all__ = ["Load", "Overlap", "loads", "overlaps"]


@dataclass(frozen=True)
class Load:
    """An image in memory.

    Attributes:
        name: ``image 2``, by its node in the list; the kernel's name where the list has no node of it.
        owner: the kernel that it holds; None where nobody knows.
        segments: where it lies, or will lie when it is started.
        address: of its kimage; None without one.
        detail: what else is to be said of it.
        placed: whether its bytes lie there already, as those of a kernel that is to run beside the host do.
    """

    name: str
    owner: str | None
    segments: Sequence[Segment]
    address: int | None
    detail: str
    placed: bool


@dataclass(frozen=True)
class Overlap:
    """Memory from ``start`` up to ``end`` in which ``one`` lies over ``other``, an image or something of the host's."""

    start: int
    end: int
    one: str
    other: str


def loads(frame: Frame, images: Images | None) -> list[Load]:
    """The images in memory: kernels whose kimage is gone, then the nodes of the list."""
    nodes = images.nodes[1:] if images else []
    listed = {node.kernel for node in nodes}
    found = [
        Load(name, name, [Segment(n, *one) for n, one in enumerate(image["ranges"])], None, "its kimage is gone", True)
        for name, image in frame.images().items()
        if name != "host" and name not in listed
    ]
    for node in nodes:
        detail = node.kernel if node.multikernel else f"type {node.kind}: copied there when it is started"
        owner = node.kernel or None
        found.append(Load(f"image {node.number}", owner, node.segments, node.address, detail, node.multikernel))
    return found


def overlaps(frame: Frame, layout: Layout, placed: Sequence[Load]) -> list[Overlap]:
    """Where one of ``placed`` lies over another one that was there before, or over what the host keeps."""
    found = []
    lying = [one for one in placed if one.placed]
    host = [Segment(0, *one) for one in frame.images().get("host", {}).get("ranges", ())]
    for number, one in enumerate(lying):
        for other in lying[:number]:
            found += [Overlap(*both, one.name, other.name) for both in _common(one.segments, other.segments)]
        found += [Overlap(*both, one.name, "the host's own code and data") for both in _common(one.segments, host)]
        for segment in one.segments:
            for place in layout.parts(segment.start, segment.end):
                there = [Segment(0, place.address, place.address + place.size)]
                if place.kernel == "host" and not _common(there, host):
                    what = f"the host's {place.place.name}"
                    found += [Overlap(*both, one.name, what) for both in _common([segment], there)]
    return found


def _common(one: Sequence[Segment], other: Sequence[Segment]) -> list[tuple[int, int]]:
    pairs = [(max(a.start, b.start), min(a.end, b.end)) for a in one for b in other]
    return [(start, end) for start, end in pairs if start < end]
