"""The neighbouring methods, a file each. docs/extending.md adds one, step by step."""
