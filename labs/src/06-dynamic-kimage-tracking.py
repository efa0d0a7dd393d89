# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 06 Dynamic kimage tracking
#
# **A host can load many images. How does it keep track of them, and what does its list not know?**
#
# **Time:** 60 minutes. **Before:** labs 01 and 05.
#
# Afterwards you can
# - walk a list of Linux's in physical memory, add to it, search it, and take an image out of it;
# - say which image a start takes, how many an unload takes, and why a list of images is no list of running kernels;
# - find out who has spoilt a list in guest RAM, and walk it without getting lost.

# %% id="open"
from mklab import lab
from mklab.lab import lab06
from mklab.widgets.dashboard import Dashboard

course = lab.open("06")

# %% [markdown] id="recall"
# ## From the labs before
# Answer without looking, then open.
#
# <details><summary>Lab 05: where in the message area does a receiver look?</summary>
#
# In the [slot](glossary.md#slot) of its physical id. The sender had indexed by its own logical number, so the
# two agree only where both numbers do.
#
# </details>
# <details><summary>Lab 03: at a kernel's first instruction, by whose tables are addresses translated?</summary>
#
# By the [page tables](glossary.md#page-table) of the [trampoline](glossary.md#trampoline), below 1 MiB, until the
# kernel loads its own: one set of tables for all kicks.
#
# </details>

# %% [markdown] id="map"
# ## Where we are
# Lab 01 put an image into memory. A record of it stays with the host: a [kimage](glossary.md#kimage). Before the RFC
# there were two pointers for that, `kexec_image` and `kexec_crash_image`. Patch 6 makes it a list,
# `kexec_image_list`, with a mutex: each kimage got a member `list`, which leads to the neighbours. Patch 7 shows the
# list as `/proc/multikernel`.

# %% [markdown] id="predict"
# ## Exercise 06.1: predict
# *3 minutes. Prediction.* Two images will be loaded, and two CPUs started. Decide before you go on.

# %% id="prediction-question"
course.question("06.1")

# %% id="prediction" exercise="06.1"
### BEGIN SOLUTION
choice = "C"
confidence = "fairly"
### END SOLUTION

# %% id="prediction-check" check="06.1"
course.check("06.1")

# %% [markdown] id="watch"
# ## Watch
# The host takes CPUs 2 and 3 offline. It loads image 1, meant for CPU 2, and then image 2, meant for CPU 3. The cell
# lets that happen; the picture shows the list's nodes as they lie in memory, and what a reader of `/proc/multikernel`
# gets. **Back** takes you to the moment before a node went in, **Text twin** says the same in words.

# %% id="dashboard"
watch = lab06.Loaded().driver
watch.run()
Dashboard(watch, ("kimages",))

# %% [markdown] id="run-text"
# ## Run
# CPU 2 is started, a kernel comes up there, and then CPU 3 is started.

# %% id="run"
run = lab06.Started()
run.driver.run()
for cpu in run.machine.cpus[2:]:
    print(f"CPU {cpu.index}: planned for {cpu.planned}, runs {cpu.owner}")
for name in run.kernels:
    print(f"{name} said that it is up: {run.machine.console(name).count(' up,')} times")
print(run.host.proc_multikernel())

# %% id="run-picture"
Dashboard(run.driver, ("ownership",))

# %% [markdown] id="why"
# ## Why
# The right prediction was **C**. `multikernel_kexec` gets a CPU from its caller and nothing else. It asks
# `kimage_find_by_type` for a multikernel image, and that is the first in the list. What the others would have shown:
#
# - **A**: each kernel says once that it is up. Here kernel 1 says it twice, on one console: two CPUs boot in one
#   memory, and each takes itself for the only one.
# - **B**: kernel 2 runs. Nobody has entered its memory.
# - **D**: the second start raises an error. It returned 0.
#
# It is the RFC's defect 21 (`mklab defect 21`), and a real kernel with the patches does the same. v1 has a function
# that starts a certain image, `multikernel_kexec_by_entry`, but no system call leads to it.

