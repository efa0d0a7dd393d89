# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 07 Three kernels
#
# **What keeps three kernels apart on one computer, and what does it take to start and join them without an accident?**
# Here everything of the labs before comes together: you plan, bring up, let kernels talk, and find out why one died.
#
# **Time:** 120 minutes. **Before:** labs 01 to 06; from 04 the [APIC](glossary.md#apic)'s [ICR](glossary.md#icr), from
# 05 the [slots](glossary.md#slot), from 06 the list of images.
#
# Afterwards you can
# - plan CPUs, memory and slots for several kernels, and start them so that none kills another;
# - write a kernel that speaks, and one that passes messages on;
# - go back from a failure to the store that caused it, and prove a claim about a run with an event.

# %% id="open"
from mklab import Scenario, lab
from mklab.lab import lab07
from mklab.widgets.dashboard import Dashboard
from mklab.widgets.parts import MemoryMap, Messages

course = lab.open("07")

# %% [markdown] id="recall"
# ## Do you remember?
# Answer both from memory, then open them.
#
# <details><summary>Lab 06: /proc/multikernel lists an image. Does a CPU run it?</summary>
#
# Nobody can tell from the list. It says what was loaded; a start takes nothing off it, and unloading stops nobody.
# </details>
#
# <details><summary>Lab 04: three CPUs send 0xEA to a CPU with interrupts off. How often does its handler run?</summary>
#
# Once. The [IRR](glossary.md#irr) has one bit for each [vector](glossary.md#vector), so the second and third add
# nothing.
# </details>

# %% [markdown] id="watch-text"
# ## Watch
# The host gives up CPU 1, then CPU 2. On each it starts a kernel of 16 MiB: kernel 1 at 0x2000000, kernel 2 at
# 0x3000000. It sends each of them a message; in the end kernel 1 writes to kernel 2, past the host.
#
# Press **Run** and look at three things: the CPUs (a mark where one belongs to nobody), the messages (m1 to m6), and
# the memory (four owners: the host, two kernels, nobody). **Text twin** says the same in words.

# %% id="watch"
Dashboard(Scenario(4, 2))

# %% [markdown] id="predict-text"
# ## Exercise 07.1: predict
# *3 minutes.* Both kernels are up and have nothing in common but the [slots](glossary.md#slot). Decide before you
# read on: a cell further down settles it.

# %% id="isolation-question"
course.question("07.1")

# %% id="isolation" exercise="07.1"
### BEGIN SOLUTION
choice = "D"
confidence = "fairly"
### END SOLUTION

# %% id="isolation-check" check="07.1"
course.check("07.1")

# %% [markdown] id="plan-observed"
# ## A plan is not a fact
# The host planned CPU 1 for kernel 1. Who *owns* a CPU is another question, and this lab answers it by looking: a CPU
# belongs to the kernel whose memory it was seen to enter. Version 1 of the RFC has neither a plan nor a record. The
# cells below look at a run of their own, whatever you pressed above.

# %% id="planned"
run = Scenario(4, 2)
run.driver.run()
print("CPU  APIC id  planned   observed")
for cpu in run.machine.cpus:
    print(f"{cpu.index:>3}  {cpu.apic_id:>7}  {cpu.planned:<8}  {cpu.owner}")
for number, name in enumerate(run.kernels, 1):
    print(f"{name}: its first CPU is logical CPU 0 to itself, the host's CPU {run.cpu_of(number)}")

# %% [markdown] id="settle-text"
# ## Run
# Kernel 2 keeps its number in a variable, `mk_boot_info.kernel_id`. Code of kernel 1, on CPU 1, now tries to store 99
# there. Then the host asks kernel 2 something.

# %% id="settle"
one, two = run.host.kernel("kernel 1"), run.host.kernel("kernel 2")
address = two.boot_info.address("kernel_id")
one.store(address, (99).to_bytes(4, "little"))
run.host.multikernel_send_ipi_data(2, b"who are you?")
run.host.settle()
print(f"stored at {address:#x}; the last line on the console of kernel 2:")
print(run.machine.console("kernel 2").splitlines()[-1])

# %% [markdown] id="why"
# <details><summary>Which of the four was it? Open this when you have answered and run the cell.</summary>
#
# **Nothing stopped it.** A page fault would have been an event, kexec_load was over long before, and no device was
# involved. The kernel that was number 2 calls itself 99 now, and does not know why. The picture below marks the store,
# because the lab compares each store with the plan; the hardware does not. On a real kernel with the patches, a load
# over the host's own data was accepted in the same way, and replaced its host name.
# </details>

