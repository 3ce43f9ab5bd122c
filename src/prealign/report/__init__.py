"""The report: tables, figures and pages, made from one results.json and nothing else.

Import from the modules; none of them imports torch or transformers.
"""
