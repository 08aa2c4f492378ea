"""Writers that are killed: readers find the old or the new artifact, and nothing is left behind."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from flowdapt.artifacts import Artifact, Store, sweep
from tests.object_storages import new_bucket

# Saves the artifact anew in a child that kills itself before the first access to the file system,
# then in one that gets as far as the second, and so on, until one gets to the end.
AT_EVERY_STEP = """
import json, os, signal, sys
from flowdapt_artifacts import commits
from flowdapt_artifacts.store import Store

base, action = sys.argv[1:]
store = Store("file", base)
CALLS = ("open", "os.", "fcntl.", "shutil.")

def save(artifact, value):
    artifact.clear()
    artifact["value"] = value
    for name in ("a", "b", f"only-{value}"):
        artifact.new_file(name, value * 1000)

def load(artifact):
    return [artifact["value"], sorted((file.name, file.read().decode()[:3]) for file in artifact)]

def act():
    if action == "save":
        store.save("here", "it", "new", hook=save)
    elif action == "keep":
        store.save("here", "it", "new", hook=save, keep=1)
    elif action == "delete":
        store.delete("here", "it")

def seen():
    try:
        found = store.load("here", "it", hook=load)
    except FileNotFoundError:
        return None
    earlier = store.versions("here", "it")[:-1]
    return [*found, [store.load("here", "it", hook=load, version=n) for n in earlier]]

step, outcomes = 0, []
while True:
    step += 1
    store.delete("here", "it")
    store.save("here", "it", "one", hook=save, keep=0)
    store.save("here", "it", "old", hook=save)
    child = os.fork()
    if not child:
        left = step
        def count(event, arguments):
            global left
            if event.startswith(CALLS) and event not in ("os.getpid", "os.kill"):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        act()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    before = seen()
    if step % 2:
        commits.sweep(store.root())
        left_over = [f for _, _, files in os.walk(store.root().hidden) for f in files]
        outcomes.append([before, seen(), len(left_over)])
    else:
        store.save("here", "it", "new", hook=save, keep=0)
        drafts = f"{store.root().hidden}/here/drafts"
        outcomes.append([before, before, len(os.listdir(drafts))])
    if code == 0:
        break
print(json.dumps([step, outcomes]))
"""

# Saves over and over, until it is killed.
ENDLESS = """
import sys
from itertools import count
from flowdapt_artifacts.store import Store

def save(artifact, value):
    artifact.clear()
    for name in ("a", "b", "c"):
        artifact.new_file(name, f"{value} " * 50_000)

store = Store("file", sys.argv[1])
for number in count():
    store.save("here", "it", number, hook=save, keep=2)
    print(number, flush=True)
"""


def content(value: str, *earlier: Any) -> list[Any]:
    """Return what a reader finds of a value that was saved."""
    files = [[name, value] for name in ("a", "b", f"only-{value}")]
    return [value, files, list(earlier)]


OLD, NEW = content("old"), content("new")


@pytest.mark.parametrize(
    ("action", "new"), [("save", NEW), ("keep", content("new", OLD[:2])), ("delete", None)]
)
def test_a_writer_may_be_killed_before_any_access_to_the_file_system(
    tmp_path: Path, action: str, new: Any
) -> None:
    command = [sys.executable, "-c", AT_EVERY_STEP, str(tmp_path), action]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    steps, outcomes = json.loads(done.stdout)
    assert steps > 20
    for before, after, left_over in outcomes:
        assert before in (OLD, new)
        assert after == before
        if action == "keep" and before == new:
            continue  # the earlier version stays
        assert left_over == 0
    assert outcomes[0][0] == OLD
    assert outcomes[-1][0] == new


def test_a_writer_may_be_killed_at_any_time(tmp_path: Path, store: Store) -> None:
    chance = random.Random(7)

    def load(artifact: Artifact) -> set[str]:
        return {text for file in artifact for text in file.read().decode().split()}

    for _ in range(10):
        command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            writer.stdout.readline()
            try:
                writer.wait(chance.uniform(0, 0.05))
            except subprocess.TimeoutExpired:
                writer.kill()
            told = writer.stdout.read().split()

        (found,) = store.load("here", "it", hook=load)
        assert int(found) in (last := int(told[-1] if told else 0), last + 1)
        for version in store.versions("here", "it"):
            assert len(store.load("here", "it", hook=load, version=version)) == 1

    sweep("file", str(tmp_path))
    hidden = tmp_path / "artifacts" / ".flowdapt" / "here"
    assert [*(hidden / "drafts").iterdir(), *(hidden / "locks").iterdir()] == []
    assert len([*(hidden / "versions" / "it").iterdir()]) == 2
    names = sorted(path.name for path in (tmp_path / "artifacts" / "here" / "it").iterdir())
    assert names == [".artifact.json", "a", "b", "c"]


# For each line it reads, saves the artifact in a child that kills itself before a request.
BEFORE_A_REQUEST = """
import json, os, signal, sys
from s3fs import S3FileSystem
from flowdapt_artifacts.store import Store

def save(artifact, value):
    artifact.clear()
    artifact["value"] = value
    artifact.new_file(f"only-{value}", value * 1000)

for line in sys.stdin:
    left, base, parameters = json.loads(line)
    child = os.fork()
    if not child:
        request = S3FileSystem._call_s3
        async def count(*arguments, **options):
            global left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return await request(*arguments, **options)
        S3FileSystem._call_s3 = count
        Store("s3", base, parameters).save("here", "it", "new", hook=save)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_writer_to_an_object_storage_may_be_killed_before_any_request(
    s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowdapt_artifacts.remote.LEASE_SECONDS", 0.05)
    base = new_bucket(s3)
    store, files = Store("s3", base, s3), fsspec.filesystem("s3", **s3)

    def save(artifact: Artifact, value: str) -> None:
        artifact.clear()
        artifact["value"] = value
        artifact.new_file(f"only-{value}", value * 1000)

    def load(artifact: Artifact) -> list[Any]:
        files = [(file.name, file.read().decode()[:3]) for file in artifact]
        return [artifact["value"], *files]

    old, new = ([value, (f"only-{value}", value)] for value in ("old", "new"))
    command = [sys.executable, "-c", BEFORE_A_REQUEST]
    step, code = 0, "-9"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as writer:
        assert writer.stdin
        assert writer.stdout
        while code == "-9":
            step += 1
            store.save("here", "it", "old", hook=save)
            writer.stdin.write(json.dumps([step, base, s3]) + "\n")
            code = writer.stdout.readline().strip()

            found = store.load("here", "it", hook=load)
            assert found in (old, new)
            sweep("s3", base, age=0, **s3)
            assert store.load("here", "it", hook=load) == found
            files.invalidate_cache()
            there = {path.rpartition("/artifacts/")[2] for path in files.find(base)}
            assert there == {"here/it/.artifact.json", f"here/it/only-{found[0]}"}

    assert (code, found) == ("0", new)
    assert step > 8
