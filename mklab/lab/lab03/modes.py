"""Which bit makes a CPU 64-bit: a prediction."""

from mklab.lab import forms
from mklab.lab.prediction import Option, Prediction

__all__ = ["which_mode"]

which_mode = forms.prediction(
    "03.1",
    "Which mode?",
    Prediction(
        "CR4.PAE and EFER.LME are set, CR3 points to the tables, and CS is the flat 32-bit segment. Now CR0.PG is set."
        " In which mode does the CPU execute the next instruction?",
        (
            Option(
                "In 64-bit mode.",
                "LME means long mode enable, and paging was the last thing that it lacked. But how wide code is, the"
                " segment says: CS.L is still 0. Only the far return brings a CS with L = 1.",
            ),
            Option(
                "In compatibility mode: long mode is active, and the code is 32-bit.",
                "With PG the CPU sets EFER.LMA by itself, and from there on paging has four levels. CS was not"
                " touched: L is 0 and D is 1, so the code goes on as 32-bit code.",
                right=True,
            ),
            Option(
                "In protected mode with PAE paging, as before long mode existed.",
                "That is what PG would do with LME = 0: three levels, and LMA stays 0. LME was set, so the tables are"
                " read with four levels at once, and LMA says so.",
            ),
            Option(
                "In none: the CPU raises an exception, since CS.L must be 1 first.",
                "The order is the other way round. CS.L counts only where LMA is 1; a CPU that switches on paging from"
                " a segment with L = 1 is refused.",
            ),
        ),
    ),
    (
        "Two bits decide together: one of EFER, and one in the hidden part of CS. Which instruction changes which?",
        "LMA = LME and PG. In long mode, CS.L = 1 is 64-bit mode and CS.L = 0 is compatibility mode.",
        "PG changes no segment. What is CS.L before, and so after?",
    ),
)
