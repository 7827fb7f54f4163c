"""Data sets as tasks: `task` is their one shape, `text` reads the text ones, `fetching` gets the files they need."""
