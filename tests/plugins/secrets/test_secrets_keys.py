"""Where keys come from, and what is said where they do not fit."""

from __future__ import annotations

import pickle
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from flowdapt_secrets import keys
from flowdapt_secrets.keys import KeyMissing, Keyring, KeyUnusable


def a_key() -> str:
    return Fernet.generate_key().decode()


def test_a_key_that_is_made_is_for_its_owner_alone_and_made_once(tmp_path: Path) -> None:
    file = tmp_path / keys.FILE

    keys.make(file)
    first = file.read_text()
    keys.make(file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == first
    assert [path.name for path in tmp_path.iterdir()] == [keys.FILE]
    assert keys.found(file).texts == [first.strip()]


def test_the_environment_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, new, old = tmp_path / keys.FILE, a_key(), a_key()
    keys.make(file)

    monkeypatch.setenv(keys.VARIABLE, f" {new} , {old}")

    assert keys.found(file).texts == [new, old]


def test_the_first_key_encrypts_and_all_of_them_open() -> None:
    old, new = a_key(), a_key()
    stored = Keyring([old], "here").seal("TOKEN", "välue\0 with all\n")

    both = Keyring([new, old], "here")

    assert both.open("TOKEN", stored) == "välue\0 with all\n"
    assert Keyring([new], "here").open("TOKEN", both.seal("TOKEN", "x")) == "x"


def test_without_any_key_it_is_said_where_one_may_come_from(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing) as caught:
        keys.found(tmp_path / keys.FILE)

    assert str(caught.value) == (
        f"secrets are encrypted, and there is no key for them here: put back {tmp_path}/secrets.key"
        " from a backup, or set FLOWDAPT_SECRETS_KEY; without the key they have to be deleted and "
        "set again"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_secret_of_another_key_is_named_with_what_to_do() -> None:
    stored = Keyring([a_key()], "there").seal("TOKEN", "value")

    with pytest.raises(KeyUnusable) as caught:
        Keyring([a_key()], "the key file F").open("TOKEN", stored)

    assert str(caught.value) == (
        "secret 'TOKEN' cannot be opened with the keys in the key file F: add the key that it was "
        "stored with to FLOWDAPT_SECRETS_KEY, after a comma, or set the secret again"
    )


def test_a_secret_does_not_open_under_the_name_of_another() -> None:
    keyring = Keyring([a_key()], "here")

    with pytest.raises(KeyUnusable, match="secret 'LOW' cannot be opened"):
        keyring.open("LOW", keyring.seal("HIGH", "value"))


@pytest.mark.parametrize("text", ["password", "c2hvcnQ=", "ü" * 44])
def test_what_is_no_key_is_refused_without_showing_it(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(keys.VARIABLE, f"{a_key()},{text}")

    with pytest.raises(KeyUnusable) as caught:
        keys.found(tmp_path / keys.FILE)

    assert str(caught.value).startswith(
        "the variable FLOWDAPT_SECRETS_KEY: key 2 of 2 is no key; make one with: python -c"
    )
    assert text not in str(caught.value)


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / keys.FILE
    file.touch(0o600)

    with pytest.raises(KeyUnusable, match="what stands there is no key"):
        keys.found(file)


def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / keys.FILE
    keys.make(file)
    file.chmod(0o644)

    with pytest.raises(KeyUnusable, match=r"is open to everybody: chmod 600 it"):
        keys.found(file)


def test_a_file_that_cannot_be_made_is_named_with_the_other_way(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match=r"cannot be made .*; set FLOWDAPT_SECRETS_KEY instead"):
        keys.make(tmp_path / "gone" / keys.FILE)
