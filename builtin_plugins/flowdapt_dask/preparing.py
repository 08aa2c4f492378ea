"""Plugin sets on the workers of a cluster, which answer while all their threads are busy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.paths import wheel_file
from flowdapt_sets.sets import PluginSet

from flowdapt_dask import entry
from flowdapt_dask.placing import Place

NODE_SECONDS = 90.0  #: how long the workers may take


async def everywhere(
    client: Any, places: Mapping[str, Place], plugins: str, wheels: Path, *, look: bool
) -> dict[str, str]:
    """Have a set on all workers that take orders; return what is wrong, by their names.

    :param wheels: the folder with its wheels
    """
    answers = await _asked(client, [*places], plugins, None, look)
    if needy := [address for address, said in answers.items() if said is None]:
        try:
            contents = await asyncio.to_thread(contents_of, plugins, wheels)
        except OSError as error:
            return {places[one].name: f"{error.filename} cannot be read" for one in needy}
        answers |= await _asked(client, needy, plugins, contents, look)
    return {places[address].name: said or "" for address, said in answers.items()}


def contents_of(plugins: str, wheels: Path) -> list[bytes]:
    """Return the contents of the wheels of a set, in its order."""
    found = PluginSet.from_json(plugins).wheels
    return [wheel_file(wheels, wheel).read_bytes() for wheel in found]


def content_of(sha256: str, wheels: Path) -> bytes:
    """Return the content of a wheel by its hash.

    :raises SetUnusable: it is not there
    """
    for file in (wheels / sha256).glob("*.whl"):
        return file.read_bytes()
    raise SetUnusable(f"the wheel {sha256} is not kept any more")


async def _asked(
    client: Any, addresses: Sequence[str], plugins: str, wheels: Any, look: bool
) -> dict[str, str | None]:
    """Ask workers, one by one so that each has its own time and its own errors."""

    async def one(address: str) -> str | None:
        given = plugins, wheels, look
        try:
            async with asyncio.timeout(NODE_SECONDS):
                said = await client.run(entry.prepare_set, *given, workers=[address])
        except TimeoutError:
            return f"it did not answer within {NODE_SECONDS:g} s"
        except Exception as error:  # such as that it is gone
            return f"{type(error).__name__}: {error}"
        found: str | None = said[address]
        return found

    said = await asyncio.gather(*map(one, addresses))
    return dict(zip(addresses, said, strict=True))
