"""Scaffolds plugins and checks them: ``flowdapt plugins new`` and ``flowdapt plugins check``."""
