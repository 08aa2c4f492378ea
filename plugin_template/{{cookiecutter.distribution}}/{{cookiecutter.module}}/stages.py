"""Functions that workflows name as stages: ordinary ones, async ones too."""

from __future__ import annotations

from flowdapt import get_run_context

TEXT = "the quick brown fox jumps over the lazy dog"


def words(text: str = TEXT) -> list[str]:
    """Return the words of a text; a stage without dependencies gets the run's input by name."""
    return text.split()


def length(word: str) -> int:
    """Return how long a word is; this is called once for each word."""
    return len(word)


def longest(words: list[str], lengths: list[int]) -> list[str]:
    """Return the words that are at least as long as the config of the workflow says."""
    least = int(get_run_context().config.get("least", 5))
    return [word for word, size in zip(words, lengths, strict=True) if size >= least]