# %% id="stray"
run.driver.run()  # the scenario is over; this shows where the machine stands now
MemoryMap(run.driver)

# %% [markdown] id="plan-text"
# ## 1. Place: a plan that has no conflict
# A plan must be right from the start. Each kernel needs three things that no other has:
#
# - a **CPU**: `cpu_down` and `reboot` take the host's logical number;
# - a **window** of memory: `kexec_load` (kernel/kexec_core.c) checks one image against itself only, and copies at once;
# - a **slot**: a receiver finds it by its [APIC id](glossary.md#apic-id) (`arch_cpu_physical_id`, patch
#   5).
#
# In the run above logical numbers and [APIC](glossary.md#apic) ids were equal, so a slip would not have shown. Yours
# differ.
#
# ## Exercise 07.2: a plan for your machine
# *15 minutes. Values.* **Given** the machine that the next cell describes; it is your own. **Goal:** a CPU (by the
# host's number), the beginning of a 16 MiB window and a slot number for each of the two kernels, so
# that the check can boot them there and write to them. **Leave alone** what the host keeps.

# %% id="plan-given"
course.given("07.2")

# %% id="plan" exercise="07.2"
### BEGIN SOLUTION
cpu = {"kernel 1": 1, "kernel 2": 2}
base = {"kernel 1": 0x3000000, "kernel 2": 0x4000000}
slot = {"kernel 1": 2, "kernel 2": 4}
### END SOLUTION

# %% id="plan-check" check="07.2"
course.check("07.2")

# %% id="plan-hint"
course.hint("07.2")

# %% [markdown] id="start-text"
# ## 2. Load and start: wait for evidence
# `do_multikernel_boot_cpu` (arch/x86/kernel/smpboot.c, patch 1) writes entry and boot_params into *one* place in the
# [trampoline](glossary.md#trampoline), sends [INIT](glossary.md#init) and [SIPI](glossary.md#sipi), clears a marker
# without reading it, and returns 0. The CPU reads the entry later. And it runs on six pages of tables that the
# trampoline clears for every CPU that it starts.
#
# So a quick second kick can give the first CPU the wrong kernel: on a real kernel 58 of 60 such pairs ran the wrong
# image on a quiet console. Or it takes away the tables under its feet. Here is one such pair:

# %% id="hasty"
hasty = lab07.Hasty()
hasty.driver.run()
rows = lab07.story(hasty).splitlines()
print("\n".join(row for row in rows if "planned" in row or "kernel_start_address" in row))

# %% [markdown] id="hasty-text"
# Both calls returned 0. Compare what each CPU was planned for with what it entered: whoever reads late reads the last
# letter in the box. Time is no cure, since nobody knows how long a CPU takes. Evidence is: something that *only this
# child* writes, and only when it is *safe* to go on.

# %% [markdown] id="start-exercise"
# ## Exercise 07.3: one after the other
# *15 minutes. In Python.* **Goal:** `start(host, image, cpu)` starts `image` on `cpu` and returns when the next one
# may be started. It is called for kernel 1, then for kernel 2, on two machines; on one of them the CPUs come up
# slowly, while a program keeps CPU 3 busy. The APIC id of each CPU is its number.
#
# | call | what it does |
# |---|---|
# | `host.cpu_down(cpu)`, `host.load(image)`, `host.multikernel_kexec(cpu)` | as in lab 00 |
# | `host.unload()` | kexec_load without a [segment](glossary.md#segment): the list is empty, nobody is stopped |
# | `host.read(address, size)` | bytes of memory |
# | `host.msleep(ms)` | sleep for milliseconds of virtual time; only meanwhile do the other CPUs go on |
# | `image.symbols["cpu_online"]` | where the image keeps a byte for each APIC id: 1 when that CPU is up |
#
# `multikernel_kexec` takes the oldest image of the list (defect 21 of version 1).


# %% id="start" exercise="07.3"
def start(host, image, cpu):
    ### BEGIN SOLUTION
    host.cpu_down(cpu)
    host.load(image)
    host.multikernel_kexec(cpu)
    flag = image.symbols["cpu_online"] + cpu
    while host.read(flag, 1) != b"\1":
        host.msleep(1)
    host.unload()
    ### END SOLUTION


