# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 04 The IPI vector
#
# **What happens between a store on one CPU and a function that runs on another?** In lab 00 a message needed an
# interrupt that says "look". Here you build that interrupt from its parts: the two stores that send it, the
# [gate](glossary.md#gate) it comes through, and the handler behind.
#
# **Time:** 75 minutes. **Before:** lab 03 (64-bit mode), a little assembly, C.
#
# Afterwards you can
# - send [vector](glossary.md#vector) 0xEA by two stores, and write the gate and the handler that receive it;
# - read a local [APIC](glossary.md#apic): what waits, what is in service, and what it would deliver next;
# - tell an interrupt that is delayed from one that is lost.

# %% id="open"
import struct

from mklab import Host, Machine, lab
from mklab.lab import lab04
from mklab.lab.driver import MachineDriver
from mklab.widgets.dashboard import Dashboard
from mklab.widgets.parts import Messages

course = lab.open("04")

# %% [markdown] id="recall"
# ## Do you still know?
# Answer first, from memory, then open.
#
# <details><summary>Which table did the CPU have for exceptions, on its way into a kernel?</summary>
#
# None: the [IDT](glossary.md#idt) of the [trampoline](glossary.md#trampoline) had limit 0. Any exception or NMI there
# shuts the CPU down, which on a PC resets the platform (lab 03).
# </details>
#
# <details><summary>When are the bytes of an image written to their place: at the load, or at the start?</summary>
#
# At the load, page by page, by <code>kimage_load_multikernel_segment</code> (lab 01).
# </details>
#
# <details><summary>What does the number in a start-up interrupt mean?</summary>
#
# [INIT](glossary.md#init) has reset the CPU, and [SIPI](glossary.md#sipi) says at which page it begins, in [real
# mode](glossary.md#real-mode). The number is no interrupt vector, and no handler runs (lab 02).
# </details>

# %% [markdown] id="watch-text"
# ## Watch: one interrupt
# The machine of this lab has four CPUs and no kernel, so that nothing is in the way. All are in 64-bit mode, all use
# one table of [gates](glossary.md#gate), and CPU 3 waits in [HLT](glossary.md#hlt). CPU 0 is about to send it an
# [IPI](glossary.md#ipi) on [vector](glossary.md#vector) 0xEA.
#
# Press **Step** and follow it: two stores of CPU 0 to its own [APIC](glossary.md#apic); a bit in the
# [IRR](glossary.md#irr) of CPU 3's; the handler, while the bit is in [ISR](glossary.md#isr); the store to
# [EOI](glossary.md#eoi), and the bit is gone. In the picture of the local APIC choose CPU 3.

# %% id="watch"
Dashboard(MachineDriver(lab04.one_ipi()), parts=["messages", "apic"])

# %% [markdown] id="program-text"
# This is the whole program. CPU 0 begins at `sender`, CPU 3 at `receiver_with_interrupts_on`; the handler waits until
# everybody has sent, which here is at once.

# %% id="program"
print(lab04.program("ipis.S").partition("*/")[2])

# %% [markdown] id="predict"
# ## Exercise 04.1: predict
# *3 minutes.* The same program, but now three CPUs send, and CPU 3 begins at `receiver`, where interrupts are off.

# %% id="three-question"
course.question("04.1")

# %% id="three" exercise="04.1"
### BEGIN SOLUTION
choice = "B"
confidence = "sure"
### END SOLUTION

# %% id="three-check" check="04.1"
course.check("04.1")

# %% id="three-hint"
course.hint("04.1")

# %% [markdown] id="run-text"
# ## Run
# Time is counted in executed instructions. Each line is one IPI, from the store that sent it to the EOI of its handler.

# %% id="run"
driver = MachineDriver(lab04.three_ipis())
driver.run()
print(lab04.fates(driver.machine))

# %% id="run-picture"
Messages(driver)

# %% [markdown] id="why"
# ## Why
# Three sent, one handled. IRR has **one bit for each vector**: the first IPI set it, the others found it set. After
# that nobody, neither sender nor receiver, can tell one from three. Had CPU 3 run the handler three times, there would
# be three times in the column *handler*; had it lost them, the column would be empty.
#
# And with interrupts on? The first is taken at once: its bit moves to ISR, and IRR is free for one more. The third
# meets the second there.

