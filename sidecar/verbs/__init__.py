"""What each command does: one function a verb, from an open `App` to a result with an exit code."""