# %% id="start-check" check="07.3"
course.check("07.3")

# %% id="start-hint"
course.hint("07.3")

# %% [markdown] id="talk-text"
# ## 3. Talk: two stores, and a handler
# A message is a filled slot and an [IPI](glossary.md#ipi) (`multikernel_send_ipi_data`, kernel/multikernel.c, patch
# 4). The slot is 272 bytes: `sender_cpu` and `type` (32 bits each), `data_size` (64 bits), and 256 bytes of data. The
# IPI is two stores to the sender's own APIC: 0xFEE00310 takes the destination in bits 24 to 31,
# 0xFEE00300 sends.
#
# A kernel that only speaks needs nothing else: no stack, no [IDT](glossary.md#idt), no
# [page tables](glossary.md#page-table) of its own. The picture shows the end of the run above: the host's question to
# kernel 2 is m7, the answer m8. Dotted lines are bytes that go into a slot, solid ones are IPIs.

# %% id="talk-example"
Messages(run.driver)

# %% [markdown] id="hello-exercise"
# ## Exercise 07.4: a kernel that says hello
# *15 minutes. In assembly.* **Given** a machine on which the host and kernel 1 run. Your code is loaded at 0x3000000
# with `kexec_load`, and the host kicks CPU 2: the trampoline jumps to `start`, in 64-bit
# mode, with 0 to 4 GiB mapped to itself. **Goal:** kernel 1, on CPU 1, finds `hello` of type MK_PING from CPU 2 in its
# slot, whatever an older message has left there; then your kernel sleeps for ever, even if something wakes it.
# **Leave alone** the stack: RSP points into low memory, and you need none.
#
# The names of the fields are `OFFSETOF_mk_ipi_data_sender_cpu`, `_type`, `_data_size` and `_buffer`. `hello` is
# 0x6c6c6568 and the byte 0x6f.

# %% id="hello" exercise="07.4" lang="asm"
# #include "abi.h"
#         .set    SLOT, 0x1ffa000 + 1 * SIZEOF_mk_ipi_data
# start:
#         ### BEGIN SOLUTION
#         movl    $2, SLOT + OFFSETOF_mk_ipi_data_sender_cpu
#         movl    $MK_PING, SLOT + OFFSETOF_mk_ipi_data_type
#         movq    $5, SLOT + OFFSETOF_mk_ipi_data_data_size
#         movl    $0x6c6c6568, SLOT + OFFSETOF_mk_ipi_data_buffer
#         movb    $0x6f, SLOT + OFFSETOF_mk_ipi_data_buffer + 4
#         movl    $0xfee00000, %eax
#         movl    $1 << 24, 0x310(%rax)
#         movl    $MULTIKERNEL_VECTOR, 0x300(%rax)
# 1:      hlt
#         jmp     1b
#         ### END SOLUTION

# %% id="hello-check" check="07.4"
course.check("07.4")

# %% id="hello-hint"
course.hint("07.4")

# %% [markdown] id="relay-exercise"
# ## Exercise 07.5: the kernel in between
# *20 minutes. In C.* **Given** a frame that gives your kernel page tables, a stack, an IDT and an enabled APIC, and
# then sleeps; on [vector](glossary.md#vector) 0xEA it calls `relay(slots, me)`. `slots[n]` is the slot of CPU n, and
# `me`, your own number, is 2. **Goal:** what the host sends you as MK_PING goes on to kernel 1 (CPU 1), what kernel 1
# answers as MK_PONG goes on to the host (CPU 0): the same type and bytes, and you as the sender. **Mind:** the handler
# writes [EOI](glossary.md#eoi) itself; and a sender can claim any size (defect 38), a slot holds MK_MAX_DATA_SIZE
# bytes.

# %% id="relay" exercise="07.5" lang="c"
# #include "abi.h"
# #define APIC(offset) (*(volatile unsigned *)(0xfee00000ul + (offset)))
#
# void relay(struct mk_ipi_data *slots, unsigned me)
# {
#     ### BEGIN SOLUTION
#     struct mk_ipi_data *mine = &slots[me];
#     unsigned next = mine->type == MK_PING ? 1 : 0;
#     struct mk_ipi_data *theirs = &slots[next];
#     unsigned long size = mine->data_size;
#
#     APIC(0xb0) = 0;
#     if (size > MK_MAX_DATA_SIZE)
#         size = MK_MAX_DATA_SIZE;
#     theirs->sender_cpu = me;
#     theirs->type = mine->type;
#     theirs->data_size = size;
#     for (unsigned long i = 0; i < size; i++)
#         theirs->buffer[i] = mine->buffer[i];
#     APIC(0x310) = next << 24;
#     APIC(0x300) = MULTIKERNEL_VECTOR;
#     ### END SOLUTION
# }

