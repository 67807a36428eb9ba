"""What keeps the documents true: each module looks for one kind of problem, and `tests.docs_check` runs them all."""