# %% id="run-on"
twice = lab04.three_ipis(interrupts_on=True)
twice.run()
print(lab04.fates(twice))

# %% [markdown] id="why-message"
# So a message must never be *in* the interrupt: an interrupt says "look", and whoever looks must find everything that
# has come meanwhile. A real kernel with the RFC, version 1, was sent 500 of them in a row and counted 401.

# %% [markdown] id="sending-idea"
# ## 1. Two stores
# Each CPU has its own local APIC, at the same address: 0xFEE00000 is another device for each CPU that looks. To send,
# a CPU writes the two halves of its [ICR](glossary.md#icr); [INIT](glossary.md#init) and [SIPI](glossary.md#sipi) go
# the same way:
#
# | address | register | bits |
# |---|---|---|
# | 0xFEE00310 | ICR, high half | 24 to 31: the receiver's [APIC id](glossary.md#apic-id) |
# | 0xFEE00300 | ICR, low half | 0 to 7: vector; 8 to 10: mode (0 fixed, 6 SIPI); 11: logical; 18, 19: shorthand |
#
# **The store to the low half sends.** Linux makes the same two stores, each by `native_apic_mem_write`
# (arch/x86/include/asm/apic.h); the RFC's `multikernel_send_ipi_data` (kernel/multikernel.c, patch 4) comes to them
# in the end.

# %% [markdown] id="sender-text"
# ### Exercise 04.2: the sender
# *10 minutes. In C, as machine code on CPU 0.*
#
# **Given** four CPUs whose APIC ids are not 0 to 3. **Goal:** `send_ipi(apic_id)` sends a fixed interrupt, vector 0xEA,
# to the CPU with that id. The check calls it twice, for two CPUs. **Leave alone** everything else: one call, one IPI.

# %% id="sender" exercise="04.2" lang="c"
# void send_ipi(unsigned int apic_id)
# {
#     ### BEGIN SOLUTION
#     volatile unsigned int *apic = (volatile unsigned int *)0xFEE00000UL;
#
#     apic[0x310 / 4] = apic_id << 24;
#     apic[0x300 / 4] = 0xEA;
#     ### END SOLUTION
# }

# %% id="sender-check" check="04.2"
course.check("04.2")

# %% id="sender-hint"
course.hint("04.2")

# %% [markdown] id="bit-text"
# ### Exercise 04.3: the bit that waits
# *5 minutes. Read from memory.* IRR has 256 bits in eight words of 32, and between two registers of the page lie
# 16 bytes. Here is IRR of CPU 3, stopped while 0xEA waits:

# %% id="irr"
stopped = lab04.three_ipis()
stopped.run(700)
print(lab04.irr_words(stopped, 3))

# %% id="bit-given"
course.given("04.3")

# %% [markdown] id="bit-goal"
# **Goal:** for your vector, the `address` of the word of IRR that is not 0, and the `word` that is read there.

# %% id="bit" exercise="04.3"
### BEGIN SOLUTION
address = 0xFEE00220
word = 0x80
### END SOLUTION

# %% id="bit-check" check="04.3"
course.check("04.3")

# %% id="bit-hint"
course.hint("04.3")

# %% [markdown] id="gate-idea"
# ## 2. The way in
# When the CPU takes vector v, it reads entry v of its interrupt table, the [IDT](glossary.md#idt). In 64-bit mode an
# entry, a [gate](glossary.md#gate), has 16 bytes. It says where the handler is, and what becomes of
# [IF](glossary.md#if): an **interrupt gate** (type 0xE) clears it, a **trap gate** (0xF) leaves it on.
#
# Here is the gate of 0xEA in the memory of a kernel that has booted. Linux gets it from patch 3, which adds
# `asm_sysvec_multikernel` to the table in arch/x86/kernel/idt.c.

# %% id="gate-example"
host = Host(Machine(4))
host.boot()
print(lab04.gate_in_memory(host, 0xEA))

