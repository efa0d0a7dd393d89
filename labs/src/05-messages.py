# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 05 Messages and CPU identity
#
# **An interrupt says "look". Where does the receiver look, and who has been there?** In lab 04 you built the interrupt.
# Here you follow the message: 272 bytes in shared memory, found by a number that does not mean the same to everybody.
#
# **Time:** 60 minutes. **Before:** lab 04.
#
# Afterwards you can
# - decode a [slot](glossary.md#slot) of the message area, fill one, and take a message out without believing its
#   sender;
# - tell a logical CPU number from a physical id, and say which of them crosses from one kernel to another;
# - name what nobody checks: who reads, who has written last, whose page a number means.

# %% id="open"
import struct

from mklab import lab
from mklab.lab import lab05
from mklab.lab.driver import MachineDriver
from mklab.widgets.dashboard import Dashboard

course = lab.open("05")

# %% [markdown] id="recall"
# ## Do you still know?
# Answer first, from memory, then open.
#
# <details><summary>0xEA is sent twice to a CPU that has interrupts off. How often will it be interrupted?</summary>
#
# Once: in the [APIC](glossary.md#apic), [IRR](glossary.md#irr) has one bit for each [vector](glossary.md#vector) (lab
# 04).
# </details>
#
# <details><summary>What must be set before CR0.PG, if 64-bit code is to run in the end?</summary>
#
# CR4.PAE, CR3, and EFER.LME (lab 03).
# </details>
#
# <details><summary>Is a start-up interrupt sent to the kernel's number for a CPU, or to the hardware's?</summary>
#
# To an [APIC id](glossary.md#apic-id): <code>multikernel_kick_ap</code> (patch 1) translates the number that reboot was
# given (lab 02).
# </details>

# %% [markdown] id="watch-text"
# ## Watch: a message within one kernel
# A host runs on four CPUs. Their [APIC ids](glossary.md#apic-id) are 0, 1, 2 and 3, and the host numbers them in the
# same order. CPU 0 is about to send CPU 2 the bytes `hello`, as the RFC's `multikernel_send_ipi_data` does: fill CPU
# 2's [slot](glossary.md#slot), then send it [vector](glossary.md#vector) 0xEA.
#
# At first you see the past: the host has brought up its CPUs. Press **Step** until message m1 has arrived, and look at
# **Details** on the way. The CPU goes on with a second interrupt, to itself: the handlers of messages run in it, a
# moment later.

# %% id="watch"
host = lab05.host_with([0, 1, 2, 3])
host.submit_message(2, b"hello", 70)
Dashboard(MachineDriver(host.machine), parts=["messages", "details"])

# %% [markdown] id="watch-why"
# The same from beginning to end, on a machine of its own: what was interrupted, what was found, and what lies in the
# area now. Nothing marks the message as read.

# %% id="watch-run"
host = lab05.host_with([0, 1, 2, 3])
host.multikernel_send_ipi_data(2, b"hello", 70)
host.settle()
print(lab05.account(host))
print(lab05.area(host, 5))

# %% [markdown] id="predict"
# ## Exercise 05.1: predict
# *3 minutes.* The same, on a machine whose [APIC](glossary.md#apic) ids have gaps, as on many a server.

# %% id="identity-question"
course.question("05.1")

# %% id="identity" exercise="05.1"
### BEGIN SOLUTION
choice = "B"
confidence = "sure"
### END SOLUTION

# %% id="identity-check" check="05.1"
course.check("05.1")

# %% id="identity-hint"
course.hint("05.1")

# %% [markdown] id="run-text"
# ## Run

# %% id="run"
gaps = lab05.host_with([0, 2, 4, 6])
gaps.multikernel_send_ipi_data(2, b"for CPU 2", 70)
gaps.settle()
print(lab05.account(gaps))
print(gaps.machine.console("host").splitlines()[-2])

# %% [markdown] id="why"
# ## Why
# The interrupt went to the right CPU, and the message did not: the sender took slot **2**, its own number for that
# CPU; the receiver looked into slot **4**, its APIC id. The handler ran, on a message of type 0 from CPU 0: zeros look
# like a message, too.
#
# And slot 2 belongs to somebody. The CPU with APIC id 2 is the host's CPU 1. Send *it* something:

# %% id="run-next"
gaps.multikernel_send_ipi_data(1, b"for CPU 1", 71)
gaps.settle()
print(lab05.account(gaps))
print(lab05.area(gaps, 5))

