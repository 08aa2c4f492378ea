"""Plugin sets on a node: what one is, how it is unpacked, and how a process imports from it.

A library for whoever installs plugins and for executors; no plugin itself. It needs nothing but the
kernel and what that needs, because nodes have neither an installer nor an index.
"""
