"""The study: every policy on emulated clusters, with real gradients. ``python -m study --help`` says how to run it.

No part of the package. What runs is in :mod:`study.grid`; what each run trains in ``study/train.py``; results, tables,
plots and the machine they come from in ``docs/results/study``.
"""
