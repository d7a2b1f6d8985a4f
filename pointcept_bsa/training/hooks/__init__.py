"""Hooks of the embedded host, under Pointcept's names."""