# %% [markdown] id="gate-text"
# ### Exercise 04.4: a gate
# *10 minutes. In Python, on guest RAM.*
#
# **Goal:** `set_gate` writes the 16 bytes of an interrupt gate like the one above into the table at `idt`, for any
# vector and any handler. `memory.write(address, data)` stores bytes; `struct` is imported. Then CPU 0 sends 0xEA four
# times, and CPU 1 goes through your gate into a handler that writes EOI before it works.


# %% id="gate" exercise="04.4"
def set_gate(memory, idt, vector, handler):
    ### BEGIN SOLUTION
    low, middle, high = handler & 0xFFFF, handler >> 16 & 0xFFFF, handler >> 32
    gate = struct.pack("<HHBBHII", low, 0x10, 0, 0x8E, middle, high, 0)
    memory.write(idt + 16 * vector, gate)
    ### END SOLUTION


# %% id="gate-check" check="04.4"
course.check("04.4")

# %% id="gate-hint"
course.hint("04.4")

# %% [markdown] id="handler-text"
# ### Exercise 04.5: the handler
# *15 minutes. In assembly.* The CPU enters your code between any two instructions of a program that knows nothing of
# it. On the stack lie five quadwords: SS, RSP, RFLAGS, CS and RIP; [IRETQ](glossary.md#iretq) takes all of them back.
#
# **Goal:** `handler` adds 1 to the 32-bit counter at 0x40008, writes 0 to EOI at 0xFEE000B0, and goes back. **Leave
# alone** every register, and all other memory. The check sends two IPIs, the second after the first is done.
# In C it would be a function that ends with RET, which is why Linux, too, has a few lines of assembly here:
# `asm_sysvec_multikernel` (patch 3).

# %% id="handler" exercise="04.5" lang="asm"
# handler:
#     ### BEGIN SOLUTION
#     pushq %rax
#     incl 0x40008
#     movl $0xfee000b0, %eax
#     movl $0, (%rax)
#     popq %rax
#     iretq
#     ### END SOLUTION

# %% id="handler-check" check="04.5"
course.check("04.5")

# %% id="handler-hint"
course.hint("04.5")

# %% [markdown] id="priority-idea"
# ## 3. Who may interrupt whom
# The upper four bits of a vector are its **class**: 0xEA is of class 14. The APIC delivers the highest vector in IRR
# only if its class is *above* that of [PPR](glossary.md#ppr), and PPR is the higher of two: [TPR](glossary.md#tpr),
# which software sets, and the highest vector in ISR. Then the CPU looks at IF.
#
# So 0xEA interrupts the handler of 0x31, and waits for that of 0xEF. Linux keeps the
# highest vectors for itself, down to 0xEB; patch 3 puts `MULTIKERNEL_VECTOR` right below
# (arch/x86/include/asm/irq_vectors.h), in the same class as 0xEB to 0xEF.

# %% [markdown] id="deliverable-text"
# ### Exercise 04.6: what is delivered
# *10 minutes. In Python.* `irr` and `isr` are lists of vectors, `tpr` a number, `interrupts_on` says whether IF is 1.
#
# **Goal:** `deliverable` returns the vector that interrupts the CPU now, or None. The machine's own APIC knows the
# right answers.


# %% id="deliverable" exercise="04.6"
def deliverable(irr, isr, tpr, interrupts_on):
    ### BEGIN SOLUTION
    if not interrupts_on or not irr:
        return None
    first = max(irr)
    return first if first >> 4 > max([tpr, *isr]) >> 4 else None
    ### END SOLUTION


# %% id="deliverable-check" check="04.6"
course.check("04.6")

# %% id="deliverable-hint"
course.hint("04.6")

# %% [markdown] id="nesting-text"
# ### Exercise 04.7: predict
# *3 minutes.* EOI takes the vector out of ISR. The RFC's handler writes it *first*.

# %% id="nesting-question"
course.question("04.7")

# %% id="nesting" exercise="04.7"
### BEGIN SOLUTION
choice = "B"
confidence = "fairly"
### END SOLUTION

# %% id="nesting-check" check="04.7"
course.check("04.7")

