"""Where earlier releases had what belongs to workflows."""
