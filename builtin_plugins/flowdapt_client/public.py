"""What programs find in ``flowdapt.client``."""

from __future__ import annotations

import sys

from flowdapt_client.clients import AsyncClient, Client
from flowdapt_client.errors import (
    BadAddress,
    NoServer,
    Refused,
    RunFailed,
    StageRestarted,
    Unreadable,
)
from flowdapt_client.plugin_records import Distribution, PluginChange, PluginNode, PluginSet
from flowdapt_client.records import (
    Applied,
    Artifact,
    ArtifactEntry,
    ArtifactFile,
    AuditEntry,
    Backfilled,
    Event,
    Firing,
    Gap,
    NamespaceSum,
    Node,
    ObjectEntry,
    ObjectStats,
    Revision,
    Secret,
    Status,
    Trial,
    TriedFiring,
    TriggerDetail,
    TriggerState,
)
from flowdapt_client.run_records import (
    ItemSeconds,
    ItemSummary,
    LogLine,
    Run,
    RunHistory,
    RunItem,
    Transition,
)
from flowdapt_client.streams import AsyncStream, Stream

__all__ = [
    "Applied",
    "Artifact",
    "ArtifactEntry",
    "ArtifactFile",
    "AsyncClient",
    "AsyncStream",
    "AuditEntry",
    "Backfilled",
    "BadAddress",
    "Client",
    "Distribution",
    "Event",
    "Firing",
    "Gap",
    "ItemSeconds",
    "ItemSummary",
    "LogLine",
    "NamespaceSum",
    "NoServer",
    "Node",
    "ObjectEntry",
    "ObjectStats",
    "PluginChange",
    "PluginNode",
    "PluginSet",
    "Refused",
    "Revision",
    "Run",
    "RunFailed",
    "RunHistory",
    "RunItem",
    "Secret",
    "StageRestarted",
    "Status",
    "Stream",
    "Transition",
    "Trial",
    "TriedFiring",
    "TriggerDetail",
    "TriggerState",
    "Unreadable",
]

NAMES = sys.modules[__name__]  #: what is exported as one
