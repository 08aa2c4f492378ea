"""Keeps the import paths of earlier releases: what is in ``modules`` is found in ``flowdapt``.

Existing stages and plugins import ``flowdapt.compute`` and what is in it. The kernel adds the
folder to its own, if this package is there; nothing in flowdapt uses it.
"""
