# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 00 A second kernel in five minutes
#
# **Can two kernels share one computer, without a hypervisor?** Here you load a second kernel into a running machine,
# say what will become of the two, and watch. Both are x86 machine code that executes, and you can stop them at every
# step.
#
# **Time:** 30 minutes: 10 to watch and read, 20 to do it yourself. **Before:** nothing.
#
# Afterwards you can
# - name the three acts: take a CPU offline, load an image, start it;
# - say who owns a CPU at any moment, and when that is nobody;
# - follow a message from one kernel to another, step by step.

# %% id="open"
from mklab import Scenario, lab, minikernel_image
from mklab.lab import lab00
from mklab.widgets.dashboard import Dashboard

course = lab.open("00")

# %% [markdown] id="story"
# ## What will happen
# The machine has four CPUs. One kernel, the **host**, runs on all of them, as Linux does on your computer. Then
#
# 1. the host takes **CPU 2 offline**: that CPU halts and does nothing more;
# 2. the system call of [kexec](glossary.md#kexec), **kexec_load**, copies a second kernel to address 0x2000000, where
#    the host has nothing;
# 3. the host calls **reboot** with the command LINUX_REBOOT_CMD_MULTIKERNEL, for CPU 2.

# %% [markdown] id="predict"
# ## Exercise 00.1: what runs after reboot
# *1 minute. A letter, and how sure you are.*
#
# The call returns 0. Decide before you see it: what surprises you, you will remember. Put a letter, and `"guess"`,
# `"fairly"` or `"sure"`, in place of the dots.

# %% id="prediction"
course.question("00.1")

# %% id="predicted" exercise="00.1"
### BEGIN SOLUTION
choice = "B"
confidence = "fairly"
### END SOLUTION

# %% id="predicted-check" check="00.1"
course.check("00.1")

# %% [markdown] id="hints"
# Stuck, here or later? Each exercise has three hints: each time you run the cell, it gives the next one. They cost
# nothing. After all three and an attempt, or after a pass, `course.solution("00.1")` shows an answer to compare with.

# %% id="predicted-hint"
course.hint("00.1")

# %% [markdown] id="watch"
# ## Watch
# The host sends CPU 2 two special interrupts. [INIT](glossary.md#init) resets it, and [SIPI](glossary.md#sipi) tells
# it where to begin: in 16-bit [real mode](glossary.md#real-mode), as on the day the PC was new. A small program, the
# [trampoline](glossary.md#trampoline), leads it through [protected mode](glossary.md#protected-mode) into 64-bit
# [long mode](glossary.md#long-mode), and jumps into the second kernel. In the end the host sends that kernel a
# message.
#
# What you see at first is the past: the host has brought up CPUs 1, 2 and 3, one after the other. Now press **Step**,
# and watch CPU 2. Every step goes on until there is something to see; **Run** goes to the end, **Reset** starts again,
# and **Text twin** says the same in words. Three moments matter:
#
# - INIT: CPU 2 loses its owner;
# - the jump: CPU 2 gets a new one;
# - the message m1, and the answer m2 that comes back.

# %% id="dashboard"
Dashboard(Scenario())

# %% [markdown] id="consoles-text"
# ## Two consoles
# The cells below look at a run of their own, from beginning to end, so they do not depend on what you pressed above.
# Here is what each kernel has printed, and when: time is counted in executed instructions. Neither knows of the other's
# console.

# %% id="consoles"
run = Scenario()
run.run()
for kernel in ("host", "kernel 1"):
    print(f"--- {kernel}")
    for time, line in run.recording.lines(kernel):
        print(f"{time:>9,}  {line}")

# %% [markdown] id="two-kernels"
# Both are alive: the host prints the answer to its message *after* `kernel 1 up`. So the right prediction was B: the
# host goes on, on the CPUs it has kept. And look at `do_multikernel_boot_cpu end`: there the host is done with starting
# CPU 2, tens of thousands of instructions before the second kernel is up. Nobody has checked that it ever will be.

# %% [markdown] id="owner-question"
# ## Who owned CPU 2 between INIT and the jump?
# Think first: the host had given it up, and the new kernel had not begun.

# %% id="owner"
print(lab00.owners(run.recording, cpu=2, since=run.booted))

