"""Keeps resources and runs in one SQLite file in the application directory."""

from flowdapt.hooks import Provider, hookimpl


@hookimpl
def flowdapt_storages() -> list[Provider]:
    return [
        Provider(
            "sqlite",
            "flowdapt_sqlite.storage:SqliteStorage",
            "One file in the application directory.",
            aliases=("flowdapt.lib.database.storage.tdb.TinyDBStorage",),
        )
    ]