# %% [markdown] id="list-idea"
# ## A list inside its elements
# A list of Linux's (include/linux/list.h) is a circle of `struct list_head { next, prev }`. One of them is the head;
# each of the others is a member *inside* a struct. The pointers lead from member to member. Whoever wants the struct
# subtracts the member's offset: that is `container_of`. An empty list is a head that points to itself.
#
# Here is our machine's circle, read from physical memory.


# %% id="ring"
def u64(address):
    return run.machine.memory.read_u64(address)


head = run.host.kimages.head
for node in (head, u64(head), u64(u64(head))):
    print(f"list_head at {node:#x}: next {u64(node):#x}, prev {u64(node + 8):#x}")

# %% [markdown] id="add-text"
# ## Exercise 06.2: into the list
# *8 minutes. In C.*
#
# **Given** a kimage that is in no list, and a list's head. **Goal:** the kimage becomes the **last** one
# (`list_add_tail`). `kimage.h` has `struct list_head`, and `struct kimage` with its member `list`, of the same layout
# as the host's. Your code runs on a machine, three images are added, and the list is walked both ways.

# %% id="add" exercise="06.2" lang="c"
# #include "kimage.h"
# void kimage_add_to_list(struct kimage *image, struct list_head *head)
# {
#     ### BEGIN SOLUTION
#     struct list_head *last = head->prev;
#     image->list.next = head;
#     image->list.prev = last;
#     last->next = &image->list;
#     head->prev = &image->list;
#     ### END SOLUTION
# }

# %% id="add-check" check="06.2"
course.check("06.2")

# %% id="add-hint"
course.hint("06.2")

# %% [markdown] id="find-text"
# ## Exercise 06.3: the oldest of its type
# *8 minutes. In C.*
#
# **Given** a list's head and a type. **Goal:** the first kimage of that `type`, or `NULL`. `kimage.h` has
# `container_of(pointer, type, member)`, `NULL`, and the types `KEXEC_TYPE_DEFAULT` (0), `KEXEC_TYPE_CRASH` (1) and
# `KEXEC_TYPE_MULTIKERNEL` (2).

# %% id="find" exercise="06.3" lang="c"
# #include "kimage.h"
# struct kimage *kimage_find_by_type(struct list_head *head, unsigned int type) {
#     ### BEGIN SOLUTION
#     for (struct list_head *node = head->next; node != head; node = node->next) {
#         struct kimage *image = container_of(node, struct kimage, list);
#         if (image->type == type)
#             return image;
#     }
#     return NULL;
#     ### END SOLUTION
# }

# %% id="find-check" check="06.3"
course.check("06.3")

# %% id="find-hint"
course.hint("06.3")

# %% [markdown] id="walk-text"
# ## Exercise 06.4: a list by hand
# *7 minutes. Memory.* Images have come and gone, and some were put in at the list's beginning: its order is not that of
# the addresses. **Given** a machine of your own. **Goal:** how many images the list holds, the addresses of its first
# and its second kimage, and the field `start` of the last one.

# %% id="walk-given"
machine = lab06.tangled(course.progress.seed)
course.given("06.4")


# %% id="walk-example"
def u64(address):
    return machine.memory.read_u64(address)


print(f"head: next {u64(0x1A00000):#x}, prev {u64(0x1A00008):#x}")

# %% id="walk" exercise="06.4"
# u64(address) reads your machine now. Give numbers here: the check runs this cell alone.
### BEGIN SOLUTION
count = 6
first = 0x1A02500
second = 0x1A01C00
start = 0x804B000
### END SOLUTION

# %% id="walk-check" check="06.4"
course.check("06.4")

# %% id="walk-hint"
course.hint("06.4")