# %% [markdown] id="why-next"
# CPU 1 has read what was meant for CPU 2. On a real kernel with the RFC, version 1, and APIC ids 0, 1, 2, 4 it was the
# same: CPU 3 was written slot 3 and read slot 4. Patch 5 had changed the receiver's number from logical to physical,
# and left the sender's.

# %% [markdown] id="slot-idea"
# ## 1. The slot
# The area holds one slot for each possible CPU, `NR_CPUS` of them (kernel/multikernel.c, patch 4):
#
# | offset | field | bytes |
# |---|---|---|
# | 0 | `int sender_cpu` | 4 |
# | 4 | `u32 type` | 4 |
# | 8 | `size_t data_size` | 8 |
# | 16 | `char buffer[256]` | 256 |
#
# There is no mark for *full* and none for *read*, no lock and no answer. A second message before the first was read
# takes its place, and nobody hears of it.

# %% [markdown] id="slot-text"
# ### Exercise 05.2: decode a slot
# *5 minutes. Read from memory.* `memory` is a machine whose area is full of messages. **Goal:** the address of the
# receiver's `slot`, and of the message in it `sender`, `kind` (its type), and `payload`, as in `b"hello"`.

# %% id="slot-given"
memory = lab05.filled(course.progress.seed)
course.given("05.2")

# %% [markdown] id="slot-look"
# `%mk mem ADDRESS BYTES` shows memory. Here is the first slot; change the address to yours.

# %% id="slot-memory"
# %mk use memory
# %mk mem 0x1ffa000 64

# %% id="slot" exercise="05.2"
### BEGIN SOLUTION
slot = 0x1FFA880
sender = 4
kind = 0x192
payload = b"shutdown"
### END SOLUTION

# %% id="slot-check" check="05.2"
course.check("05.2")

# %% id="slot-hint"
course.hint("05.2")

# %% [markdown] id="send-text"
# ### Exercise 05.3: the sender
# *8 minutes. In Python, on the memory and the APIC of a running host.* This is the function in C, as it is built into
# the kernels of this lab, after version 1 of the RFC:

# %% id="send-source"
print(lab05.sources("fill_slot", "multikernel_send_ipi_data"))

# %% [markdown] id="send-goal"
# **Goal:** the same in Python. `kernel.write(address, data)` stores bytes in memory, `kernel.store(address, value)`
# stores a word as CPU 0 does, in memory or at its local APIC. `area` is where slot 0 is (0: the mapping has failed),
# `apicids` the APIC id of each CPU of this kernel; CPU 0 is the one that sends. Return 0, or the negative errno: EINVAL
# is 22, ENOMEM is 12. After your store to [ICR](glossary.md#icr) the other CPUs run, before your next line does.


# %% id="send" exercise="05.3"
def multikernel_send_ipi_data(kernel, area, apicids, cpu, data, kind):
    ### BEGIN SOLUTION
    if cpu < 0 or cpu >= len(apicids) or len(data) > 256:
        return -22
    if not area:
        return -12
    slot = area + 272 * cpu
    header = struct.pack("<iIQ", apicids[0], kind, len(data))
    kernel.write(slot, header + data)
    kernel.store(0xFEE00310, apicids[cpu] << 24)
    kernel.store(0xFEE00300, 0xEA)
    return 0
    ### END SOLUTION


# %% id="send-check" check="05.3"
course.check("05.3")

# %% id="send-hint"
course.hint("05.3")

# %% [markdown] id="identity-idea"
# ## 2. Whose number
# A **logical** number is what one kernel calls a CPU: it counts its own, from 0. A **physical** id is the APIC's:
# whoever asks gets the same. Two kernels on APIC ids 0, 2, 4 and 6; the host has given away the CPU with id 4:
#
# | APIC id | 0 | 2 | 4 | 6 |
# |---|---|---|---|---|
# | the host's number | 0 | 1 | (2, offline) | 3 |
# | kernel 1's number | 1, if it was told | | 0 | |
#
# "CPU 0" is another CPU in each of them. Linux translates with `arch_cpu_physical_id` (patch 5).

