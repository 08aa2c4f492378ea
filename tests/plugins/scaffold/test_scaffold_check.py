"""``flowdapt plugins check``: what it tells of projects and wheels, sound ones and others."""

from __future__ import annotations

import re
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from flowdapt_scaffold import trials

from .conftest import Call

PYPROJECT = """
    [project]
    name = "orchard"
    version = "1.0"
    dependencies = ["flowdapt>=1.0,<2"]

    [project.entry-points."flowdapt.plugins"]
    orchard = "orchard"
"""
WORKFLOW = """
    kind: workflow
    metadata: {name: picking}
    spec:
      stages: [{name: pick, target: orchard.stages.pick}]
"""
Make = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Make:
    """Make a project of these files; ``pyproject`` and the stages are there anyway."""

    def make(source: str = "", *, pyproject: str = PYPROJECT, **files: str) -> Path:
        package = tmp_path / "orchard" / "orchard"
        package.mkdir(parents=True)
        texts = {"__init__.py": source, "stages.py": "def pick() -> None: ...", **files}
        for name, text in texts.items():
            (package / name).write_text(textwrap.dedent(text))
        (package.parent / "pyproject.toml").write_text(textwrap.dedent(pyproject))
        return package.parent

    return make


def wheel(path: Path, **texts: str) -> Path:
    """Write a wheel of the plugin ``orchard``, with these files of its metadata."""
    about = {"METADATA": "Metadata-Version: 2.1\nName: orchard\nVersion: 1.0\n"}
    about["entry_points"] = "[flowdapt.plugins]\norchard = orchard\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("orchard/__init__.py", "")
        for name, text in {**about, **texts}.items():
            file = name if name == "METADATA" else f"{name}.txt"
            archive.writestr(f"orchard-1.0.dist-info/{file}", text)
    return path


def test_a_sound_plugin_is_told_of_whole(flowdapt: Call, project: Make) -> None:
    source = """
        from flowdapt.hooks import Provider, hookimpl

        print("this is no part of the answer")

        @hookimpl
        def flowdapt_executors():
            return [Provider("orchard", "flowdapt.testing:InlineExecutor", "Trees.")]

        @hookimpl
        def flowdapt_event(event):
            pass
    """
    folder = project(source, **{"picking.yaml": WORKFLOW})

    done = flowdapt("check", folder)

    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "orchard 1.0",
        "  requires     flowdapt>=1.0,<2, which is this, 1.0.0",
        "  plugin       orchard is healthy",
        "  executors    orchard",
        "  hook         flowdapt_event",
        "  workflow     picking in orchard/picking.yaml",
        "nothing is wrong",
    ]


def test_scripts_read_the_same(flowdapt: Call, project: Make) -> None:
    folder = project(**{"picking.yaml": WORKFLOW})

    report = flowdapt("check", folder, "-o", "json").json()

    assert report == {
        "path": str(folder),
        "name": "orchard",
        "version": "1.0",
        "requires": "flowdapt>=1.0,<2",
        "fits": True,
        "flowdapt": "1.0.0",
        "plugins": [
            {
                "name": "orchard",
                "version": "1.0",
                "state": "healthy",
                "reason": "",
                "provides": [],
                "module": "orchard",
                "hooks": [],
            }
        ],
        "resources": [{"kind": "workflow", "name": "picking", "file": "orchard/picking.yaml"}],
        "problems": [],
        "notes": [],
    }


def test_a_wheel_is_checked_like_a_project(flowdapt: Call, tmp_path: Path) -> None:
    file = wheel(tmp_path / "orchard-1.0-py3-none-any.whl")

    done = flowdapt("check", file)

    assert done.status == 0
    assert "  note         it does not say which flowdapt it requires\n" in done.out


