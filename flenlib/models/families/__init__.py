"""One file a model family: all that is special about it."""
