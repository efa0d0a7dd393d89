# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 02 The INIT trampoline I: who am I, and where?
#
# **How does a CPU that knows nothing, not even its own address, find its way into a kernel?**
# [INIT](glossary.md#init) has reset it, a [SIPI](glossary.md#sipi) with a [vector](glossary.md#vector) is all that it
# is told, and the machine has been running for weeks. In this lab you write the first instructions of the
# [trampoline](glossary.md#trampoline), the code that it executes, and they must run.
#
# **Time:** 75 minutes. **Before:** [lab 00](00-a-second-kernel.ipynb). You read a little assembly: AT&T syntax, as
# Linux has it, source on the left.
#
# Afterwards you can
# - start a CPU with two stores per interrupt, and say which address it starts at;
# - say what a [segment](glossary.md#segment) register holds, in [real mode](glossary.md#real-mode) and in [protected
#   mode](glossary.md#protected-mode);
# - lead a CPU from one mode into the other, and find out why one did not arrive.

# %% id="open"
from mklab import lab
from mklab.lab.lab02 import pictures
from mklab.widgets.dashboard import Dashboard

course = lab.open("02")

# %% [markdown] id="recall"
# ## From memory
# Answer first, then open.
#
# <details><summary>Who owned CPU 2, in lab 00, between INIT and the trampoline's jump?</summary>
#
# Nobody: the host had given it up, and the new kernel's memory had not been entered yet.
#
# </details>
#
# <details><summary>reboot returned 0. What did that prove about the new kernel?</summary>
#
# Nothing. The host had sent INIT and two SIPIs, and did not look whether anybody had started.
#
# </details>

# %% [markdown] id="map"
# ## What will happen
# A machine with two CPUs. CPU 0 runs the host, CPU 1 is offline, a second kernel lies at 0x2000000. The host kicks
# CPU 1: [INIT](glossary.md#init) and [SIPI](glossary.md#sipi) send it into the [trampoline](glossary.md#trampoline),
# nine pages of code and tables at 0x96000. There it goes through four modes: [real mode](glossary.md#real-mode),
# [protected mode](glossary.md#protected-mode), compatibility mode, 64-bit mode. This lab is about the first two; lab
# 03 about the others.

# %% [markdown] id="predict-stack"
# ## Exercise 02.1: predict
# *3 minutes. A prediction: nothing is lost if it is wrong.* Decide before you run what comes below, and say how sure
# you are: `"guess"`, `"fairly"` or `"sure"`.

# %% id="question-stack"
course.question("02.1")

# %% id="stack" exercise="02.1"
### BEGIN SOLUTION
choice = "B"
confidence = "fairly"
### END SOLUTION

# %% id="stack-check" check="02.1"
course.check("02.1")

# %% [markdown] id="watch"
# ## Watch
# The whole way was recorded, one instruction after the other. It stands where CPU 1, after the SIPI, has executed its
# first one. Choose **instruction** beside **Step**, and watch each instruction and what it changed. Nothing can break:
# **Back** undoes a step. Three moments matter:
#
# - the first instruction: which registers are *not* 0?
# - the instruction that sets PE: what changes besides that bit?
# - the [far jump](glossary.md#far-jump): which register changes, and what is hidden behind it?

# %% id="dashboard"
Dashboard(pictures.from_sipi(), parts=["stepper"])

# %% [markdown] id="run-stack"
# ## Run
# Before this kick, the bytes round 0x1200 and round 0x97200 were filled with `dd`. Which of them are still there?

# %% id="pushes"
machine = pictures.kicked()
# %mk mem 0x11f0 32
# %mk mem 0x971f0 32

# %% [markdown] id="why-stack"
# **Why.** The stack that the trampoline brings along, below 0x97204, is untouched. Two words lie at 0x11fc and
# 0x1200: 0x96104, the address of the 64-bit code, and 0x10, its [selector](glossary.md#selector). With the old base
# they would lie at 0x971fc; after a stack fault the CPU would have shut down; an ESP of 0 would have shown in the
# picture. Each register kept its number. What it *meant* changed when SS was loaded. A real Linux with the RFC's
# patches left the same two words at the same two addresses, in a page that happens to be reserved. At the end of
# this lab you repair it.

