"""Installs small plugins on disk, for tests of how they are found, tried and loaded."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from importlib import metadata
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from flowdapt.plugins import GROUP, Plugin, Plugins

if TYPE_CHECKING:
    from pathlib import Path

IMPORTS = "from flowdapt.hooks import Provider, hookimpl\n"
GOOD = """
    @hookimpl
    def flowdapt_executors():
        return [Provider("{name}", "{name}:Executor", "A good one.", aliases=("old.{name}",))]

    class Executor:
        pass
    """


@dataclass
class Site:
    """A folder of installed distributions, as in ``site-packages``."""

    folder: Path

    def install(
        self,
        name: str,
        source: str,
        *,
        requires: tuple[str, ...] = (),
        entry: str = "",
        distribution: str = "",
        version: str = "1.0",
    ) -> Path:
        """Install a distribution with one module that is a plugin; return its metadata folder."""
        (self.folder / f"{name}.py").write_text(IMPORTS + dedent(source.replace("{name}", name)))
        distribution = distribution or name
        about = self.folder / f"{distribution}-{version}.dist-info"
        about.mkdir()
        needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}\nText.\n"
        )
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {entry or name}\n")
        (about / "RECORD").write_text(f"{name}.py,,\n")
        return about

    def load(self, *others: metadata.Distribution, **options: Any) -> Plugins:
        """Load the plugins of these distributions alone, as a process does that has just begun.

        :param others: further distributions
        """
        self.forget()
        found = metadata.distributions(path=[str(self.folder)])
        return Plugins.load(distributions=[*others, *found], **options)

    def forget(self) -> None:
        """Undo the imports of these plugins in this process."""
        for name, module in [*sys.modules.items()]:
            if str(getattr(module, "__file__", "")).startswith(str(self.folder)):
                del sys.modules[name]
        importlib.invalidate_caches()


def only(plugins: Plugins) -> Plugin:
    """Return the only plugin that does not come with flowdapt itself."""
    (plugin,) = [plugin for plugin in plugins.list() if not plugin.built_in]
    return plugin
