"""Installs plugins on a whole cluster: resolve once, collect, prepare every node, activate."""

from __future__ import annotations

from flowdapt.hooks import Provider, hookimpl

_COMMANDS = {
    "install": "Put plugins on every node of the cluster.",
    "upgrade": "Put newer versions of plugins on every node.",
    "remove": "Take plugins from the cluster.",
    "rollback": "Go back to the plugins that were active before.",
    "verify": "Compare what each node has with what was installed.",
    "history": "Show what was installed when, by whom, and how it went.",
    "sets": "Show which distributions are active.",
}


@hookimpl
def flowdapt_commands() -> list[Provider]:
    return [
        Provider(f"plugins {name}", f"{__name__}.commands:{name}", text)
        for name, text in _COMMANDS.items()
    ]


@hookimpl(optionalhook=True)  # there are no routes without the HTTP interface
def flowdapt_routes() -> list[Provider]:
    return [Provider("plugin_sets", f"{__name__}.routes:routes")]


@hookimpl
def flowdapt_services() -> list[Provider]:
    text = "Installs plugins, and has runs begin with them."
    return [Provider("plugin_sets", f"{__name__}.service:PluginSets", text)]
