"""Where earlier releases had what stages use."""
