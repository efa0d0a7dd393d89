"""Checking an answer without trusting it: what a student wrote runs apart from what judges it.

Three processes take part. The notebook's (or the grader's) asks :func:`mklab.lab.checking.check.check` for a verdict.
That starts an **examiner**, which holds the machine and the check. Python that a student wrote runs in a third one, the
**candidate**, which may call what the check offers and nothing else; the two exchange plain data. So an answer that
loops, crashes, eats memory or patches the check harms only its own process, and cannot say what its verdict is.
Assembly and C need no candidate: they run on the model's CPUs, inside the examiner.
"""
