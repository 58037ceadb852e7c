"""What scripts share that measure, and fill pages with what they measured."""

import argparse
import re


def fill_part(text, name, lines):
    """The text of a page with other lines in the part of that name.

    A part stands between `<!-- NAME -->` and `<!-- end -->`.
    """
    new = f"<!-- {name} -->\n\n{lines}\n\n<!-- end -->"
    return re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _: new, text, flags=re.S)


def run_script(description, measure, draw, sources=None):
    """Runs the command that is asked for.

    `measure(source, data_dir)` takes the numbers, `draw()` writes figures and pages.
    """
    parser = argparse.ArgumentParser(description=description)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("measure")
    command.add_argument("source", choices=sources)
    command.add_argument("--data-dir")
    commands.add_parser("draw")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments.source, arguments.data_dir)
    else:
        draw()
