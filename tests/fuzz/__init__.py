"""Fuzzers of everything that is read from files: ``python -m tests.fuzz --seed 1 --count 100000``.

Each target runs the real reader and what comes behind it. A case passes if it ends well, or in an error of this program's
own; it fails if it raises anything else, takes more than 512 MiB or 5 seconds, or ends the process. The case with number N
of a seed is the same however many others are run: ``--only N`` runs it alone and shows the traceback.
"""
