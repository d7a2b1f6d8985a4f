"""``pcbsa COMMAND ...`` and ``python -m pointcept_bsa COMMAND ...``: the tools, from any folder."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pointcept_bsa.arguments.carried import COMMANDS, carried, config_names
from pointcept_bsa.command import exit_code
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.version import __version__


def usage() -> str:
    """What can be called, with the first line of each tool."""
    lines = [
        "usage: pcbsa COMMAND ...",
        "",
        "Each command is the tool of that name; pcbsa COMMAND --help explains it.",
        "",
    ]
    lines += [f"  {command:<10} {_summary(carried('tools') / f'{tool}.py')}" for command, tool in COMMANDS.items()]
    lines += [f"  {'configs':<10} Names of the configs that the package carries, for --config."]
    lines += [f"  {'--version':<10} The version of the package."]
    return "\n".join(lines)


def _summary(tool: Path) -> str:
    text = ast.get_docstring(ast.parse(tool.read_text(encoding="utf-8"))) or ""
    return " ".join(re.split(r"[:;]|\.\s", text)[0].replace("`", "").split()).rstrip(".") + "."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, 2 for a mistake of the user, or what the tool returns."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = words[0] if words else "--help"
    if command in COMMANDS:
        return _run(command, words[1:])

    def work() -> int:
        if command in ("-h", "--help"):
            print(usage())
        elif command == "--version":
            print(f"pointcept_bsa {__version__}")
        elif command == "configs" and len(words) == 1:
            print("\n".join(config_names()))
        else:
            known = [*COMMANDS, "configs"]
            got = " ".join(words[:2]) if command == "configs" else command
            raise InputError(f"pcbsa: got {got!r}, wanted one of {', '.join(known)}{nearest(command, known)}")
        return 0

    return exit_code(work)


def _run(command: str, words: Sequence[str]) -> int:
    path = carried("tools") / f"{COMMANDS[command]}.py"
    spec = importlib.util.spec_from_file_location(f"pcbsa_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    sys.argv = [f"pcbsa {command}", *words]  # the name that its usage shows
    return tool.main(words)


if __name__ == "__main__":
    sys.exit(main())