# %% [markdown] id="idea-start"
# ## 1 A CPU is started by two stores
# To send an interrupt, a kernel stores to the [ICR](glossary.md#icr) of its own [APIC](glossary.md#apic): first the
# target, at offset 0x310, then, at 0x300, a word that says what to send: the [vector](glossary.md#vector) in bits
# 7:0, the delivery mode in bits 10:8 (0 ordinary, 4 NMI, 5 INIT, 6 SIPI). This second store sends. INIT resets the
# CPU and leaves it in wait-for-SIPI. The SIPI's vector is the number of a page: CS becomes vector << 8, its base
# vector << 12, IP 0.
#
# In Linux: `do_multikernel_boot_cpu`, arch/x86/kernel/smpboot.c (patch 1). Here are its stores, up to the first SIPI:

# %% id="kick-table"
print(pictures.kick_table(pictures.way()))

# %% [markdown] id="sipi-text"
# ### Exercise 02.2: the word that starts a CPU
# *8 minutes. In Python.* **Given** the physical address at which a CPU is to start. **Goal:** the word for offset
# 0x300; `ValueError` for an address at which no SIPI can start a CPU.


# %% id="sipi" exercise="02.2"
def sipi_icr_low(start_ip):
    ### BEGIN SOLUTION
    if start_ip % 0x1000 or start_ip >= 0x100000:
        raise ValueError(f"a SIPI starts a CPU at a page below 1 MiB, not at {start_ip:#x}")
    return 0x600 | start_ip >> 12
    ### END SOLUTION


# %% id="sipi-check" check="02.2"
course.check("02.2")

# %% id="sipi-hint"
course.hint("02.2")

# %% [markdown] id="second-text"
# ### Exercise 02.3: predict
# *3 minutes.* Linux goes on: it sends the SIPI once more.

# %% id="second-question"
course.question("02.3")

# %% id="second" exercise="02.3"
### BEGIN SOLUTION
choice = "B"
confidence = "sure"
### END SOLUTION

# %% id="second-check" check="02.3"
course.check("02.3")

# %% [markdown] id="second-run-text"
# Here is the rest of the kick:

# %% id="second-run"
print(pictures.kick_table(pictures.way(), second=True))

# %% [markdown] id="idea-segments"
# ## 2 An address is a base and an offset
# In real mode every address is an offset in a [segment](glossary.md#segment). A segment register has a visible part,
# 16 bits, and a hidden base; loading it in real mode sets the base to 16 times the visible part. SIPI sets CS and
# nothing else: DS, ES and SS are 0. So the trampoline can execute its page before it can *see* it: a load or store
# without further care goes to the bottom of memory.
#
# The code does not know at which page it lies. It copies CS, and uses offsets from the page's first byte: in the
# source `LOW(label)` is a label minus the page's beginning.

# %% [markdown] id="segments-text"
# ### Exercise 02.4: the first instructions
# *12 minutes. In assembly.* **Given** the trampoline with a hole. `cli` and `wbinvd` stand before your lines; behind
# them ESI gets the page's address, and everything else follows. **Goal:** DS, ES and SS are what CS is;
# `trampoline_status_bsp` holds the marker 0xA5A5A5A5 (32 bits); SP points to `trampoline_stack_end`. Then CPU 1
# arrives in the kernel. **Leave alone** the rest of memory. Your lines must run at any page below 1 MiB.

# %% id="segments" exercise="02.4" lang="asm"
# ### BEGIN SOLUTION
# movw %cs, %ax
# movw %ax, %ds
# movw %ax, %es
# movw %ax, %ss
# movl $0xA5A5A5A5, LOW(trampoline_status_bsp)
# movw $LOW(trampoline_stack_end), %sp
# ### END SOLUTION

# %% id="segments-check" check="02.4"
course.check("02.4")

# %% id="segments-hint"
course.hint("02.4")

# %% [markdown] id="first-steps-text"
# The trampoline's own first ten steps; look at the bases:

