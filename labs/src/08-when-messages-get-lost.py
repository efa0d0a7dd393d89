# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 08 When messages get lost
#
# **How do you know that a message can't get lost, when every run you have tried went well?** Here the machine takes its
# steps in every order there is. You will see what RFC v1's mailbox can do, find the step that destroys a message, and
# build a slot and a ring that no order can break.
#
# **Time:** 90 minutes. **Before:** labs 04, 05 and 07; a little C and assembly.
#
# Afterwards you can
# - say what must hold, so that a machine can check it in every order;
# - read a counterexample and name the step that went wrong;
# - repair a mailbox, and say exactly what was shown about it, and what was not.

# %% id="open"
from mklab import lab
from mklab.lab import lab08
from mklab.widgets import Messages
from mklab.widgets.outcomes_panel import OutcomeGraph

course = lab.open("08")

# %% [markdown] id="recall"
# ## From memory
# Answer first, then open.
#
# <details><summary>Lab 04: which two effects lose an interrupt, and which one only delays it?</summary>
#
# Lost: the target's local [APIC](glossary.md#apic) is disabled, or it waits for a [SIPI](glossary.md#sipi). Merged, so
# that one of two is not seen: the bit in the [IRR](glossary.md#irr) was set already. Only delayed: IF is 0.</details>
#
# <details><summary>Lab 05: where does a message lie between sending and reading?</summary>
#
# In the receiver's slot, 272 bytes of shared memory. There is one for each CPU, whoever sends to it.</details>

# %% [markdown] id="watch"
# ## Watch
# CPUs 0 and 2 belong to the host, CPU 1 to kernel 1. Both host CPUs send kernel 1 a message at the same time: type 7
# from CPU 0, type 8 from CPU 2, one byte each. This is a recorded run, at its end. Look at `m1` and `m2`: two
# [IPIs](glossary.md#ipi) were sent. What became of the first message?

# %% id="watch-run"
Messages(lab08.ordinary())

# %% [markdown] id="predict"
# ## Exercise 08.1: predict
# *3 minutes.* That was one run. Now think of all of them.

# %% id="one-slot-question"
course.question("08.1")

# %% id="one-slot" exercise="08.1"
### BEGIN SOLUTION
choice = "C"
confidence = "fairly"
### END SOLUTION

# %% id="one-slot-check" check="08.1"
course.check("08.1")

# %% id="one-slot-hint"
course.hint("08.1")

# %% [markdown] id="tries-text"
# ## Run: by chance
# First as tests do it: twenty runs, each with another random schedule.

# %% id="tries"
print(lab08.tries(20))

# %% [markdown] id="explore-text"
# Not one was torn. A thousand more runs might show none either, and then somebody writes "cannot happen" into a
# comment. Instead, let the machine take its steps in **every** order. Wherever two CPUs could notice each other, each
# of them is tried.

# %% id="explore"
box = lab08.look_through()
box

# %% id="graph"
OutcomeGraph(box.graph, box.first("torn"))

# %% [markdown] id="why"
# ## Why
# Each dot is a state of the whole machine, each line a step of one CPU. Choose an ending at the right: the thick line
# is a shortest way to it, and its steps stand below.
#
# - A, always both: only two endings, those where the receiver has read everything before the second sender begins.
# - B, always one: that is *lost*. The [slot](glossary.md#slot) was overwritten before it was read, or between two
#   reads of it.
# - C is what the graph shows. *Torn* is a type from one message with the sender of the other: nobody has sent that.
# - D, unknowable: how often each ending comes depends on timing. Which endings there are does not.
#
# Chance found no torn message, for it needs a switch between two neighbouring stores. On a real kernel with the
# patches a burst showed the same family: its log said 201, and the handlers read 202.

# %% [markdown] id="replay-text"
# ## Replay
# A way is a schedule, so a fresh machine can go it again, step by step. Here is one of those that are torn. Compare
# what was sent with what was read.

# %% id="replay"
Messages(box.replay(box.first("torn")))