def test_what_it_requires_and_is_not_there_is_noted(flowdapt: Call, project: Make) -> None:
    more = ', "pluggy>=99", "no-such-library>=1", "absent; python_version < \'3\'"]'
    pyproject = PYPROJECT.replace('<2"]', '<2"' + more)

    done = flowdapt("check", project(pyproject=pyproject))

    assert done.status == 0
    assert "it requires no-such-library>=1, which is not installed here\n" in done.out
    assert re.search(r"it requires pluggy>=99, and 1\.\S+ is installed here\n", done.out)
    assert "absent" not in done.out


def test_a_wheel_for_another_python_is_told(flowdapt: Call, tmp_path: Path) -> None:
    file = wheel(tmp_path / "orchard-1.0-cp27-cp27m-win32.whl")

    done = flowdapt("check", file)

    assert done.status == 1
    assert "the wheel is for cp27-cp27m-win32, and not for this Python" in done.out


def test_a_package_without_an_entry_point_is_told(flowdapt: Call, tmp_path: Path) -> None:
    file = wheel(tmp_path / "orchard-1.0-py3-none-any.whl", entry_points="")

    done = flowdapt("check", file)

    assert done.status == 1
    assert "orchard: has no entry point in the group 'flowdapt.plugins'" in done.out


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        (">=1.0,<2", ">=2", "is incompatible: requires 'flowdapt>=2', and this is 1.0.0"),
        ('"1.0"', '"1.0"\n    requires-python = ">=4"', "requires Python >=4, and this is 3."),
        ('"1.0"', '"1.0"\n    requires-python = "4?"', "'4?', and should be such as '>=3.11'"),
        ('= "orchard"\n', '= "garden"\n', "names the module 'garden', which is not in "),
    ],
)
def test_metadata_that_do_not_fit_are_told(
    flowdapt: Call, project: Make, old: str, new: str, fact: str
) -> None:
    before, _, after = PYPROJECT.rpartition(old)

    done = flowdapt("check", project(pyproject=f"{before}{new}{after}"))

    assert done.status == 1
    assert fact in done.out


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        ("import no_such_library", "orchard is quarantined"),
        ("raise SystemExit(3)", "import failed: SystemExit: 3"),
        ("import os; os._exit(3)", "exited with status 3 while importing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        (
            """
            from flowdapt.hooks import hookimpl

            @hookimpl
            def flowdapt_excutors(): return []
            """,
            "no hook is named 'flowdapt_excutors' (did you mean 'flowdapt_executors'",
        ),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_told_with_the_reason(
    flowdapt: Call, project: Make, source: str, fact: str
) -> None:
    done = flowdapt("check", project(source))

    assert done.status == 1
    assert fact in done.out


@pytest.mark.parametrize(
    ("target", "fact"),
    [
        ("orchard.absent:Executor", "No module named 'orchard.absent'"),
        ("orchard.parts:Absent", "module 'orchard.parts' has no 'Absent'"),
        ("orchard.parts:Tree", "Tree is no subclass of flowdapt.executors.Executor"),
        ("orchard.parts:Half", "Half lacks cancel, fetch, lookup, nodes, release, start"),
        ("orchard.parts:NUMBER", "is 1, and should be a Executor"),
    ],
)
def test_a_part_that_is_not_what_it_should_be_is_told(
    flowdapt: Call, project: Make, target: str, fact: str
) -> None:
    source = f"""
        from flowdapt.hooks import Provider, hookimpl

        @hookimpl
        def flowdapt_executors():
            return [Provider("orchard", "{target}", "Trees.")]
    """
    parts = """
        from flowdapt.executors import Executor

        NUMBER = 1

        class Tree: ...

        class Half(Executor):
            def submit(self, call): ...
    """

    done = flowdapt("check", project(source, **{"parts.py": parts}))

    assert done.status == 1
    assert f"executors:orchard: {fact}" in done.out or fact in done.out


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (WORKFLOW.replace("pick}", "pik}"), "pik"),
        (WORKFLOW.replace("orchard.stages", "no_such"), "there is no module 'no_such'"),
        (WORKFLOW.replace("pick}", "pick, type: tripled}"), "no stage type 'tripled'"),
        (WORKFLOW.replace("workflow", "workfow"), "kind: 'workfow' is none; there are 'workflow'"),
        (WORKFLOW.replace("spec", "spek"), "spek: unknown field"),
        (WORKFLOW.replace("{name: picking}", "{name: ["), "malformed"),
        (f"{WORKFLOW}    ---{WORKFLOW}", "there is another workflow 'picking'"),
        (
            "kind: trigger_rule\nmetadata: {name: a}\nspec: {type: schedule, rule: often, "
            "action: {target: run_workflow, parameters: {workflow: picking}}}",
            "often",
        ),
        (
            "kind: trigger_rule\nmetadata: {name: a}\nspec: {type: schedule, rule: 0 3 * * *, "
            "action: {target: run_workflo}}",
            "no action is named 'run_workflo'",
        ),
        (
            "kind: trigger_rule\nmetadata: {name: a}\nspec: {type: tides, rule: flood, "
            "action: {target: orchard.stages.absent}}",
            "no trigger named 'tides'",
        ),
    ],
)
def test_resources_that_are_wrong_are_told_with_their_file(
    flowdapt: Call, project: Make, text: str, fact: str
) -> None:
    done = flowdapt("check", project(**{"bundled.yaml": text}))

    assert done.status == 1
    assert fact in done.out
    assert "bundled.yaml" in done.out


