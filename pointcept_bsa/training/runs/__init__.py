"""The folder of a run: made, locked, described; opened again when it is finished."""