# %% id="first-steps"
print(pictures.steps(pictures.way(), 0x00, 0x1F))

# %% [markdown] id="idea-descriptors"
# ## 3 A selector names a descriptor
# In protected mode a segment register holds a [selector](glossary.md#selector): an offset into a table, the
# [GDT](glossary.md#gdt). There lie [descriptors](glossary.md#descriptor) of 8 bytes, and loading the register copies
# one into its hidden part. The register GDTR says where the table is.
#
# ```
# byte   7        6          5        4        3        2        1        0
#        base     G D L .    access   base     base     base     limit    limit
#        31:24    lim 19:16  type     23:16    15:8     7:0      15:8     7:0
# ```
#
# G = 1: the limit counts units of 4 KiB. D: 32 bits by default. Access 0x9B: present, code that may be read; 0x93:
# data that may be written. So `ff ff 00 00 00 9b cf 00`, the trampoline's selector 8, is code from 0 on, 4 GiB, 32
# bits.

# %% [markdown] id="descriptor-text"
# ### Exercise 02.5: a descriptor
# *10 minutes. Memory.* The numbers are yours. Give the segment's `base`, the `last` valid offset, and, as `True` or
# `False`, whether it holds `code` and whether it is `wide`: 32 bits by default, not 16.

# %% id="descriptor-given"
course.given("02.5")

# %% id="descriptor" exercise="02.5"
### BEGIN SOLUTION
base = 0x48F4F940
last = 0x28258FFF
code = False
wide = False
### END SOLUTION

# %% id="descriptor-check" check="02.5"
course.check("02.5")

# %% id="descriptor-hint"
course.hint("02.5")

# %% [markdown] id="idea-switch"
# ## 4 The bit, and then the jump
# Bit 0 of CR0, PE, switches to protected mode. It changes no segment: CS keeps its hidden part from real mode, base
# 0x96000, 64 KiB, 16 bits, until it is loaded again. A [far jump](glossary.md#far-jump) loads it, and IP with it.
# Its target is 6 bytes in memory: a 32-bit offset, then a selector. Since the new segment begins at 0, the offset is
# a whole linear address, which was not known when the code was assembled; nor was the table's.
#
# In Linux: `x86_trampoline_bsp_start`, arch/x86/kernel/trampoline_64_bsp.S (patch 2), where these steps come from:

# %% id="switch-steps"
print(pictures.steps(pictures.way(), 0x1F, 0x67))

# %% [markdown] id="order-text"
# ### Exercise 02.6: the switch in order
# *8 minutes. Lines to be put into order.* `cli`, SP and the empty interrupt table (`lidtl`) stand before them. One
# line is not needed. Give the letters as text, as in `order = "BA"`: your order is carried out, on a CPU that has
# just taken a SIPI.

# %% id="order-question"
course.question("02.6")

# %% id="order" exercise="02.6"
### BEGIN SOLUTION
order = "CGEHABD"
### END SOLUTION

# %% id="order-check" check="02.6"
course.check("02.6")

# %% [markdown] id="switch-text"
# ### Exercise 02.7: into protected mode
# *12 minutes. In assembly.* **Given** the trampoline with a hole after `shll $4, %esi` and `lidtl`: ESI holds the
# page's address. At `tgdt` lie a limit (2 bytes) and room for a base (4 bytes); at `startup_32_vector` room for an
# offset (4) and the selector 8 (2). **Goal:** CPU 1 comes to `startup_32` in 32-bit protected mode, and from there
# into the kernel. Write it without the lines above.

# %% id="switch" exercise="02.7" lang="asm"
# ### BEGIN SOLUTION
# leal LOW(startup_32)(%esi), %eax
# movl %eax, LOW(startup_32_vector)
# leal LOW(tgdt)(%esi), %eax
# movl %eax, LOW(tgdt) + 2
# lgdtl LOW(tgdt)
# movw $1, %ax
# lmsw %ax
# ljmpl *LOW(startup_32_vector)
# ### END SOLUTION

# %% id="switch-check" check="02.7"
course.check("02.7")

# %% id="switch-hint"
course.hint("02.7")