# %% [markdown] id="proc-idea"
# ## What everybody can read
# For `/proc/multikernel`, `multikernel_proc_show` (patch 7) prints a row for each kimage: its type, the address of its
# entry, how many [segments](glossary.md#segment) it has. The file's mode is 0444: whoever has an account can read where
# every kernel begins. And there is a small mistake in the table, which has become part of what programs will read.

# %% id="proc"
from mklab.kernel.kexec import KexecSegment

host = run.host
host.kexec_load(0x2F00000, [KexecSegment(b"", 0x2F00000, 4096)], flags=0)
print(host.proc_multikernel())

# %% [markdown] id="table-text"
# ## Exercise 06.5: /proc/multikernel
# *7 minutes. In Python.* **Given** `images`, a list of `(type, start, nr_segments)`, oldest first. **Goal:** the text
# that reading the file gives, to the last character. Types are 0 `default`, 1 `crash`, 2 `multikernel`; another one is
# `unknown`. Linux prints with `"%-10s  0x%012lx  %8lu\n"`.

# %% id="table-header"
HEADER = "Type        Start Address   Segments\n----------  --------------  --------\n"


# %% id="table" exercise="06.5"
def proc_multikernel(images):
    ### BEGIN SOLUTION
    names = {0: "default", 1: "crash", 2: "multikernel"}
    text = HEADER
    for kind, start, nr_segments in images:
        name = names.get(kind, "unknown")
        text += f"{name:<10}  0x{start:012x}  {nr_segments:8d}\n"
    return text if images else text + "No kimages loaded\n"
    ### END SOLUTION


# %% id="table-check" check="06.5"
course.check("06.5")

# %% id="table-hint"
course.hint("06.5")

# %% [markdown] id="unload-text"
# ## Exercise 06.6: predict once more
# *3 minutes. Prediction.* An entry in the list was no running kernel. And without an entry?

# %% id="unload-question"
course.question("06.6")

# %% id="unload" exercise="06.6"
### BEGIN SOLUTION
choice = "C"
confidence = "fairly"
### END SOLUTION

# %% id="unload-check" check="06.6"
course.check("06.6")

# %% id="unload-run"
from mklab.lab.defects.stage import load_code, outcome, running

for _ in range(10):
    load_code(host, "f4", 0x3000000)
print("images:", host.proc_multikernel().count("multikernel  0x"))
print("unload:", outcome(host.kexec_load, 0, []))
print("images:", host.proc_multikernel().count("multikernel  0x"))
print(running(run.machine))

# %% [markdown] id="spoilt-idea"
# ## A list in memory that everybody can write
# The list lies in the host's memory; other kernels run beside it, with [page tables](glossary.md#page-table) of their
# own, which map all of RAM. If one of them stores into a `list_head`, the host walks where that leads. Linux's walks
# have no check; with CONFIG_DEBUG_LIST it looks at the neighbours when a list is *changed* (lib/list_debug.c).

# %% [markdown] id="spoilt-text"
# ## Exercise 06.7: a table without an end
# *9 minutes. Diagnose.* Two kernels run beside the host, and each of them has stored something. Since then, reading
# `/proc/multikernel` does not end: here the reader is stopped and told why. **Given** your machine, and its list of
# stores: not each of them did harm. **Goal:** the CPU that did it, the address of the pointer that was spoilt, and the
# value that would mend it.

# %% id="spoilt-given"
course.given("06.7")

# %% id="spoilt-proc"
case = lab06.case(course.progress.seed)
read = case.host.machine.memory.read_u64
print(case.proc)
print(case.stores)

# %% id="spoilt" exercise="06.7"
# read(address) reads this machine. Give numbers here: the check runs this cell alone.
### BEGIN SOLUTION
cpu = 3
pointer = 0x1A01E80
good = 0x1A02180
### END SOLUTION

# %% id="spoilt-check" check="06.7"
course.check("06.7")

# %% id="spoilt-hint"
course.hint("06.7")

# %% [markdown] id="spoilt-look"
# When you have passed: the same in the picture of the list. It finds the node and names who wrote there, since it has
# recorded every store. A host has no such record.

