"""A server as people run it, killed in the middle: what lies about afterwards is looked through."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import httpx
from flowdapt_secrets import keys

from tests.plugins.secrets.conftest import holding

VALUE = "correct-horse-battery"
LOGGED = "server.log"
MODULE = """
    import logging
    from flowdapt import get_run_context

    def calls():
        header = get_run_context().config["header"]
        print("with", header)
        logging.getLogger("calls").error("with %s", header)
        raise ConnectionError(f"refused: {header}")
"""


@contextmanager
def serving(app_dir: Path) -> Iterator[str]:
    """Run a server that logs all it can, and kill it in the end."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FLOWDAPT")}
    options = ["-d", str(app_dir), "-o", "rpc.api.port=0", "-o", "logging.level=debug"]
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "flowdapt", *options, "serve"],
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    log = []
    try:
        for line in process.stdout:
            log.append(line)
            if "serves at " in line:
                yield line.split("serves at ")[1].split(",")[0].strip()
                break
    finally:
        process.kill()
        rest, _ = process.communicate()
        (app_dir / LOGGED).write_text("".join(log) + rest)


def test_no_file_and_no_reply_of_a_server_holds_a_secret(tmp_path: Path) -> None:
    app_dir = tmp_path / "app"
    (app_dir / "user_modules").mkdir(parents=True)
    (app_dir / "user_modules" / "calls.py").write_text(dedent(MODULE))
    stage = {"name": "calls", "target": "user_modules.calls.calls"}
    selector = {"type": "name", "value": "calls"}
    data = {"header": "Bearer $secret{TOKEN}"}
    config = {"metadata": {"name": "calls"}, "spec": {"selector": selector, "data": data}}
    replies = []

    with serving(app_dir) as url, httpx.Client(base_url=url, timeout=30) as client:

        def ask(method: str, path: str, **facts: object) -> httpx.Response:
            replies.append(client.request(method, path, **facts))  # type: ignore[arg-type]
            return replies[-1]

        ask("PUT", "/secrets/TOKEN", json={"value": VALUE})
        ask("POST", "/configs/", json=config)
        workflow = {"metadata": {"name": "calls"}, "spec": {"stages": [stage]}}
        ask("POST", "/workflows/", json=workflow)
        headers = {"X-API-Version": "workflow_run.v1"}
        run = ask("POST", "/workflows/calls/run?wait=true", headers=headers).json()
        uid = run["uid"]
        ask("GET", f"/workflows/run/{uid}", headers=headers)
        stages = ask("GET", f"/workflows/run/{uid}/stages")
        logs = ask("GET", f"/workflows/run/{uid}/logs")
        shown = ask("GET", "/configs/calls")
        for path in ("/configs/", "/secrets/", "/workflows/calls/run", "/status", "/metrics"):
            ask("GET", path)

    assert [reply.status_code for reply in replies] == [200] * len(replies)
    assert shown.json()["spec"]["data"] == data
    assert "refused: Bearer ***" in stages.text
    assert "with Bearer ***" in logs.text
    assert [reply.url.path for reply in replies if VALUE in reply.text] == []
    assert (app_dir / LOGGED).stat().st_size > 0
    assert any(path.name.endswith("-wal") for path in app_dir.iterdir())
    assert holding(app_dir, VALUE) == []
    assert holding(app_dir, "TOKEN") != []
    assert (app_dir / keys.FILE).exists()