# %% [markdown] id="diagnose-text"
# ## Diagnose: reset at the far jump
# ### Exercise 02.8
# *10 minutes.* Somebody has lost one line of the trampoline. Below is what the machine recorded; the numbers are
# yours. Give the number of the `event` in which the CPU first says that something is wrong, the address at which it
# `looked` for the descriptor of selector 8, the address at which that descriptor `lies`, and the letter of the
# `cause`:
#
# - A: a descriptor in the table is wrong
# - B: LGDT was executed before the table's address had been stored at tgdt + 2
# - C: LGDT was not executed
# - D: PE was not set
# - E: the far jump's target was not stored

# %% id="diagnose-given"
course.given("02.8")

# %% id="diagnose" exercise="02.8"
### BEGIN SOLUTION
event = 657
looked = 8
lies = 0x571A0
cause = "B"
### END SOLUTION

# %% id="diagnose-check" check="02.8"
course.check("02.8")

# %% id="diagnose-hint"
course.hint("02.8")

# %% [markdown] id="repair-text"
# ## Repair: a stack that comes along
# ### Exercise 02.9
# *8 minutes. In assembly, 32-bit.* The first four instructions behind the far jump. Add what is missing, so that the
# two pushes land on the trampoline's own stack, and nowhere else, wherever the trampoline lies.

# %% id="repair" exercise="02.9" lang="asm"
# movl $0x18, %eax
# movl %eax, %ds
# movl %eax, %es
# movl %eax, %ss
# ### BEGIN SOLUTION
# addl %esi, %esp
# ### END SOLUTION

# %% id="repair-check" check="02.9"
course.check("02.9")

# %% id="repair-hint"
course.hint("02.9")

# %% [markdown] id="linux"
# ## What Linux does
# The steps are those of "kernel: Introduce multikernel architecture support" (RFC, version 1, September 2025).
#
# | step | function or label | file |
# |---|---|---|
# | a place below 1 MiB | `setup_trampolines_bsp`, called by `setup_arch` | arch/x86/kernel/setup.c (patch 2) |
# | the entry is left in the page | `do_multikernel_boot_cpu` | arch/x86/kernel/smpboot.c (patch 1) |
# | INIT, INIT de-asserted, SIPI, SIPI | `do_multikernel_boot_cpu` | arch/x86/kernel/smpboot.c (patch 1) |
# | segments, marker, stack | `x86_trampoline_bsp_start` | arch/x86/kernel/trampoline_64_bsp.S (patch 2) |
# | table, PE, far jump | `x86_trampoline_bsp_start` | arch/x86/kernel/trampoline_64_bsp.S (patch 2) |
# | flat segments, pushes | `x86_trampoline_bsp_start`, 32-bit | arch/x86/kernel/trampoline_64_bsp.S (patch 2) |
#
# The marker is stored, and cleared by the host, and read by nobody. ESP is left as it was (exercise 02.9).

# %% [markdown] id="fidelity"
# ## What is simplified
# The CPU's part is x86 machine code that executes; the segments' hidden parts, the exceptions and the shutdown are
# as Intel's manual has them. The host's stores of INIT and SIPI go to its own APIC; around them process context is
# Python. The trampoline is rebuilt from the behaviour of the RFC's, instruction by instruction at the same offsets;
# in your exercises its 32-bit code may move, so that your lines may be longer than ours. [Every departure from
# hardware or from Linux](../docs/fidelity.md) is listed, with a test that shows it.

# %% [markdown] id="next"
# ## What you know now
# INIT makes a CPU forget, SIPI gives it CS, and from CS it works out the rest. A segment register is a name and a
# hidden copy; modes change what the name means, and loading changes the copy. A number that was an offset does not
# become an address by itself. In 32-bit mode your CPU can reach 4 GiB, and nothing above. Lab 03 takes it to 64
# bits: which comes first, the [page tables](glossary.md#page-table) or the bit?

# %% [markdown] id="progress"
# ## How far you are
# Your progress lies in a file beside this notebook. It leaves this computer only if you download it.

# %% id="report"
course.report()
