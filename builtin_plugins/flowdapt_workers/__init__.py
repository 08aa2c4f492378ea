"""What executors share that compute in other processes: no plugin by itself, but a library of them.

Read :mod:`flowdapt_workers.calls` for the words, :mod:`~flowdapt_workers.jobs` for how a stage
becomes messages, and :mod:`~flowdapt_workers.computing` for what a process does with one.
"""