# %% [markdown] id="repair-text"
# ### Exercise 05.4: one number for everybody
# *10 minutes. In C, as machine code of both kernels.* Three functions decide everything. Version 1 has:
#
# | function | who calls it | version 1 |
# |---|---|---|
# | `slot_to_fill(cpu)` | the sender; `cpu` is its own number for the receiver | `mk_shared_data + cpu` |
# | `ipi_destination(cpu)` | the sender: the APIC id for ICR, not shifted | `(unsigned int)arch_cpu_physical_id(cpu)` |
# | `slot_to_read()` | the receiver, in its handler | `mk_shared_data + physical_id()` |
#
# **Goal:** write all three so that each message is found by its receiver: from the host to its CPUs 1, 2 (kernel 1's)
# and 3, and from kernel 1 to its CPU 1, which is the host's CPU 0. `slot_to_fill` and `slot_to_read` return a `struct
# mk_ipi_data *`, `ipi_destination` an `unsigned int`.

# %% id="repair" exercise="05.4" lang="c"
# #include "abi.h"
# #define mk_shared_data ((struct mk_ipi_data *)0x100000UL)
# #define physical_id() (*(volatile int *)0xFEE00020UL >> 24)       /* of the CPU that asks */
# #define kernel ((const int *)(0x42000UL + 64 * physical_id()))    /* what its kernel knows */
# #define smp_processor_id() (kernel[0])                            /* its own number there */
# #define arch_cpu_physical_id(cpu) (kernel[1 + (cpu)])             /* the APIC id of CPU cpu */
#
# ### BEGIN SOLUTION
# struct mk_ipi_data *slot_to_fill(int cpu)
# {
# 	return mk_shared_data + arch_cpu_physical_id(cpu);
# }
#
# unsigned int ipi_destination(int cpu)
# {
# 	return (unsigned int)arch_cpu_physical_id(cpu);
# }
#
# struct mk_ipi_data *slot_to_read(void)
# {
# 	return mk_shared_data + physical_id();
# }
# ### END SOLUTION

# %% id="repair-check" check="05.4"
course.check("05.4")

# %% id="repair-hint"
course.hint("05.4")

# %% [markdown] id="take-text"
# ### Exercise 05.5: the receiver
# *12 minutes. In assembly.* A receiver that keeps a pointer into the slot reads whatever lies there later. So copy
# first.
#
# **Goal:** `take` is called with RDI, a buffer of 256 bytes, and RSI, the address of slot 0. It finds the slot of the
# CPU it runs on (APIC id: bits 24 to 31 of the word at 0xFEE00020), copies the message to the buffer, and returns in
# RAX how many bytes it has copied. `data_size` is what the sender has written: any number of 64 bits. Where it claims
# more than a slot holds, take the 256 bytes that are there. **Leave alone** the area, and what lies behind your buffer.
# It ends with RET. As in any C function, RBX, RBP and R12 to R15 must be as they were.

# %% id="take" exercise="05.5" lang="asm"
# take:
#     ### BEGIN SOLUTION
#     movl $0xfee00020, %eax
#     movl (%rax), %edx
#     shrl $24, %edx
#     imulq $272, %rdx, %rdx
#     addq %rsi, %rdx
#     movq 8(%rdx), %rcx
#     movl $256, %eax
#     cmpq %rax, %rcx
#     cmovaq %rax, %rcx
#     leaq 16(%rdx), %rsi
#     movq %rcx, %rax
#     rep movsb
#     ret
#     ### END SOLUTION

# %% id="take-check" check="05.5"
course.check("05.5")

# %% id="take-hint"
course.hint("05.5")

# %% [markdown] id="boot-text"
# ## 3. The area
# Who makes the area? Each kernel, when it boots: `multikernel_init` (patch 4) takes the address in
# `mk_shared_memory=`, or allocates one. Both kernels must mean the same memory, or they do not meet.
#
# ### Exercise 05.6: predict
# *3 minutes.*

# %% id="boot-question"
course.question("05.6")

# %% id="boot" exercise="05.6"
### BEGIN SOLUTION
choice = "B"
confidence = "fairly"
### END SOLUTION

# %% id="boot-check" check="05.6"
course.check("05.6")

# %% id="boot-hint"
course.hint("05.6")

# %% id="boot-run"
print(lab05.booting())

# %% [markdown] id="boot-why"
# The first line is your prediction. The others show why version 1 has no way out. An address outside its memory map a
# kernel cannot map: `Failed to map shared memory`, and it boots on without messages. An area of its own harms nobody,
# and nobody else looks there. The kernels of this lab map a common area all the same; that is a departure from Linux,
# and listed.

# %% [markdown] id="slack-text"
# ### Exercise 05.7: behind the last slot
# *5 minutes. Reckoned, for a kernel as it was built.* The receiver does not compare its APIC id with `NR_CPUS`. The
# area is `MK_MEM_SIZE`: the slots, and 4096 bytes that nothing uses. Here is what a host with 64 slots says of it:

