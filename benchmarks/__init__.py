"""How fast the project is, each figure against a reference measured in the same run: `python -m benchmarks`.

1. Every benchmark is a module whose docstring tells what is measured, against what, and the target it is judged by.
2. It measures in rounds that alternate with the reference, after a warm-up; a figure is the median of the rounds.
3. `results.json` keeps all figures; docs/performance.md is made from it and never typed.
"""