# %% id="nesting-hint"
course.hint("04.7")

# %% [markdown] id="nesting-run-text"
# Both gates, and both places for EOI:

# %% id="nesting-run"
print(lab04.nesting())

# %% [markdown] id="nesting-why"
# Two locks keep a handler from its own kind: ISR, until EOI; and IF, until IRETQ, if the gate has cleared it. One is
# enough. With neither, each IPI that arrives takes another piece of the stack, for as long as somebody sends.

# %% [markdown] id="silent-text"
# ## Diagnose
# ### Exercise 04.8: sent, and not taken
# *15 minutes.* Four machines. On each, CPU 0 has sent 0xEA to CPU 3 twice, and now no handler runs. The cell below
# looks at the first of them; change `one` to `two`, `three` and `four` for the others.
#
# **Goal:** the letter of the cause for each machine, and in `lost` the number (1 to 4) of the one whose IPIs would not
# come even if the cause were taken away.
#
# - A. The receiver's APIC is switched off by software: bit 8 of [SVR](glossary.md#svr) is 0, as INIT leaves it.
# - B. The receiver has interrupts off: IF is 0.
# - C. A handler of the same class has not written EOI.
# - D. The receiver's TPR holds the vector back.
# - E. The IPI went to another CPU.

# %% id="silent-machines"
one, two, three, four = lab04.silent(course.progress.seed)
course.given("04.8")

# %% id="silent-look"
# %mk use one
# %mk apic 3
# %mk regs 3

# %% id="silent" exercise="04.8"
### BEGIN SOLUTION
first = "A"
second = "D"
third = "C"
fourth = "B"
lost = 1
### END SOLUTION

# %% id="silent-check" check="04.8"
course.check("04.8")

# %% id="silent-hint"
course.hint("04.8")

# %% [markdown] id="linux"
# ## What Linux does
# Patches are those of "kernel: Introduce multikernel architecture support" (RFC, version 1, September 2025). Where
# no patch stands, Linux had it already.
#
# | step | function or name | file |
# |---|---|---|
# | the number 0xEA | `MULTIKERNEL_VECTOR` | arch/x86/include/asm/irq_vectors.h (patch 3) |
# | its gate: interrupt, DPL 0, IST 0 | `asm_sysvec_multikernel` | arch/x86/kernel/idt.c (patch 3) |
# | the handler: EOI, count, then work | `sysvec_multikernel` | arch/x86/kernel/smp.c (patch 3) |
# | what it does with the message | queues each `mk_ipi_handler` | kernel/multikernel.c (patch 4) |
# | sending | `multikernel_send_ipi_data` | kernel/multikernel.c (patch 4) |
# | two stores to ICR | `native_apic_mem_write` | arch/x86/include/asm/apic.h |
# | SVR bit 8 | `APIC_SPIV_APIC_ENABLED` | arch/x86/include/asm/apicdef.h |
#
# `sysvec_multikernel` counts it as a *function call interrupt* (CAL): /proc/interrupts has no row for 0xEA. Nobody
# limits who sends it or how often. On our small kernel:

# %% id="flood"
print(lab04.flood(host))

# %% [markdown] id="fidelity"
# ## What is simplified
# The APIC here takes, merges, orders and loses interrupts as Intel's manual says. Interrupts are edge-triggered, time
# is counted in instructions, and a CPU that waits is given its turn by a schedule, so that every run is the same. How
# many of a flood arrive depends on the schedule here, on speed and chance on a real computer. [Every departure is
# listed](../docs/fidelity.md), with a test that shows it.

# %% [markdown] id="summary"
# ## What you know now
# - The low store sends; the id stands in the high half. A bit in IRR, a gate, a handler, EOI, IRETQ.
# - One bit for each vector: interrupts merge. They say "look", never "how many".
# - IF, TPR and ISR delay. A switched-off APIC loses, and the sender does not learn it.
#
# From memory: draw the way of one IPI, with the register or table that holds it at each step. Then compare with the
# picture at the top. **Next**, lab 05: what lies in memory when the handler looks, and whose CPU 2 is meant.

# %% id="report"
course.report()
