"""The front door: verbs, tables and progress. The only place that prints or exits."""
