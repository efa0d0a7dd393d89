"""Lab 01, "kexec loading": images, segments, entry, and what the checks refuse."""

from mklab.lab.lab01.bzimage import bzimage
from mklab.lab.lab01.clobbers import clobbers
from mklab.lab.lab01.debian import DEBIAN
from mklab.lab.lab01.loadpath import loadpath
from mklab.lab.lab01.overwritten import case, overwritten
from mklab.lab.lab01.predictions import halfway, when_it_changes
from mklab.lab.lab01.sanity import sanity
from mklab.lab.lab01.scene import Loading, fresh_host, image, load_steps
from mklab.lab.lab01.tail import tail

__all__ = ["DEBIAN", "EXERCISES", "Loading", "case", "fresh_host", "image", "load_steps"]

EXERCISES = (when_it_changes, sanity, tail, bzimage, loadpath, overwritten, clobbers, halfway)
