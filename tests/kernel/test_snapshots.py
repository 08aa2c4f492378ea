"""The source of user modules: what counts as a change, and what an earlier run imports."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from flowdapt.snapshots import Root, Snapshots

Write = Callable[[str, str], Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder on the import path of stages."""
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


@pytest.fixture
def write(root: Path) -> Write:
    """Write a file below the root, and return its path."""

    def write(name: str, source: str) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
        return path

    return write


@pytest.fixture
def snapshots(root: Path, tmp_path: Path) -> Snapshots:
    """Snapshots of the root, kept on disk."""
    return Snapshots([Root(root)], tmp_path / "code")


def run(snapshots: Snapshots, script: str, *names: str) -> str:
    """Run a script in a process of its own, with the files of snapshots in ``files``.

    Nothing is written beside the sources.
    """
    files = [str(snapshots.file(name)) for name in names]
    begin = f"from flowdapt_workers.importing import activate_file\nfiles = {files}\n"
    finished = subprocess.run(
        [sys.executable, "-c", begin + dedent(script)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def sources(snapshots: Snapshots, name: str) -> set[str]:
    """Return the files in a snapshot, relative to its root."""
    file = snapshots.file(name)
    assert file is not None
    (root,), kept, _ = pickle.loads(file.read_bytes())
    return {os.path.relpath(path, root) for path in kept}


# What counts as a change


def test_the_same_content_has_the_same_name(snapshots: Snapshots, write: Write) -> None:
    write("a.py", "x = 1")
    first = snapshots.take()

    write("a.py", "x = 2")
    second = snapshots.take()
    write("a.py", "x = 1")

    assert snapshots.take() == first != second


def test_a_file_that_is_only_touched_is_no_change(snapshots: Snapshots, write: Write) -> None:
    path = write("a.py", "x = 1")
    first = snapshots.take()

    os.utime(path, (1, 1))

    assert snapshots.take() == first


def test_an_edit_of_the_same_size_with_its_time_set_back_is_a_change(
    snapshots: Snapshots, write: Write
) -> None:
    path = write("a.py", "x = 1")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    first = snapshots.take()
    before = path.stat()

    path.write_text("x = 2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert snapshots.take() != first


def test_quick_edits_of_the_same_size_are_all_seen(snapshots: Snapshots, write: Write) -> None:
    names = set()

    for i in range(100):
        write("a.py", f"x = {i:03}")
        names.add(snapshots.take())

    assert len(names) == 100


def test_new_renamed_and_deleted_files_are_changes(snapshots: Snapshots, write: Write) -> None:
    path = write("a.py", "x = 1")
    names = [snapshots.take()]

    other = write("package/b.py", "x = 1")
    names.append(snapshots.take())
    other.rename(other.with_name("c.py"))
    names.append(snapshots.take())
    path.unlink()
    names.append(snapshots.take())

    assert len(set(names)) == 4


def test_files_of_another_kind_do_not_count(snapshots: Snapshots, write: Write) -> None:
    write("a.py", "x = 1")
    first = snapshots.take()

    write("data.csv", "1,2")
    write("__pycache__/a.cpython-311.py", "no source")
    write(".hidden/b.py", "x = 1")
    write("node_modules/b.py", "x = 1")

    assert snapshots.take() == first


def test_virtual_environments_are_passed_over(snapshots: Snapshots, write: Write) -> None:
    write("a.py", "x = 1")
    write("env/pyvenv.cfg", "")
    write("env/lib/python3.11/site-packages/big.py", "x = 1")
    write("other/site-packages/big.py", "x = 1")

    name = snapshots.take()

    assert sources(snapshots, name) == {"a.py"}


def test_links_that_lead_back_end_nowhere(snapshots: Snapshots, write: Write, root: Path) -> None:
    write("package/a.py", "x = 1")
    for name in ("one", "two", "three"):
        (root / "package" / name).symlink_to(root / "package", target_is_directory=True)

    assert sources(snapshots, snapshots.take()) == {"package/a.py"}


def test_a_folder_that_is_linked_to_counts(
    snapshots: Snapshots, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.py").write_text("x = 1")
    (root / "linked").symlink_to(tmp_path / "project", target_is_directory=True)
    first = snapshots.take()

    (tmp_path / "project" / "a.py").write_text("x = 2")

    assert sources(snapshots, first) == {"linked/a.py"}
    assert snapshots.take() != first


def test_only_the_watched_part_of_a_root_counts(write: Write, root: Path, tmp_path: Path) -> None:
    snapshots = Snapshots([Root(root, root / "user_modules")], tmp_path / "code")
    write("user_modules/a.py", "x = 1")
    first = snapshots.take()

    write("elsewhere.py", "x = 1")

    assert snapshots.take() == first
    assert sources(snapshots, first) == {"user_modules/a.py"}


def test_without_user_modules_there_is_nothing_to_name(tmp_path: Path) -> None:
    snapshots = Snapshots()

    assert snapshots.take() == ""
    assert snapshots.file("") is None


def test_a_root_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    snapshots = Snapshots([Root(tmp_path / "later")], tmp_path / "code")
    first = snapshots.take()

    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a.py").write_text("x = 1")

    assert snapshots.take() != first


# What a run imports


def test_a_run_keeps_its_code(snapshots: Snapshots, write: Write) -> None:
    write("farm.py", "def load(): return 'old'")
    name = snapshots.take()
    write("farm.py", "def load(): return 'new'")

    said = run(snapshots, "activate_file(files[0]); import farm; print(farm.load())", name)

    assert said == "old\n"


def test_a_run_keeps_code_that_was_deleted(snapshots: Snapshots, write: Write) -> None:
    path = write("farm.py", "from helper import x")
    helper = write("helper.py", "x = 1")
    name = snapshots.take()
    path.unlink()
    helper.unlink()

    assert run(snapshots, "activate_file(files[0]); import farm; print(farm.x)", name) == "1\n"


def test_one_process_goes_from_snapshot_to_snapshot(snapshots: Snapshots, write: Write) -> None:
    write("helper.py", "x = 'old'")
    write("package/__init__.py", "from helper import x")
    write("package/stages.py", "from . import x\nfrom .inner import y\ndef load(): return x + y")
    write("package/inner.py", "y = '-y'")
    old = snapshots.take()
    write("helper.py", "x = 'new'")
    new = snapshots.take()

    script = """
        for file in (*files, *files):
            activate_file(file)
            import package.stages
            print(package.stages.load())
    """
    assert run(snapshots, script, old, new) == "old-y\nnew-y\n" * 2


def test_a_module_that_was_deleted_is_gone_from_later_snapshots(
    snapshots: Snapshots, write: Write
) -> None:
    path = write("farm.py", "")
    old = snapshots.take()
    path.unlink()
    new = snapshots.take()

    script = """
        activate_file(files[0])
        import farm
        activate_file(files[1])
        try:
            import farm
        except ModuleNotFoundError as error:
            print(error)
    """
    assert run(snapshots, script, old, new) == "No module named 'farm'\n"


def test_packages_without_an_init_file_work(snapshots: Snapshots, write: Write) -> None:
    write("space/stages.py", "from space.deep.inner import y\ndef load(): return y")
    write("space/deep/inner.py", "y = 'old'")
    name = snapshots.take()
    write("space/deep/inner.py", "y = 'new'")

    script = "activate_file(files[0]); import space.stages; print(space.stages.load())"
    assert run(snapshots, script, name) == "old\n"


def test_packages_without_an_init_file_outlive_their_folder(
    snapshots: Snapshots, write: Write, root: Path
) -> None:
    path = write("space/stages.py", "def load(): return 'old'")
    name = snapshots.take()
    path.unlink()
    path.parent.rmdir()

    script = "activate_file(files[0]); import space.stages; print(space.stages.load())"
    assert run(snapshots, script, name) == "old\n"


def test_a_folder_of_scripts_hides_no_installed_package(snapshots: Snapshots, write: Write) -> None:
    write("numpy/example.py", "x = 1")
    name = snapshots.take()

    assert run(
        snapshots, "activate_file(files[0]); import numpy; print(numpy.arange(3))", name
    ) == ("[0 1 2]\n")


def test_user_modules_come_before_installed_ones(snapshots: Snapshots, write: Write) -> None:
    write("yaml.py", "x = 'mine'")
    name = snapshots.take()

    assert run(snapshots, "activate_file(files[0]); import yaml; print(yaml.x)", name) == "mine\n"


def test_a_traceback_shows_the_lines_that_ran(snapshots: Snapshots, write: Write) -> None:
    path = write("farm.py", "def load():\n    return 1 / 0  # as it was\n")
    name = snapshots.take()
    write("farm.py", "# another\n# text\n# altogether\n")

    script = """
        import traceback
        activate_file(files[0])
        import farm
        try:
            farm.load()
        except ZeroDivisionError:
            traceback.print_exc(file=__import__("sys").stdout)
    """
    said = run(snapshots, script, name)

    assert f'File "{path}", line 2, in load' in said
    assert "return 1 / 0  # as it was" in said


def test_modules_know_their_file_and_find_data_beside_it(
    snapshots: Snapshots, write: Write
) -> None:
    write("farm/__init__.py", "")
    write(
        "farm/stages.py",
        """
        from importlib.resources import files
        from pathlib import Path

        beside = Path(__file__).with_name("data.txt").read_text()
        inside = files("farm").joinpath("data.txt").read_text()
        """,
    )
    write("farm/data.txt", "corn")
    name = snapshots.take()

    script = "activate_file(files[0]); from farm import stages; print(stages.beside, stages.inside)"
    assert run(snapshots, script, name) == "corn corn\n"


def test_classes_of_user_modules_can_be_pickled(snapshots: Snapshots, write: Write) -> None:
    write("farm.py", "class Cow: pass")
    name = snapshots.take()

    script = """
        activate_file(files[0])
        import farm, pickle
        print(type(pickle.loads(pickle.dumps(farm.Cow()))) is farm.Cow)
    """
    assert run(snapshots, script, name) == "True\n"


def test_no_bytecode_is_written_beside_the_source(
    snapshots: Snapshots, write: Write, root: Path
) -> None:
    write("farm.py", "x = 1")
    name = snapshots.take()

    run(snapshots, "activate_file(files[0]); import farm", name)

    assert [path.name for path in root.iterdir()] == ["farm.py"]


def test_what_was_imported_before_the_first_snapshot_is_imported_anew(
    snapshots: Snapshots, write: Write, root: Path
) -> None:
    write("farm.py", "x = 'new'")
    name = snapshots.take()
    write("farm.py", "x = 'old'")
    script = f"""
        import sys
        sys.dont_write_bytecode = True
        sys.path.insert(0, {str(root)!r})
        from farm import x as before
        activate_file(files[0])
        from farm import x
        print(before, x)
    """

    assert run(snapshots, script, name) == "old new\n"


def test_a_package_may_get_and_lose_its_init_file(snapshots: Snapshots, write: Write) -> None:
    write("space/stages.py", "")
    without = snapshots.take()
    init = write("space/__init__.py", "x = 1")
    with_it = snapshots.take()
    init.unlink()

    script = """
        for file in (*files, *files):
            activate_file(file)
            import space.stages
            print(hasattr(space, "x"))
    """
    assert run(snapshots, script, without, with_it) == "False\nTrue\n" * 2


@pytest.mark.parametrize("source", [b"x = '\xff'", b"# coding: nonsense\n", b"x = (", b"\0"])
def test_source_that_is_no_python_is_an_error_of_its_import_alone(
    snapshots: Snapshots, root: Path, source: bytes
) -> None:
    (root / "broken.py").write_bytes(source)
    (root / "sound.py").write_text("x = 1")
    name = snapshots.take()

    script = """
        activate_file(files[0])
        try:
            import broken
        except (SyntaxError, ValueError):
            import sound
            print(sound.x)
    """
    assert run(snapshots, script, name) == "1\n"


def test_a_file_whose_name_is_no_text_is_kept_too(snapshots: Snapshots, root: Path) -> None:
    with open(os.fsencode(root) + b"/caf\xe9.py", "w") as stream:
        stream.write("x = 1")
    (root / "sound.py").write_text("x = 1")

    name = snapshots.take()

    script = """
        activate_file(files[0])
        import sound
        print(sound.x)
    """
    assert run(snapshots, script, name) == "1\n"
