"""Removes what belongs to other kinds of plugins than the one that was chosen."""

import shutil
from pathlib import Path

MODULE = Path("{{ cookiecutter.module }}")
TESTS = Path("tests")
OWN = {
    "executor": [MODULE / "executor.py", TESTS / "test_executor.py"],
    "storage": [MODULE / "storage.py", TESTS / "test_storage.py"],
    "trigger": [MODULE / "workdays.py", TESTS / "test_workdays.py"],
    "service": [MODULE / "run_log.py", TESTS / "test_run_log.py"],
}

for kind, files in OWN.items():
    if kind != "{{ cookiecutter.kind }}":
        for file in files:
            file.unlink()
# Installers compile what they install, the template too.
for folder in list(Path().rglob("__pycache__")):
    shutil.rmtree(folder)
