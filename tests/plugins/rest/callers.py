"""What callers send that have tokens."""

from __future__ import annotations

WORKFLOW = {
    "metadata": {"name": "made"},
    "spec": {"stages": [{"name": "only", "target": "rest_stages.echo"}]},
}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}
