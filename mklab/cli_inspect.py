"""``mklab inspect``: what kexec would load from an image file."""

import json
from pathlib import Path

import click

__all__ = ["inspect"]


@click.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def inspect(context: click.Context, file: Path, as_json: bool) -> None:
    """Say what kexec would load from FILE: an ELF64 executable, a Linux bzImage or a multiboot image.

    Exit status: 0 if kexec takes the image, 1 if it refuses it or the file cannot be read.
    """
    from rich.console import Console

    from mklab.errors import MklabError
    from mklab.kernel.inspect import describe, render

    def fail(reason: str) -> None:
        click.echo(f"mklab inspect: {click.format_filename(file)}: {reason}", err=True)
        context.exit(1)

    try:
        description = describe(_read(file))
    except OSError as error:
        return fail(error.strerror or str(error))
    except MklabError as error:
        return fail(str(error))
    if as_json:
        click.echo(json.dumps({"file": click.format_filename(file), **description}, indent=2))
    else:
        Console().print(render(description))
    if description["refused"]:
        first = description["refused"][0]
        fail(f"refused by {first['function']}: -{first['errno']}: {first['reason']}")
    return None


def _read(file: Path) -> bytes:
    """The file's bytes; of a file of no known format, however large, only the beginning is looked at.

    Raises:
        ImageError: no regular file, or of no known format.
        OSError: it cannot be read.
    """
    from mklab.errors import ImageError
    from mklab.kernel.image import BEGINNING, probe

    if file.exists() and not file.is_file():
        raise ImageError("a directory, not a file" if file.is_dir() else "not a regular file")
    with file.open("rb") as stream:
        beginning = stream.read(BEGINNING)
        probe(beginning)
        return beginning + stream.read()
