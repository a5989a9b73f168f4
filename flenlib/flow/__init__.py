"""Flows of steps: running them, knowing what is done, reporting what came out."""
