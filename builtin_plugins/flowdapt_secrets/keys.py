"""The keys that secrets are encrypted with: in the environment, else in a file of their own.

There may be several, with commas or line ends between them: the first encrypts, all decrypt. So a
key is replaced by a new one before it, and goes when every secret was set again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flowdapt.errors import SettingsError

VARIABLE = "FLOWDAPT_SECRETS_KEY"
FILE = "secrets.key"  #: in the application directory
OTHERS = 0o007  #: what the mode of the file must not allow

_NEW = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'


class KeyUnusable(SettingsError):
    """Secrets cannot be encrypted or opened with the keys that there are."""


class KeyMissing(KeyUnusable):
    """There is no key, neither in the environment nor in the file."""

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"secrets are encrypted, and there is no key for them here: put back {file} from a "
            f"backup, or set {VARIABLE}; without the key they have to be deleted and set again"
        )
        self.file = file


class Keyring:
    """Keys, ready for use.

    :param texts: the keys, the one that encrypts first
    :param where: where they come from, for messages
    :raises KeyUnusable: one of them is no key
    """

    def __init__(self, texts: Sequence[str], where: str) -> None:
        from cryptography.fernet import Fernet, MultiFernet  # not for servers without secrets

        self.texts, self.where = texts, where
        made = []
        for number, text in enumerate(texts, 1):
            try:
                made.append(Fernet(text))
            except ValueError:  # whose message shows nothing of the key, and neither does ours
                what = f"key {number} of {len(texts)}" if len(texts) > 1 else "what stands there"
                raise KeyUnusable(f"{where}: {what} is no key; make one with: {_NEW}") from None
        self._keys = MultiFernet(made)

    def seal(self, name: str, value: str) -> str:
        """Return the value of a secret as text that only these keys open, and under its name."""
        return self._keys.encrypt(f"{name}\0{value}".encode()).decode()

    def open(self, name: str, sealed: str) -> str:
        """Return the value of a secret.

        :raises KeyUnusable: it was encrypted with another key, or is not what was stored
        """
        from cryptography.fernet import InvalidToken

        with suppress(InvalidToken):
            of, _, value = self._keys.decrypt(sealed).decode().partition("\0")
            if of == name:  # or somebody stored it under another one's name
                return value
        raise KeyUnusable(
            f"secret {name!r} cannot be opened with the keys in {self.where}: add the key that it "
            f"was stored with to {VARIABLE}, after a comma, or set the secret again"
        )


def found(file: Path) -> Keyring:
    """Return the keys of the environment or, without any there, of the file.

    :raises KeyMissing: there are none
    :raises KeyUnusable: they are no keys, or the file cannot be read, or others can read it
    """
    if texts := os.environ.get(VARIABLE, "").replace(",", " ").split():
        return Keyring(texts, f"the variable {VARIABLE}")
    try:
        text, mode = file.read_text(errors="replace"), file.stat().st_mode
    except FileNotFoundError:
        raise KeyMissing(file) from None
    except OSError as error:
        raise KeyUnusable(f"the key file {file} cannot be read: {error.strerror}") from error
    if mode & OTHERS:
        raise KeyUnusable(
            f"the key file {file} is open to everybody: chmod 600 it, and think whether somebody "
            f"has read it; where the file system has no modes, set {VARIABLE} instead"
        )
    return Keyring(text.replace(",", " ").split() or [""], f"the key file {file}")


def make(file: Path) -> None:
    """Make a key and store it in the file, for its owner alone; a file that is there stays."""
    import tempfile  # for once in the life of a server

    from cryptography.fernet import Fernet

    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(Fernet.generate_key() + b"\n")
            stream.flush()
            os.fsync(descriptor)
        try:
            with suppress(FileExistsError):  # a rename would replace a key that is in use
                os.link(name, file)
        finally:
            os.unlink(name)
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)  # no secret is stored before its key is
        os.close(folder)
    except OSError as error:
        raise KeyUnusable(
            f"the key file {file} cannot be made ({error.strerror}); set {VARIABLE} instead"
        ) from error