# %% id="relay-check" check="07.5"
course.check("07.5")

# %% id="relay-hint"
course.hint("07.5")

# %% [markdown] id="hundred-text"
# ## A hundred messages
# Now all three talk: each in turn writes to the next, and is answered. Every message goes to a slot that is free, since
# each waits until all CPUs sleep. That is a rule among friends; what happens without it is the subject of lab 08.

# %% id="hundred"
from mklab.lab.capstone import MESSAGES, capstone

three = capstone()
messages = three.recording.messages[-MESSAGES:]
print(len(messages), "messages sent;", sum(one.taken is not None for one in messages), "taken;", end=" ")
print(sum(one.overwritten is not None for one in messages), "overwritten")
for sender, target in sorted({(one.sender, one.target) for one in messages}):
    print(f"CPU {sender} to CPU {target}:", sum((one.sender, one.target) == (sender, target) for one in messages))

# %% [markdown] id="diagnose-text"
# ## Diagnose: go back to the cause
# A run is repeatable: the same inputs give the same instructions. So you can take it back, tell it where to stop, and
# let it run again. This is how to ask *who writes here?* of the two quick kicks above: back to the start, then stop at
# each store into the mailbox, 8 bytes at 0x96188. (In a dashboard, the field **Until** does the same.)

# %% id="tool"
driver, machine = hasty.driver, hasty.machine
driver.seek(0)
driver.stop_at(["write 0x96188 8"])
for _ in range(2):
    print(driver.run())
    print(f"  instruction {machine.time:,}: the mailbox holds {machine.memory.read_u64(0x96188):#x}")
    print("  CPU 1 belongs to", machine.cpus[1].owner or "nobody, on its way", "in", machine.cpus[1].mode, "mode")

# %% [markdown] id="tool-text"
# There it is: the second kick writes while CPU 1 is still on its way. A stop says which CPU stands where, and the
# machine is exactly there. `driver.run()` goes on to the next store; `driver.back()` takes the last event back.
# `machine.registers(1).cr3` and `.idtr.base` tell what a CPU uses; `%mk regs 1`, `%mk dis ADDRESS` and `%mk mem
# ADDRESS` show more (first `%mk use hasty`, or the run that you look at).

# %% [markdown] id="sudden-exercise"
# ## Exercise 07.6: the kernel that died of another's birth
# *15 minutes. Diagnose.* Kernel 2 is a small one: five instructions in a loop, on the page tables that it was entered
# with. It runs well, until the host starts kernel 3. Then the platform is reset, with every kernel. **Goal:** who died,
# on which table, who changed it, when, and why: `died` and `writer` are numbers of CPUs, `time` is `machine.time` at
# the stop right after the store.
#
# - A. The small kernel has a bug and wrote over its own tables.
# - B. The tables were wrong from the start.
# - C. The trampoline clears its tables for every CPU that it starts, and the small kernel still ran on them.
# - D. kexec_load copied the image of kernel 3 over the tables.

# %% id="sudden-run"
sudden = lab07.Sudden(course.progress.seed)
driver, machine = sudden.driver, sudden.machine  # of this run, from here on
driver.run()
print(course.given("07.6"), "\n")
print("\n".join(lab07.story(sudden).splitlines()[-21:-7]))

# %% id="sudden" exercise="07.6"
### BEGIN SOLUTION
died = 3
table = 0x98000
writer = 1
time = 283195
cause = "C"
### END SOLUTION

# %% id="sudden-check" check="07.6"
course.check("07.6")

# %% id="sudden-hint"
course.hint("07.6")

# %% [markdown] id="later-exercise"
# ## Exercise 07.7: the failure and the fault
# *15 minutes. Memory.* Two kernels answer message after message. Then one of them takes an exception that it never took
# before. **Goal:** the CPU that failed; the address of the 16 bytes that it could not use; which CPU had written over
# them, at which instruction; and whose memory it was by plan. `machine.registers(cpu).idtr.base` says where a CPU's
# [IDT](glossary.md#idt) begins.

