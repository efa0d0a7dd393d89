"""The `mklab` command.

Each subcommand imports what it needs when it runs, so that `mklab --help` answers at once and works in an environment
that is broken, which `mklab doctor` is there to explain.
"""

import click

from mklab import __version__
from mklab.cli_bench import bench
from mklab.cli_boot import boot
from mklab.cli_build import build
from mklab.cli_defect import defect
from mklab.cli_demo import demo
from mklab.cli_exercises import exercises
from mklab.cli_explore import explore
from mklab.cli_grade import grade
from mklab.cli_inspect import inspect

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mklab")
def main() -> None:
    """Several Linux kernels side by side on one small x86 machine."""


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
def doctor(as_json: bool) -> None:
    """Check the environment: what is wrong, and what to do about it.

    Exits with status 1 if something that mklab cannot do without is missing or broken.
    """
    from mklab import doctor as examination

    findings = examination.examine()
    if as_json:
        click.echo(examination.to_json(findings))
    else:
        examination.show(findings)
    if examination.is_broken(findings):
        raise SystemExit(1)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port to serve on; default: 8888 or the next free one.")
@click.argument("jupyter_args", nargs=-1, type=click.UNPROCESSED, metavar="[JUPYTER ARGS]...")
def lab(port: int | None, jupyter_args: tuple[str, ...]) -> None:
    """Open JupyterLab on the first lab.

    Serves on the loopback address only, opens a browser where there is a display and prints the address where there is
    none. Further arguments go to `jupyter lab`. Ctrl-C stops it.
    """
    from mklab.lab.serve import serve

    serve(port, jupyter_args)


main.add_command(bench)
main.add_command(boot)
main.add_command(build)
main.add_command(defect)
main.add_command(demo)
main.add_command(exercises)
main.add_command(explore)
main.add_command(grade)
main.add_command(inspect)