# %% [markdown] id="orders-text"
# ## What is enumerated
# An [interleaving](glossary.md#interleaving) is an order in which several CPUs take their steps. Only those count that
# another CPU could notice: a store to shared memory, an IPI, the delivery of an interrupt. What lies between them
# touches nobody else, so its place in the order makes no difference
# ([how and why](../docs/exploration.md)).
#
# How many orders are there of two CPUs with three stores each? Decide, then open.

# %% id="orders"
lab08.orders

# %% id="writers"
small = lab08.writers()
small

# %% id="writers-graph"
OutcomeGraph(small.graph, 1)

# %% [markdown] id="writers-after"
# A is what CPU 0 stores, B what CPU 1 stores. Every way from the beginning to an ending is one of the 20 orders. Three
# letters say who stored each of the three words last: all eight combinations occur, and six of them are a message that
# nobody has sent. With a receiver, interrupts and the real code there are more steps, so more orders; the idea is the
# same.

# %% [markdown] id="outcome-text"
# ## Exercise 08.2: good, lost, torn
# *10 minutes. In Python.*
#
# To look through all orders you need an [invariant](glossary.md#invariant): something that holds in every ending of a
# machine that works. **Given** what was sent, how many interrupts were delivered, and what the handler was handed; a
# message is a pair of type and sender. **Goal:** return `"good"`, `"lost"` or `"torn"`; and `"empty"` where nothing was
# sent, whatever was taken, since such a run shows nothing. Torn is worse than lost; a message that was taken twice has
# arrived. It will be asked about every ending above, and about runs with fewer messages and with more.


# %% id="outcome" exercise="08.2"
def outcome(sent, interrupts, taken):
    ### BEGIN SOLUTION
    if not sent:
        return "empty"
    if any(one not in sent for one in taken):
        return "torn"
    if all(one in taken for one in sent):
        return "good"
    return "lost"
    ### END SOLUTION


# %% id="outcome-check" check="08.2"
course.check("08.2")

# %% id="outcome-hint"
course.hint("08.2")

# %% [markdown] id="reading"
# ## Reading a counterexample
# A [counterexample](glossary.md#counterexample) is a shortest way to an ending that must not be. Read it backwards.
# What is wrong at the end? Which bytes are wrong? Who stored them last? And what should that CPU have looked at before?
#
# An example: kernel 1 was handed type 8 twice, so type 7 is missing. CPU 2 stored over its bytes in steps 19 and 20,
# between two reads of CPU 1: the console line (steps 8 and 9) told of type 7, the handler (from step 21) found type 8.
# In multikernel.c (RFC patch 4) `handler->saved_data` points into the slot, and the [irq_work](glossary.md#irq-work)
# behind it looks there again, later.

# %% id="worked"
print(box.steps(6))

# %% [markdown] id="losing-text"
# ## Exercise 08.3: the step that lost it
# *8 minutes. Diagnose.* The numbers are yours alone.
#
# **Goal:** `lost`, the type of the message that the handler was never handed; `step`, the number of the first step that
# stored something else over a part of it; `cpu`, who made this step.

# %% id="losing-given"
course.given("08.3")

# %% id="losing" exercise="08.3"
### BEGIN SOLUTION
lost = 14
step = 6
cpu = 0
### END SOLUTION

# %% id="losing-check" check="08.3"
course.check("08.3")

# %% id="losing-hint"
course.hint("08.3")

# %% [markdown] id="torn-text"
# ## Exercise 08.4: whose bytes?
# *8 minutes. Memory.* Two senders of your own have stored into one slot at the same time: `sender_cpu` (4 bytes),
# `type` (4), `data_size` (8), `buffer`, the lowest byte first.
#
# **Goal:** `sender_cpu`, the number in that field; `type_from` and `size_from`, the CPU whose type and whose data_size
# lie there; `text`, the bytes (`b"..."`) that a receiver takes which trusts data_size.

# %% id="torn-given"
course.given("08.4")

# %% id="torn" exercise="08.4"
### BEGIN SOLUTION
sender_cpu = 0
type_from = 2
size_from = 0
text = b"figNGE"
### END SOLUTION

# %% id="torn-check" check="08.4"
course.check("08.4")