# %% id="spoilt-picture"
Dashboard(case.driver, ("kimages",))

# %% [markdown] id="walker-text"
# ## Exercise 06.8: a walk that ends
# *10 minutes. In Python, on guest RAM.*
#
# **Given** the address of a head, and the machine's memory: `memory.read_u64(address)`, and
# `memory.contains(address, 16)`, which says whether there is memory. **Goal:** the addresses of the nodes, in the order
# of `next`, up to the first one that is not in order. A node is in order if it lies in memory and its `prev` leads back
# to where the walk came from. Your function walks twelve lists; most of them are spoilt.


# %% id="walker" exercise="06.8"
def walk(head, memory):
    ### BEGIN SOLUTION
    nodes, before, node = [], head, memory.read_u64(head)
    while node != head and memory.contains(node, 16) and memory.read_u64(node + 8) == before:
        nodes.append(node)
        before, node = node, memory.read_u64(node)
    return nodes
    ### END SOLUTION


# %% id="walker-check" check="06.8"
course.check("06.8")

# %% id="walker-hint"
course.hint("06.8")

# %% [markdown] id="removal-text"
# ## Exercise 06.9: out of the list
# *6 minutes. Put lines into order.* **Given** seven lines. **Goal:** an image leaves the list and its memory is freed,
# while others read the list and remove its neighbours. One line is no part of it; another one may stay out. Your order
# is carried out, with a reader and another remover at every gap where the mutex lets them in.

# %% id="removal-question"
course.question("06.9")

# %% id="removal" exercise="06.9"
### BEGIN SOLUTION
order = "EFBCA"
### END SOLUTION

# %% id="removal-check" check="06.9"
course.check("06.9")

# %% id="removal-hint"
course.hint("06.9")

# %% [markdown] id="linux"
# ## What Linux does
# The steps are those of "kernel: Introduce multikernel architecture support" (RFC, version 1, September 2025).
#
# | step | function | file |
# |---|---|---|
# | into the list | `kimage_add_to_list` | kernel/kexec_core.c (patch 6) |
# | out of it | `kimage_remove_from_list`, called by `kimage_free` | kernel/kexec_core.c (patch 6) |
# | which image a start takes | `kimage_find_by_type` in `multikernel_kexec` | kernel/kexec_core.c (patch 6) |
# | start a certain image; no system call leads there | `multikernel_kexec_by_entry` | kernel/kexec_core.c (patch 6) |
# | unload, at most ten | `do_kexec_load`, `kimage_get_all_by_type` | kernel/kexec.c, kernel/kexec_core.c (patch 6) |
# | a row of /proc/multikernel for each image | `multikernel_proc_show` | kernel/kexec_core.c (patch 7) |
#
# A real kernel with these patches was observed: with two images loaded, CPUs 1 and 2 both ran the first; of thirteen
# images the first unload took ten and the second three, while running CPUs went on; an empty table has 92 bytes, each
# row of a multikernel image 38, one more than the others.

# %% [markdown] id="fidelity"
# ## What is simplified
# Here a walk of the list checks every `prev`, too, and says what is wrong; Linux's walk would go on for ever, or oops.
# The memory of a freed kimage is not used again, so that a stale pointer shows. Files of /proc are functions of the
# host, and have no mode. `kimage.id` is this lab's: v1 has no such field. The whole list is in
# [fidelity](../docs/fidelity.md).

# %% [markdown] id="summary"
# ## What you know now
# From memory, three sentences: what a node of the list leads to, which image a start takes, what the list does not
# know.
#
# <details><summary>Compare</summary>
#
# `next` and `prev` lead from list_head to list_head; `container_of` finds the kimage around it. A start takes the
# oldest multikernel image, and leaves it where it is. The list holds what was loaded: not what runs, nor where, nor who
# owns which memory.
#
# </details>
#
# Next: three kernels on one machine, and somebody who has to know all that. Lab 07.

# %% id="report"
course.report()
