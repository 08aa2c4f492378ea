"""A config on its way to a stage: ciphertext until the stage asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowdapt_secrets import keys
from flowdapt_secrets.masks import Masks
from flowdapt_secrets.references import replaced


class SealedConfig:
    """A config with its secrets still encrypted, see :class:`flowdapt.context.Sealed`.

    :param data: the config as it was written
    :param tokens: the secrets that it names, encrypted, by name
    :param key_file: where the keys are that open them, unless the environment has some
    """

    def __init__(self, data: dict[str, Any], tokens: Mapping[str, str], key_file: Path) -> None:
        self._data, self._tokens, self._key_file = data, tokens, key_file
        self._opened: dict[str, Any] | None = None
        self._masks: Masks | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return SealedConfig, (self._data, self._tokens, self._key_file)  # never what was opened

    def __call__(self) -> dict[str, Any]:
        """Return the config with its secrets in place.

        :raises KeyUnusable: there is no key here, or not the right one
        """
        if self._opened is None:
            keyring = keys.found(self._key_file)
            values = {name: keyring.open(name, token) for name, token in self._tokens.items()}
            # Stages could print their environment, and that has the keys.
            self._masks = Masks((*values.values(), *keyring.texts))
            self._opened = replaced(self._data, values)
        return self._opened

    def mask(self, text: str) -> str:
        """Return ``text`` without the secrets, once they were opened here."""
        return text if self._masks is None else self._masks(text)