# %% id="slack-example"
print(lab05.area_told(host))
course.given("05.7")

# %% [markdown] id="slack-goal"
# **Goal:** the `size` of the area; the `last` id whose whole slot lies inside; the id that is `torn`, its header inside
# and its buffer partly outside; and the last id whose slot lies in memory that is `mapped`. The area begins at a page,
# and whole pages of 4096 bytes are mapped.

# %% id="slack" exercise="05.7"
### BEGIN SOLUTION
size = 30208
last = 110
torn = 111
mapped = 119
### END SOLUTION

# %% id="slack-check" check="05.7"
course.check("05.7")

# %% id="slack-hint"
course.hint("05.7")

# %% [markdown] id="pages-text"
# ## Diagnose
# ### Exercise 05.8: the handler that says -EINVAL
# *8 minutes.* Kernels share memory by telling each other a [PFN](glossary.md#pfn), the number of a page, in a message
# of type 0x80000001. A module has registered a handler that calls `mk_receive_pfn` (patch 4):

# %% id="pages-source"
print(lab05.sources("mk_receive_pfn"))

# %% id="pages-given"
course.given("05.8")

# %% [markdown] id="pages-goal"
# Of these six messages it has reported -EINVAL for three. The sender owns the pages 0x3000 to 0x3FFF.
#
# **Goal:** `refused`, a list of their numbers, the smallest first; `because`, a letter for each of them in the same
# order, as one text; and `danger`, the number of the message that is accepted and should not be.
#
# - A. It was of another type: meant for another handler.
# - B. It is a page number, and has another size.
# - C. It was damaged on the way.
# - D. The page is not the sender's.

# %% id="pages" exercise="05.8"
### BEGIN SOLUTION
refused = [1, 2, 3]
because = "ABA"
danger = 5
### END SOLUTION

# %% id="pages-check" check="05.8"
course.check("05.8")

# %% id="pages-hint"
course.hint("05.8")

# %% [markdown] id="linux"
# ## What Linux does
# Patches are those of "kernel: Introduce multikernel architecture support" (RFC, version 1, September 2025).
#
# | step | function or name | file |
# |---|---|---|
# | the area: address, mapping, zeroing | `multikernel_init` | kernel/multikernel.c (patch 4) |
# | send: three tests, slot, [IPI](glossary.md#ipi) | `multikernel_send_ipi_data` | kernel/multikernel.c (patch 4) |
# | register for messages, of any type | `multikernel_register_handler` | kernel/multikernel.c (patch 4) |
# | tell and take a page | `mk_send_pfn`, `mk_receive_pfn`, `mk_receive_map_page` | kernel/multikernel.c (patch 4) |
# | the interrupt: [EOI](glossary.md#eoi), count, look | `sysvec_multikernel` | arch/x86/kernel/smp.c (patch 3) |
# | logical to physical | `arch_cpu_physical_id`, `smp_ops.cpu_physical_id` | arch/x86/include/asm/smp.h (patch 5) |
#
# In the RFC's tree nothing calls the send function, and nothing registers a handler: both are left to modules. A
# handler is queued as [irq_work](glossary.md#irq-work) with a *pointer to the slot*, and reads it later: in a burst of
# messages on a real kernel, number 200 was lost, and where the log named 201 the handlers had read 202.

# %% [markdown] id="fidelity"
# ## What is simplified
# Slots, sending, receiving and handlers are machine code here, with the RFC's layout, order and errno. The kernels are
# minikernels: one handler is there from the start, says what came, and answers a ping. They map the host's area
# although it is not their RAM, which version 1 cannot. In exercise 05.4 two kernels are one program with two tables.
# [Every departure is listed](../docs/fidelity.md), with a test that shows it.

# %% [markdown] id="summary"
# ## What you know now
# - A message is a slot and an interrupt: fill, then interrupt. 272 bytes, found by a number.
# - A logical number is one kernel's own; a physical id is everybody's. Whoever crosses kernels needs the second.
# - The receiver bounds what it reads and copies before it works. The area is everybody's: a boot wipes it, a second
#   message overwrites the first, and a page number is taken whosever the page is.
#
# From memory: draw the slots of APIC ids 0 to 6, and for one message each arrow that must meet. **Next**, lab 06: the
# list of images, and what it says about running kernels. That messages get lost is the subject of lab 08.

# %% id="report"
course.report()