# %% [markdown] id="owner-answer"
# **Nobody.** From INIT on, CPU 2 no longer executes the host. Then it runs the trampoline, in nine pages below
# 1 MiB that belong to no kernel, and only the jump takes it into the memory of `kernel 1`.
#
# In this lab an owner is *observed*: a CPU belongs to the kernel whose memory it was seen to enter. Linux, in the RFC's
# first version, keeps no such record at all (`multikernel_kick_ap`, patch 1).

# %% [markdown] id="message-text"
# ## The way of a message
# A message needs two things: bytes in memory, and an interrupt from one CPU to another that says "look": an
# [IPI](glossary.md#ipi).

# %% id="message"
print(lab00.message_steps(run.recording, 0))

# %% [markdown] id="message-answer"
# - **[Slot](glossary.md#slot).** Each CPU has one place in shared memory. The sender fills the receiver's slot:
#   number, type, size, bytes.
# - **[ICR](glossary.md#icr).** Two stores to the sender's own interrupt controller (its local
#   [APIC](glossary.md#apic)), at 0xFEE00310 (to whom) and 0xFEE00300 (which [vector](glossary.md#vector)).
# - **[IRR](glossary.md#irr).** The receiver's APIC notes vector 0xEA. One bit: a second 0xEA before the first is
#   delivered adds nothing.
# - **Handler.** The CPU leaves [HLT](glossary.md#hlt) and goes through its interrupt table into the handler, which will
#   look into the slot.
# - **[EOI](glossary.md#eoi).** The handler tells its APIC that the next interrupt may come. This one does so before it
#   looks into the slot, as the RFC's does (`sysvec_multikernel`, patch 3).
#
# The answer takes the same way back. Everything above is in the trace, and the trace is the same on every computer:

# %% id="hash"
print(run.machine.trace.count, "events, sha256", run.machine.trace.sha256)

# %% [markdown] id="order-text"
# ## Exercise 00.2: what reboot sets in motion
# *3 minutes. Letters in an order.*
#
# `cpu_down` and `kexec_load` are acts of their own; `reboot` then does three more things. Put the lines into an order
# in which a second kernel comes up on CPU 3 and the host keeps its other CPUs. The check carries your lines out, on a
# machine of its own, one after the other. One line is not needed.

# %% id="order-lines"
course.question("00.2")

# %% id="order" exercise="00.2"
### BEGIN SOLUTION
order = "CEBDA"
### END SOLUTION

# %% id="order-check" check="00.2"
course.check("00.2")

# %% id="order-hint"
course.hint("00.2")

# %% [markdown] id="exercise-text"
# ## Exercise 00.3: a second kernel by hand
# *10 minutes. In Python.*
#
# **Given** a host that runs on four CPUs. **Goal:** a second kernel at address **0x3000000** on **CPU 3**, which has
# received `b"hello"` from the host and answered. **Leave alone** the other CPUs.
#
# You need each of these once; here they stand in alphabetical order, not in the right one.
#
# | call | what it does |
# |---|---|
# | `host.cpu_down(cpu)` | the host gives up a CPU |
# | `host.load(image)` | kexec_load: copies an image to its place |
# | `host.multikernel_kexec(cpu)` | sends INIT and SIPI to a CPU, and returns |
# | `host.multikernel_send_ipi_data(cpu, data)` | sends a message |
# | `host.wait_online("kernel 1", cpu)` | lets the machine run until that kernel says that it is up |
# | `minikernel_image(base, 1, apic_ids)` | an image for address `base`, kernel 1; its own CPU first, then the others |
#
# The run above had `minikernel_image(0x2000000, 1, [2, 0, 1, 3])`. Try an order that you think is wrong, too: the
# machine is a new one at each check, and a wrong answer costs nothing.


# %% id="second-kernel" exercise="00.3"
def boot_second_kernel(host):
    ### BEGIN SOLUTION
    image = minikernel_image(0x3000000, 1, [3, 0, 1, 2])
    host.cpu_down(3)
    host.load(image)
    host.multikernel_kexec(3)
    host.wait_online("kernel 1", 3)
    host.multikernel_send_ipi_data(3, b"hello")
    ### END SOLUTION


# %% id="second-kernel-check" check="00.3"
course.check("00.3")

# %% id="second-kernel-hint"
course.hint("00.3")

