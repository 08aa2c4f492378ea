"""For tests of plugins: one suite for each contract, which every implementation passes.

Needs pytest and anyio. Without them there are :mod:`flowdapt.memory` and :mod:`flowdapt.inline`.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "flowdapt.storage_suite", "flowdapt.run_suite", "flowdapt.executor_suite"
)

# Only now, so that their asserts are rewritten to tell what they compared.
from flowdapt.executor_suite import ExecutorSuite  # noqa: E402
from flowdapt.storage_suite import StorageSuite  # noqa: E402

__all__ = ["ExecutorSuite", "StorageSuite"]
