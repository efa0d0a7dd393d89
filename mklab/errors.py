"""The errors that mklab raises.

Misuse of the Python API raises ``ValueError`` or ``TypeError``; what a guest does wrong is never an exception but an
event and a :class:`mklab.machine.machine.Stop`. The classes here are for the rest.
"""

import errno as _errno

__all__ = ["GuestBuildError", "ImageError", "KexecError", "MklabError", "OopsError", "require"]


class MklabError(Exception):
    """Base class of mklab's own errors."""


class KexecError(MklabError):
    """A refusal by the modelled kernel, with the errno that Linux returns.

    Attributes:
        errno: positive errno, for example ``errno.EINVAL``.
        function: the Linux function that refuses, for example ``sanity_check_segment_list``.
        reason: what was wrong, in words, and what to do about it.
    """

    def __init__(self, errno: int, function: str, reason: str) -> None:
        self.errno = errno
        self.function = function
        self.reason = reason
        super().__init__(f"{function}: -{self.name}: {reason}")

    @property
    def name(self) -> str:
        """The errno's symbol, for example ``"EINVAL"``."""
        return _errno.errorcode.get(self.errno, str(self.errno))


class OopsError(MklabError):
    """The modelled kernel faults in process context: the caller is killed, and the locks that it held stay held."""


class ImageError(MklabError):
    """A kernel image that cannot be read: truncated, corrupt, or of no known format."""


class GuestBuildError(MklabError):
    """Guest code that does not assemble, compile or link."""


def require(name: str, value: object, low: int, high: int, why: str = "") -> None:
    """Refuse an argument that is not a whole number from ``low`` to ``high``.

    Raises:
        ValueError: it is not; the message names the argument, what it must be and what it is.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}{why}, not {value!r}")