# %% [markdown] id="busy-text"
# ## Exercise 00.4: busy, twice
# *4 minutes. Read two runs, and say what was the matter.*
#
# Two hosts called `reboot` to start a second kernel, and both got -EBUSY. These are the steps of their calls. A step is
# named when it is over; `oops` means that the kernel killed the call for a store that the CPU had refused.
#
# Which cause fits run 1, and which run 2?
#
# - **A** The CPU is online in the host.
# - **B** `kexec_lock` is held, by a call that will never give it back.
# - **C** Another kernel runs on the CPU.
# - **D** No image is loaded.
#
# And the evidence: `taken` is the number of the event at which that lock was taken.

# %% id="busy-given"
course.given("00.4")

# %% id="busy" exercise="00.4"
### BEGIN SOLUTION
run_1 = "A"
run_2 = "B"
taken = 1041
### END SOLUTION

# %% id="busy-check" check="00.4"
course.check("00.4")

# %% id="busy-hint"
course.hint("00.4")

# %% [markdown] id="back-text"
# ## Exercise 00.5: the host wants its CPU back
# *2 minutes. A letter, and how sure you are.*
#
# Before a kick, `multikernel_kexec` (patch 1) asks whether the CPU is online in the host, and nothing more: exercise
# 00.4 has shown it. So what if the host wants CPU 2 back, while kernel 1 runs there?

# %% id="back-question"
course.question("00.5")

# %% id="back" exercise="00.5"
### BEGIN SOLUTION
choice = "C"
confidence = "fairly"
### END SOLUTION

# %% id="back-check" check="00.5"
course.check("00.5")

# %% id="back-hint"
course.hint("00.5")

# %% [markdown] id="back-run-text"
# Now let the machine say it. The run from above goes on: the host calls `cpu_up(2)`.

# %% id="back-run"
before = run.machine.trace.count
run.host.cpu_up(2)
print(lab00.owners(run.recording, cpu=2, since=before))
time, line = list(run.recording.lines("kernel 1"))[-1]
print(f"The last line of kernel 1: {time:,}  {line}")

# %% [markdown] id="back-answer"
# CPU 2 loses its owner for a moment and is the host's again. Kernel 1 has not said a word: it was not asked. Its memory
# is untouched, and no CPU executes it any more. A Linux 6.12 with the RFC's patches did the same to the program on its
# CPU, and logged one line, "Booting Node 0 Processor 1" (`multikernel_kick_ap`, patch 1, leaves no record that could
# have stopped it).

# %% [markdown] id="linux"
# ## What Linux does
# The steps are those of "kernel: Introduce multikernel architecture support" (RFC, version 1, September 2025).
#
# | step | function | file |
# |---|---|---|
# | load | `kexec_load`, `kimage_load_multikernel_segment` | kernel/kexec.c, kernel/kexec_core.c (patch 1) |
# | list | `kimage_add_to_list` | kernel/kexec_core.c (patch 6) |
# | choose and check | `multikernel_kexec` | kernel/kexec_core.c (patches 1 and 6) |
# | INIT and SIPI | `multikernel_kick_ap`, `do_multikernel_boot_cpu` | arch/x86/kernel/smpboot.c (patch 1) |
# | to long mode | `trampoline_64_bsp.S` | arch/x86/kernel (patch 2) |
# | vector 0xEA | `sysvec_multikernel` | arch/x86/kernel/smp.c (patch 3) |
# | messages | `multikernel_send_ipi_data` | kernel/multikernel.c (patch 4) |

# %% [markdown] id="fidelity"
# ## What is simplified
# The machine executes x86 instructions, and its interrupt controllers behave as Intel's manual says. The kernels are
# minikernels: a console, an interrupt table, messages, nothing else. What the host does inside a system call, such as
# copying an image or sending INIT, is Python that works on the machine's memory and on the CPU's own APIC. Time is
# counted in instructions, so that every run is the same. [Every departure from hardware or from
# Linux](../docs/fidelity.md) is listed, with a test that shows it.

# %% [markdown] id="next"
# ## What you know now
# A CPU is given up, reset, and led into another kernel; in between it belongs to nobody. Two kernels that know nothing
# of each other talk through a slot in memory and one interrupt vector. And nothing protects one from the other: try
# `minikernel_image(0x1000000, ...)` in exercise 00.3, and see what the check says about the host.

# %% [markdown] id="progress"
# ## How far you are
# Your progress lies in a file beside this notebook. It leaves this computer only if you download it: do so on Binder,
# which forgets it after ten minutes without you, and upload it again when you go on.

# %% id="report"
course.report()
