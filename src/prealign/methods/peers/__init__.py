"""The neighbouring methods, one file each. docs/extending.md shows step by step how to add one."""
