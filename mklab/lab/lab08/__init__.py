"""Lab 08, "When messages get lost": two senders and one slot, looked through; a slot and a ring that work."""

from mklab.lab.lab08.claim import claim
from mklab.lab.lab08.dead import dead_sender_run
from mklab.lab.lab08.losing import losing
from mklab.lab.lab08.mailbox import look_through, ordinary, tries
from mklab.lab.lab08.outcome import outcome
from mklab.lab.lab08.predictions import dead_sender, one_slot, orders
from mklab.lab.lab08.receiver import receiver
from mklab.lab.lab08.ring import ring
from mklab.lab.lab08.torn import torn
from mklab.lab.lab08.writers import writers

__all__ = ["EXERCISES", "dead_sender_run", "look_through", "orders", "ordinary", "tries", "writers"]

EXERCISES = (one_slot, outcome, losing, torn, claim, receiver, ring, dead_sender)
