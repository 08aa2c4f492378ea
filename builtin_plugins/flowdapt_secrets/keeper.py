"""Where secrets are kept: as ciphertext, beside the resources of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from flowdapt.errors import ResourceChanged, ResourceExists, ResourceNotFound, StageError, nearest
from flowdapt.resources import Metadata, Model, Resource, now
from flowdapt.storage import Storage
from flowdapt_secrets import keys
from flowdapt_secrets.references import named
from flowdapt_secrets.sealed import SealedConfig

KIND = "secret"


class SecretSpec(Model):
    """What is stored of a value."""

    token: str


class Secret(Resource):
    """A secret as it is stored. The kind is not offered to anybody: there are own routes for it."""

    collection: ClassVar[str] = "secrets"

    kind: Literal["secret"] = "secret"
    spec: SecretSpec


class SecretNotSet(StageError):
    """A config names secrets that are not there."""


class Keeper:
    """Stores secrets, and seals the configs that name some.

    :param storage: of the server
    :param app_dir: where the file with the key is, or will be
    """

    def __init__(self, storage: Storage, app_dir: Path) -> None:
        self._storage, self.key_file = storage, app_dir.absolute() / keys.FILE

    async def list(self) -> list[Metadata]:
        """Return what is known of all secrets, in the order in which they were first set."""
        found = await self._storage.list(KIND)
        return [Secret.parse(document, where="stored secret").metadata for document in found]

    async def put(self, name: str, value: str) -> Metadata:
        """Store a secret, encrypted with the first key, in place of an earlier value if any.

        :raises KeyUnusable: nothing can be encrypted
        """
        keyring = await self._keyring()
        spec = SecretSpec(token=keyring.seal(name, value))
        while True:
            try:
                return await self._store(name, spec)
            except (ResourceExists, ResourceChanged, ResourceNotFound):
                continue  # somebody else set or deleted it meanwhile

    async def _store(self, name: str, spec: SecretSpec) -> Metadata:
        try:
            old = await self._get(name)
        except ResourceNotFound:
            time = now()
            metadata = Metadata(name=name, created_at=time, updated_at=time)
            await self._storage.create(Secret(metadata=metadata, spec=spec).model_dump(mode="json"))
            return metadata
        generation = old.metadata.generation
        new = Secret(metadata=old.metadata, spec=spec)
        new = new.noting(updated_at=now(), generation=generation + 1)
        await self._storage.replace(new.model_dump(mode="json"), expected=generation)
        return new.metadata

    async def delete(self, name: str) -> Metadata:
        """Remove a secret; runs that have begun may still open it.

        :raises ResourceNotFound: there is none
        """
        secret = await self._get(name)
        await self._storage.delete(KIND, secret.metadata.uid)
        return secret.metadata

    async def seal(self, config: dict[str, Any]) -> SealedConfig:
        """Return a config with the secrets that it names, as they are now and still encrypted.

        :raises SecretNotSet: naming those that are not there, and the keys that name them
        :raises MalformedReference: the config has a ``$secret{`` that names nothing
        """
        tokens, missing = {}, {}
        for name, path in named(config).items():
            try:
                tokens[name] = (await self._get(name)).spec.token
            except ResourceNotFound:
                missing[name] = path
        if missing:
            there = [metadata.name for metadata in await self.list()]
            faults = (
                f"config key {path!r} names the secret {name!r}, which is not set"
                f"{nearest(name, there)}"
                for name, path in missing.items()
            )
            raise SecretNotSet("; ".join(faults))
        return SealedConfig(config, tokens, self.key_file)

    async def _get(self, name: str) -> Secret:
        return Secret.parse(await self._storage.get(KIND, name), where=f"stored secret {name}")

    async def _keyring(self) -> keys.Keyring:
        """Return the keys, and make the first one."""
        try:
            return keys.found(self.key_file)
        except keys.KeyMissing:
            if await self._storage.list(KIND):
                raise  # a new key would hide that the one for these is lost
            keys.make(self.key_file)
            return keys.found(self.key_file)