def test_all_files_that_are_wrong_are_told_at_once(flowdapt: Call, project: Make) -> None:
    broken = {f"{name}.yaml": f"kind: workflow\nmetadata: {{name: {name}" for name in "ab"}
    other = {"manifest.yaml": "of: another tool"}

    done = flowdapt("check", project(**broken, **other, **{"picking.yaml": WORKFLOW}))

    assert "a.yaml" in done.out
    assert "b.yaml" in done.out
    assert "manifest.yaml" not in done.out
    assert "  workflow     picking in orchard/picking.yaml\n" in done.out


def test_a_stage_that_never_comes_back_ends_with_its_time(
    flowdapt: Call, project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "SECONDS", 3.0)
    stages = "import threading\nthreading.Event().wait()"

    done = flowdapt("check", project(**{"stages.py": stages, "picking.yaml": WORKFLOW}))

    assert done.status == 1
    assert "took longer than 3 s to be checked" in done.out


def test_a_stage_that_ends_the_process_is_told(flowdapt: Call, project: Make) -> None:
    stages = "import os\nos._exit(7)"

    done = flowdapt("check", project(**{"stages.py": stages, "picking.yaml": WORKFLOW}))

    assert done.status == 1
    assert "ended with status 7 while it was checked" in done.out


@pytest.mark.parametrize(
    ("name", "text", "fact"),
    [
        ("absent", None, "absent is not there; name a project's folder or a wheel"),
        ("notes.txt", "", "notes.txt is neither a project's folder nor a wheel"),
        ("orchard.whl", "", "is not named like a wheel"),
        ("orchard-1.0-py3-none-any.whl", "no zip", "cannot be read as a wheel"),
        ("empty/notes.txt", "", "is no project: it has no pyproject.toml"),
        ("old/pyproject.toml", "[tool.poetry]", "has no table [project] with a name; build a"),
        ("bad/pyproject.toml", "[project", "pyproject.toml cannot be read: "),
        (
            "late/pyproject.toml",
            '[project]\nname = "late"\ndynamic = ["version", "dependencies"]',
            "leaves dependencies to its build; build a wheel, and check that",
        ),
    ],
)
def test_what_is_no_plugin_at_all_is_refused(
    flowdapt: Call, name: str, text: str | None, fact: str
) -> None:
    file = Path(name)
    file.parent.mkdir(exist_ok=True)
    if text is not None:
        file.write_text(text)

    done = flowdapt("check", file.parent if "/" in name else file)

    assert done.status == 2
    assert fact in done.err
