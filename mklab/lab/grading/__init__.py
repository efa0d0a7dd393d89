"""Grading a folder of notebooks without trusting any of them (docs/grading.md).

A notebook is read by a process that can do nothing else (:mod:`mklab.lab.grading.reader`); of it the texts of the
answers are taken, and nothing is executed as a notebook. Each answer is examined in a process of its own
(:mod:`mklab.lab.checking`).
"""
