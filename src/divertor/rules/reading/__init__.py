"""Rule files → rules: options, imports, lists, lint. `files`, `lists.Reader` and `plugins` are the edges."""
