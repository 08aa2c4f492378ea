"""What may be installed at all, as the settings have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowdapt_sets.sets import Wheel
from packaging.utils import canonicalize_name

from flowdapt.errors import SettingsError
from flowdapt_installer.errors import PolicyForbids

POLICIES = ("any", "hashed", "allowlist")


class Policy:
    """What may be installed.

    :param policy: ``any``; ``hashed``, only what comes with a hash that its sender knows;
        ``allowlist``, only certain distributions, whatever needs them
    :param allow: their names
    :raises SettingsError: there is no such policy
    """

    def __init__(
        self, *, policy: str = "any", allow: Iterable[str] | str = (), **rest: Any
    ) -> None:
        if policy not in POLICIES:
            right = ", ".join(POLICIES)
            raise SettingsError(f"services.plugin_sets.policy is {policy!r}, and can be {right}")
        if rest:
            raise SettingsError(f"services.plugin_sets.{min(rest)} means nothing")
        names = allow.split(",") if isinstance(allow, str) else allow
        self.policy = policy
        self.allowed = {canonicalize_name(name.strip()) for name in names}

    def check_wanted(self, hashes: Mapping[str, str]) -> None:
        """Refuse requirements without a hash where they need one.

        :param hashes: of each requirement, empty where none was given
        """
        if self.policy == "hashed":
            for requirement, known in hashes.items():
                if not known:
                    raise PolicyForbids(
                        f"{requirement!r} has no hash, and services.plugin_sets.policy is "
                        "'hashed': give a wheel, or add --hash=sha256:... to the requirement"
                    )

    def check_source(self, text: str) -> None:
        """Refuse to build what nobody can know before it was built."""
        if self.policy != "any":
            raise PolicyForbids(
                f"{text!r} would be built here, and services.plugin_sets.policy is "
                f"{self.policy!r}: build it elsewhere, and give the wheel"
            )

    def check_name(self, name: str) -> None:
        """Refuse a distribution that is not allowed, before anything of it is fetched or built."""
        if self.policy == "allowlist" and canonicalize_name(name) not in self.allowed:
            raise PolicyForbids(
                f"{name} is not among services.plugin_sets.allow, "
                "and services.plugin_sets.policy is 'allowlist'"
            )

    def check(self, wheels: Iterable[Wheel]) -> None:
        """Refuse a set that has what is not allowed."""
        if self.policy == "allowlist":
            for wheel in wheels:
                if wheel.name not in self.allowed:
                    raise PolicyForbids(
                        f"{wheel.name} is not among services.plugin_sets.allow, "
                        "and services.plugin_sets.policy is 'allowlist'"
                    )
