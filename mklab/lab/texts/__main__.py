"""``python -m mklab.lab.texts``: every complaint about the texts, one a line."""

import sys

from mklab.lab.texts.every import complaints

if __name__ == "__main__":
    found = complaints()
    for complaint in found:
        print(complaint)
    sys.exit(f"{len(found)} complaints" if found else 0)