# %% id="torn-hint"
course.hint("08.4")

# %% [markdown] id="claim-text"
# ## Exercise 08.5: a slot that is claimed
# *15 minutes. Assembly.* A slot needs a word that says whose it is: 0 EMPTY, 1 CLAIMED, 2 FULL. To look at it and then
# to change it are two steps, and another CPU comes between. `lock cmpxchg %rcx, (%rdi)` is one: if the word equals RAX,
# RCX goes there and ZF is set; else the word goes to RAX.
#
# **Given** a slot at RDI (state at 0, message at 8) and a receiver on CPU 2: its handler of
# [vector](glossary.md#vector) 0xEA takes messages as long as the state is FULL, and makes it EMPTY. **Goal:** `send`
# claims the slot, or tries again; stores RSI as the message; publishes; sends 0xEA to CPU 2: `2 << 24` to 0xFEE00310,
# then `0xea` to 0xFEE00300, the two halves of the [ICR](glossary.md#icr). CPUs 0 and 1 run it, in every order. RAX
# and RCX are free.

# %% id="claim" exercise="08.5" lang="asm"
# # RDI = the slot, RSI = the message
# send:
# ### BEGIN SOLUTION
# 1:	xorl	%eax, %eax
# 	movl	$1, %ecx
# 	lock cmpxchgq %rcx, (%rdi)
# 	jne	1b
# 	movq	%rsi, 8(%rdi)
# 	movq	$2, (%rdi)
# 	movl	$0xfee00310, %eax
# 	movl	$2 << 24, (%rax)
# 	movl	$0xfee00300, %eax
# 	movl	$0xea, (%rax)
# ### END SOLUTION
# 	ret

# %% id="claim-check" check="08.5"
course.check("08.5")

# %% id="claim-hint"
course.hint("08.5")

# %% [markdown] id="receiver-text"
# ## Exercise 08.6: what a receiver does
# *8 minutes. Put lines into order.* The handler of 0xEA is given such a slot. Work that it queues runs behind it, as
# Linux's irq_work does. An interrupt may also come without a message: anybody can send 0xEA. One line is not needed.
# Write the letters of the others, in their order, as one text: `order = "..."`. Your lines will be compiled, run with
# two senders, and explored.

# %% id="receiver-question"
course.question("08.6")

# %% id="receiver" exercise="08.6"
### BEGIN SOLUTION
order = "FABCD"
### END SOLUTION

# %% id="receiver-check" check="08.6"
course.check("08.6")

# %% id="receiver-hint"
course.hint("08.6")

# %% [markdown] id="ring-text"
# ## Exercise 08.7: a ring that works
# *20 minutes. In C.* One slot makes every sender wait for the receiver. A [ring](glossary.md#ring) has several entries.
# Places are numbered 0, 1, 2, ...; place n lies in entry n % 2; `tail` is the next place to be claimed. Each entry has
# a sequence number, which says whose turn it is: **n**, a sender may claim place n; **n + 1**, its message is there;
# **n + 2**, it was copied, and the entry is free for place n + 2.
#
# **Goal:** `send` claims a place, waiting as long as there is none, and leaves the message there. `receive` waits for
# the message of a place, frees the entry, and returns the message. CPU 0 receives three messages, CPUs 1 and 2 send two
# and one. Entry n begins with sequence number n. `load` and `store` are for words that several CPUs watch.

# %% id="ring" exercise="08.7" lang="c"
# typedef unsigned long u64;
# struct ring { u64 tail, unused[7]; struct { u64 sequence, message; } entry[2]; };
# #define load(p)          __atomic_load_n(p, __ATOMIC_ACQUIRE)
# #define store(p, value)  __atomic_store_n(p, value, __ATOMIC_RELEASE)
# #define cas(p, old, new) __sync_bool_compare_and_swap(p, old, new) /* true if p held old and now holds new */
#
# void send(struct ring *ring, u64 message)
# {
# ### BEGIN SOLUTION
# 	u64 place;
#
# 	do
# 		place = load(&ring->tail);
# 	while (load(&ring->entry[place % 2].sequence) != place || !cas(&ring->tail, place, place + 1));
# 	ring->entry[place % 2].message = message;
# 	store(&ring->entry[place % 2].sequence, place + 1);
# ### END SOLUTION
# }
#
# u64 receive(struct ring *ring, u64 place)
# {
# ### BEGIN SOLUTION
# 	u64 message;
#
# 	while (load(&ring->entry[place % 2].sequence) != place + 1)
# 		;
# 	message = ring->entry[place % 2].message;
# 	store(&ring->entry[place % 2].sequence, place + 2);
# 	return message;
# ### END SOLUTION
# }

