"""The older commands, each a thin translation on the same core: their arguments, output and exit codes."""