# %% id="later-run"
later = lab07.Later(course.progress.seed)
driver, machine = later.driver, later.machine
driver.run()
print(course.given("07.7"), "\n")
print("\n".join(lab07.story(later).splitlines()[-16:]))

# %% id="later" exercise="07.7"
### BEGIN SOLUTION
failed = 2
gate = 0x30A6FB0
cpu = 1
time = 324851
planned = "kernel 2"
### END SOLUTION

# %% id="later-check" check="07.7"
course.check("07.7")

# %% id="later-hint"
course.hint("07.7")

# %% [markdown] id="review-exercise"
# ## Exercise 07.8: three claims with evidence
# *15 minutes. Review.* In the next run every system call returns 0, and three things go wrong: a CPU enters another
# image than it was kicked for; a message is destroyed before anybody has read it; a kernel that runs well loses its
# CPU. Kernel 1 is a minikernel; kernels 2 and 3 only sleep. **Goal:** for each, the number of the event *at which it
# happens*, and the letter of the later change that is aimed at it. **Mind:** *finds* is this lab's own look at the
# slot, as the handler begins; what kernel 1 has read is what it prints, in a line that stands at its first letter.

# %% id="changes"
lab07.Changes()

# %% id="review-run"
hazards = lab07.Hazards(course.progress.seed)
hazards.run()
story = lab07.story(hazards).splitlines()
print(*story[22:63], sep="\n")
print("...")
print(*story[-30:], sep="\n")

# %% id="review" exercise="07.8"
### BEGIN SOLUTION
wrong_image = (3135, "B")
lost_message = (2387, "A")
taken_cpu = (3498, "C")
### END SOLUTION

# %% id="review-check" check="07.8"
course.check("07.8")

# %% id="review-hint"
course.hint("07.8")

# %% [markdown] id="exit-text"
# ## One more question
# The same idea as in the prediction, somewhere else. Decide first, then open an option.

# %% id="exit"
lab07.exit_question

# %% [markdown] id="linux"
# ## What Linux does
# "kernel: Introduce multikernel architecture support" (RFC, version 1, September 2025):
#
# | step | function | file |
# |---|---|---|
# | load, no look at others | `kimage_load_multikernel_segment` | kernel/kexec_core.c (patch 1) |
# | list, oldest first | `kimage_add_to_list`, `kimage_find_by_type` | kernel/kexec_core.c (patch 6) |
# | start | `multikernel_kexec` | kernel/kexec_core.c (patches 1 and 6) |
# | one mailbox, marker unread | `do_multikernel_boot_cpu` | arch/x86/kernel/smpboot.c (patch 1) |
# | tables cleared for each CPU | `trampoline_64_bsp.S` | arch/x86/kernel (patch 2) |
# | vector 0xEA | `sysvec_multikernel` | arch/x86/kernel/smp.c (patch 3) |
# | slot and [ICR](glossary.md#icr) | `multikernel_send_ipi_data` | kernel/multikernel.c (patch 4) |
# | receiver's slot by APIC id | `arch_cpu_physical_id` | arch/x86/kernel/smp.c (patch 5) |
#
# On a real kernel with these patches one spawned kernel was tried: it booted to user space on CPU 1, and 0xEA worked
# both ways with slot and ICR written by hand. Two at once were not tried.

# %% [markdown] id="fidelity"
# ## What is simplified
# All kernels here agree on one message area that each maps, wherever its memory lies; version 1 has no safe way to do
# so. Waiting is `msleep` in Python, and a write that goes astray is drawn because the lab knows the plan. The
# instructions, the interrupts, the page tables and the reset are real. [Every departure](../docs/fidelity.md) is
# listed with its test.

# %% [markdown] id="from-memory"
# ## From memory
# Close the notebook and draw the whole path on paper: from `cpu_down` to the answer of a second spawned kernel. Then
# check yourself: is there a point at which a CPU belongs to nobody (*Watch*)? Who reads the mailbox, and when (*Load
# and start*)? Which two stores send, and which one decides to whom (*Talk*)? Where does the receiver look (*Place*)?
#
# **In short.** Several kernels on one computer are an agreement about CPUs, memory and slots. Nothing enforces it, so
# a plan has to be right, a start has to wait for evidence, and a failure may have its cause in another kernel, long
# before.
#
# ## How far you are
# The next lab asks: *what if two kernels write to one slot at the same moment?*

# %% id="report"
course.report()
