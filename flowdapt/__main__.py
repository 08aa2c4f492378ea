"""The program ``flowdapt``: loads plugins and hands over to the one that is the command line."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from flowdapt.plugins import Plugins

COMMAND_LINE = "flowdapt_cli"


def main() -> None:
    """Run the command line.

    Settings are read later, by the command that needs them. What keeps a plugin from being
    imported at all is therefore read here: ``--safe-mode`` and ``FLOWDAPT__PLUGINS__DISABLED``.
    """
    options = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    app_dir = Path(os.environ.get("FLOWDAPT__APP_DIR") or os.path.expanduser("~/.flowdapt"))
    plugins = Plugins.load(
        disabled=re.findall(r"[\w.:-]+", os.environ.get("FLOWDAPT__PLUGINS__DISABLED", "")),
        safe_mode="--safe-mode" in options,
        cache_dir=app_dir / "cache",
    )
    command_line = plugins.loaded(COMMAND_LINE)
    if command_line is None:
        sys.exit(f"flowdapt: the command line is {plugins.why_not(COMMAND_LINE)}")
    command_line.main(plugins)


if __name__ == "__main__":
    main()
