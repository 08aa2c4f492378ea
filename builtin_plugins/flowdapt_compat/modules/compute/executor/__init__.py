"""Where stages are computed, as in earlier releases; see ``flowdapt.executors``."""
