"""Stages as a graph: what is ready once these are done. Pure; knows names only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flowdapt.errors import ResourceError, nearest


class GraphError(ResourceError):
    """The dependencies of a workflow's stages make no graph.

    :param stage: the stage at which the fault was found
    """

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class Graph:
    """Names and what each depends on.

    :param depends_on: for each stage, in file order, the stages whose results it takes
    :raises GraphError: a dependency is missing, or stages depend on each other in a circle
    """

    def __init__(self, depends_on: Mapping[str, Sequence[str]]) -> None:
        self.depends_on = {name: tuple(deps) for name, deps in depends_on.items()}
        self.dependents: dict[str, list[str]] = {name: [] for name in self.depends_on}
        for name, deps in self.depends_on.items():
            for dep in dict.fromkeys(deps):
                if dep not in self.dependents:
                    fact = f"stage {name!r} depends on {dep!r}, which is no stage"
                    raise GraphError(name, fact + nearest(dep, self.dependents))
                self.dependents[dep].append(name)
        self._levels = self._measure()

    def _measure(self) -> dict[str, int]:
        """Return each stage's level: 0 without dependencies, else one more than the deepest."""
        waiting = {name: len(set(deps)) for name, deps in self.depends_on.items()}
        levels = {name: 0 for name, count in waiting.items() if not count}
        queue = list(levels)
        for name in queue:
            for after in self.dependents[name]:
                waiting[after] -= 1
                levels[after] = max(levels.get(after, 0), levels[name] + 1)
                if not waiting[after]:
                    queue.append(after)
        if len(queue) < len(waiting):
            cycle = self._cycle({name for name, count in waiting.items() if count})
            raise GraphError(cycle[0], f"stages depend on each other: {' -> '.join(cycle)}")
        return levels

    def _cycle(self, stuck: set[str]) -> list[str]:
        """Return one circle among ``stuck``, its first stage repeated at the end."""
        path: dict[str, None] = {}
        name = next(name for name in self.depends_on if name in stuck)
        while name not in path:
            path[name] = None
            name = next(dep for dep in self.depends_on[name] if dep in stuck)
        circle = list(path)
        return [*circle[circle.index(name) :], name]

    def ready(self, done: Collection[str]) -> set[str]:
        """Return the stages that are not done while all they depend on is."""
        return {
            name
            for name, deps in self.depends_on.items()
            if name not in done and all(dep in done for dep in deps)
        }

    @property
    def result(self) -> str:
        """The stage whose output is the run's: the last, in file order, of the deepest level."""
        deepest = max(self._levels.values())
        return [name for name in self.depends_on if self._levels[name] == deepest][-1]
