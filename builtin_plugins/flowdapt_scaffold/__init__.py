"""Scaffolds plugins and checks them: ``flowdapt plugins new`` and ``flowdapt plugins check``.

``rendering`` makes a project of the template. ``candidates`` reads what is to be checked,
``trials`` starts a child process for it, and ``judging`` is what runs there.
"""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_commands() -> list[Provider]:
    return [
        Provider("plugins new", f"{__name__}.commands:new", "Make a plugin of your own."),
        Provider("plugins check", f"{__name__}.commands:check", "Say what is wrong with a plugin."),
    ]