# %% id="ring-check" check="08.7"
course.check("08.7")

# %% id="ring-hint"
course.hint("08.7")

# %% [markdown] id="shown"
# ## What was shown
# Say it as the verdict does: *no counterexample in every interleaving*, of these senders, with so many messages, in a
# ring of two entries. Not: "the ring is correct". And the machine takes one step after the other. A real x86 CPU keeps
# its stores in a [store buffer](glossary.md#store-buffer) for a while, so that it may read a word before others see
# what it stored earlier. Here that does no harm, as stores come out in their order and claims are locked; but the
# machine did not check it.

# %% [markdown] id="exit-text"
# ## Exercise 08.8: a sender that dies
# *3 minutes. Predict.* No message is lost any more. Is it a good mailbox for several kernels?

# %% id="dead-question"
course.question("08.8")

# %% id="dead" exercise="08.8"
### BEGIN SOLUTION
choice = "C"
confidence = "fairly"
### END SOLUTION

# %% id="dead-check" check="08.8"
course.check("08.8")

# %% id="dead-hint"
course.hint("08.8")

# %% [markdown] id="dead-settle-text"
# The machine settles it. CPU 0 claims the slot and halts; CPU 1 runs the solution of 08.5. The property that is asked
# of every order is called *no deadlock*.

# %% id="dead-run"
print(lab08.dead_sender_run())

# %% [markdown] id="linux"
# ## What Linux does
# "kernel: Introduce multikernel architecture support", RFC version 1, September 2025.
#
# | step | function | file (patch) |
# |---|---|---|
# | fill the slot: four stores, no flag, no lock | `multikernel_send_ipi_data` | kernel/multikernel.c (4) |
# | send 0xEA, whoever else has just done so | `multikernel_send_ipi_data` | kernel/multikernel.c (4) |
# | [EOI](glossary.md#eoi) first, then count, then look | `sysvec_multikernel` | arch/x86/kernel/smp.c (3) |
# | the slot of one's own physical id | `arch_cpu_physical_id` | arch/x86 (5) |
# | queue work that points into the slot | `multikernel_interrupt_handler` | kernel/multikernel.c (4) |
#
# On a real kernel with these patches, 500 interrupts 0xEA were sent in a row and 401 were counted: that is merging,
# and allowed. But nothing in `multikernel_send_ipi_data` (patch 4) keeps the bytes of the other 99, if they had any.
# Later trees have rings between kernels.

# %% [markdown] id="fidelity"
# ## What is simplified
# What races is machine code: the minikernel's, in C, with v1's order of stores, and yours. Steps are single
# instructions, in sequence, without store buffers; a plain `cmpxchg` without `lock` is one step here, and the check
# reports it as a [data race](glossary.md#data-race) all the same. Time has no meaning in an exploration, so code that
# reads a clock is refused. [Every departure](../docs/fidelity.md); [what exploration claims](../docs/exploration.md).

# %% [markdown] id="summary"
# ## In short
# - A message is several stores. One slot without a flag has 14 endings for two messages; 2 are good.
# - Interrupts may merge; bytes must not. Count what arrived, not how often somebody was called.
# - Claim in one step, fill, publish, then interrupt; the receiver copies, then frees.
# - A search through every order is a proof for one machine and one size, and it hands you the way to every mistake.
# - What no order can break, a crash still can: say who claimed it, and who may clean up.
#
# **From memory:** draw the life of a ring's entry, with the store that ends each part of it and the CPU that makes it.

# %% id="report"
course.report()
