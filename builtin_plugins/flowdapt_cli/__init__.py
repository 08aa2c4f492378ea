"""The program ``flowdapt``: commands for people and scripts, for servers and their clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowdapt.hooks import Provider, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowdapt.plugins import Plugin, Plugins

_COMMANDS = {
    "serve": ("server:serve", "Start a server here; Ctrl-C stops it."),
    "dev": ("dev:dev", "Serve a folder of resources and code, and apply what changes in it."),
    "run": ("runs:run", "Run a workflow, and show how it goes; without one, start a server."),
    "apply": ("resources:apply", "Create or change the resources that stand in files."),
    "get": ("resources:get", "List what a server has, such as workflows or runs."),
    "inspect": ("resources:inspect", "Show one resource or run whole."),
    "delete": ("resources:delete", "Remove resources or runs."),
    "history": ("revisions:history", "Show how a resource came to be what it is."),
    "diff": ("revisions:diff", "Show what changed in a resource."),
    "rollback": ("revisions:rollback", "Bring back what a resource was."),
    "logs": ("runs:logs", "Print what a run wrote, also while it writes."),
    "cancel": ("runs:cancel", "Stop a run."),
    "retry": ("runs:retry", "Run again what failed, or all of it."),
    "top": ("events:top", "Watch the runs of a server."),
    "events": ("events:events", "Show what happens on a server."),
    "status": ("server:status", "Show how a server is."),
    "nodes": ("nodes:nodes", "Show where stages are computed, and what is free there."),
    "triggers": ("triggers:triggers", "Show how triggers stand, pause, fire and try them."),
    "backfill": ("triggers:backfill", "Run a workflow once for each period of a time."),
    "drain": ("server:drain", "Have a server accept no new runs."),
    "undrain": ("server:undrain", "Have a server accept runs again."),
    "audit": ("audit:audit", "Show who did what."),
    "objects": ("objects:objects", "Show which objects stages share, and remove some."),
    "artifacts": ("artifacts:artifacts", "List artifacts, and bring their files here and there."),
    "secrets": ("secrets:secrets", "List, set and delete secrets."),
    "contexts": ("contexts:contexts", "Name servers, and choose one."),
    "config": ("config:config", "Show and edit the settings; needs no server."),
    "plugins": ("plugins:plugins", "Show what is installed and what is wrong; needs no server."),
}


@hookimpl
def flowdapt_commands() -> list[Provider]:
    """Offer this plugin's commands, in the order of the overview."""
    return [
        Provider(name, f"{__name__}.commands.{where}", text)
        for name, (where, text) in _COMMANDS.items()
    ]


@hookimpl
def flowdapt_exports() -> list[Provider]:
    """Offer the settings of this process, for code that shares objects with a server."""
    return [Provider("settings", f"{__name__}.reading.settings:load", "Reads the settings.")]


@hookimpl
def flowdapt_readers() -> list[Provider]:
    """Offer how resource files are read here."""
    return [Provider("files", f"{__name__}.reading.files:read", "YAML and JSON files, folders.")]


@hookimpl(tryfirst=True)
def flowdapt_judge(plugins: Sequence[Plugin], folder: Path | None) -> None:
    """Judge none, but leave out before they are tried what the settings file wants left out."""
    from flowdapt_cli.early import leave_out

    if folder is not None:  # which is in the application directory
        leave_out(plugins, folder.parent)


def main(plugins: Plugins) -> None:
    """Run the program with the arguments of this process."""
    from flowdapt_cli.app import program
    from flowdapt_cli.installed import with_installed

    program(with_installed(plugins))()
