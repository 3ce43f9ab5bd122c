"""The command line: verbs, tables and progress. The only package that prints or exits."""
