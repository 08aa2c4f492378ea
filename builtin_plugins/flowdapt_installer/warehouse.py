"""Keeps wheels under the hashes of their contents."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

from flowdapt_sets.errors import SetUnusable
from flowdapt_sets.paths import wheel_file
from flowdapt_sets.sets import Wheel
from flowdapt_sets.wheels import digest, named

from flowdapt.errors import InvalidInput
from flowdapt.plugins import GROUP
from flowdapt_installer.errors import ChangeFailed


class Warehouse:
    """Wheels in a folder.

    :param folder: made when it is first needed
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, wheel: Wheel) -> Path:
        """Return where a wheel is, or would be."""
        return wheel_file(self.folder, wheel)

    def add(self, content: bytes, file: str) -> Wheel:
        """Keep a wheel.

        :param file: its name
        :raises InvalidInput: that is no name of a wheel
        :raises ChangeFailed: the disk does not take it
        """
        try:
            name, version = named(file)
        except SetUnusable as error:
            raise InvalidInput(str(error)) from None
        wheel = Wheel(name, version, file, digest(content), len(content))
        place = self.path(wheel)
        if not self._has(wheel):
            part = place.with_name(f".{file}.{os.getpid()}")
            try:
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part.write_bytes(content)
                part.replace(place)
            except OSError as error:
                part.unlink(missing_ok=True)
                said = f"{file} cannot be kept in {self.folder}: {error.strerror or error}"
                raise ChangeFailed(said) from None
        return wheel

    def _has(self, wheel: Wheel) -> bool:
        try:
            return digest(self.path(wheel).read_bytes()) == wheel.sha256
        except OSError:
            return False

    def found(self, sha256: str) -> Wheel | None:
        """Return the wheel with a hash; nothing where there is none that is whole."""
        try:
            files = [place for place in (self.folder / sha256).iterdir() if place.suffix == ".whl"]
        except OSError:
            return None
        for place in files:
            wheel = Wheel(*named(place.name), place.name, sha256, place.stat().st_size)
            if self._has(wheel):
                return wheel
        return None

    def content(self, wheel: Wheel) -> bytes:
        """Return what is in a wheel.

        :raises SetUnusable: it is not there
        """
        try:
            return self.path(wheel).read_bytes()
        except OSError as error:
            raise SetUnusable(f"{wheel.file} cannot be read: {error.strerror}") from None

    def files(self, wheel: Wheel) -> set[str]:
        """Return the files that a wheel brings, by their paths.

        :raises ChangeFailed: it is no whole wheel
        """
        try:
            with zipfile.ZipFile(self.path(wheel)) as archive:
                return {os.path.normpath(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError) as error:
            raise ChangeFailed(f"{wheel.file} is no whole wheel: {error}") from None

    def modules(self, wheel: Wheel) -> Sequence[str]:
        """Return what a wheel's plugins are imported by: the values of their entry points.

        :raises ChangeFailed: it is no whole wheel
        """
        try:
            with zipfile.ZipFile(self.path(wheel)) as archive:
                names = [n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt")]
                text = archive.read(names[0]).decode() if names else ""
        except (zipfile.BadZipFile, OSError, UnicodeDecodeError) as error:
            raise ChangeFailed(f"{wheel.file} is no whole wheel: {error}") from None
        parser = ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
        try:
            parser.read_string(text)
        except (ValueError, ConfigError) as error:
            raise ChangeFailed(f"{wheel.file} has broken entry points: {error}") from None
        return [*parser[GROUP].values()] if parser.has_section(GROUP) else []
