"""For tests of plugins: one suite for each contract, which every implementation passes."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("flowdapt.storage_suite", "flowdapt.run_suite")

# Storage -------------------------------------------------------------------------------------

from flowdapt.storage_suite import StorageSuite  # noqa: E402 - only now, so that it is rewritten

__all__ = ["StorageSuite"]
