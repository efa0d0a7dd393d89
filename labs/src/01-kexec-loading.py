# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 01 kexec loading
#
# **What does it take to put a second kernel into memory, and what can go wrong before it has executed anything?**
#
# **Time:** 60 minutes. **Before:** lab 00.
#
# Afterwards you can
# - read the [segments](glossary.md#segment) of an image, and say which bytes of memory a load writes, and when;
# - say what [kexec](glossary.md#kexec) refuses, in which order, and what it does not even look at;
# - find entry and payload of a real Debian kernel in its [bzImage](glossary.md#bzimage).

# %% id="open"
from mklab import lab
from mklab.lab import lab01
from mklab.widgets.dashboard import Dashboard

course = lab.open("01")

# %% [markdown] id="recall"
# ## From the lab before
# Answer without looking, then open.
#
# <details><summary>In lab 00, reboot() returned 0. What did that prove?</summary>
#
# Only that [INIT](glossary.md#init) and two [SIPIs](glossary.md#sipi) were sent. Nobody looked whether the CPU came up;
# the host's console said so tens of thousands of instructions later.
#
# </details>
# <details><summary>To whom did CPU 2 belong between INIT and the jump?</summary>
#
# To nobody: it had left the host, and had not entered the memory of another kernel.
#
# </details>

# %% [markdown] id="map"
# ## Where we are
# Lab 00 had three acts: take a CPU offline, **load an image**, start it. This lab is about the second one alone. An
# image reaches the kernel as an entry address and at most sixteen [segments](glossary.md#segment). Of each, `struct
# kexec_segment` says
#
# - `buf` and `bufsz`: the bytes that the caller has, and how many;
# - `mem` and `memsz`: where they go in physical memory, and how many bytes that place has.

# %% [markdown] id="watch"
# ## Watch
# A host runs on four CPUs. It loads kernel 1 at 0x2000000 and starts it on CPU 2; then it loads a second image at
# 0x3000000, which nobody starts. The cell lets all that happen; the pictures show its end. Whose is each byte, and
# which kernel's segments lie where? **Back** goes back step by step, **Reset** begins anew, **Text twin** says the same
# in words.

# %% id="dashboard"
watch = lab01.Loading().driver
watch.run()
Dashboard(watch, ("ownership", "memory"))

# %% [markdown] id="predict"
# ## Exercise 01.1: predict
# *3 minutes. Prediction.* Now somebody loads an image where a kernel runs. Decide before you run anything below.

# %% id="prediction-question"
course.question("01.1")

# %% id="prediction" exercise="01.1"
### BEGIN SOLUTION
choice = "B"
confidence = "fairly"
### END SOLUTION

# %% id="prediction-check" check="01.1"
course.check("01.1")

# %% [markdown] id="run-text"
# ## Run
# The same run as above, from beginning to end. Kernel 1 keeps its number in a variable. We read that variable in
# physical memory, load an image for the same address, which calls itself kernel 3, and read again. Nobody starts that
# image: CPU 2 still belongs to kernel 1, which sleeps. In the second cell the host sends it a message.

# %% id="run"
run = lab01.Loading()
run.run()
host, kernel_1 = run.host, run.host.kernel("kernel 1")
print("before the load: I am kernel", kernel_1.boot_info.get("kernel_id"))
host.load(lab01.image(0x2000000, number=3, apicid=3))
print("after the load:  I am kernel", kernel_1.boot_info.get("kernel_id"))
print(lab01.load_steps(run.machine))

# %% id="message"
from mklab.lab.defects.stage import outcome

print("CPU 2 belongs to", run.machine.cpus[2].owner, "and is", run.machine.cpus[2].state)
print(outcome(host.multikernel_send_ipi_data, 2, b"are you there?"))

# %% [markdown] id="why"
# ## Why
# The right prediction was **B**: the bytes move during the load. What the others would have shown:
#
# - **A** (at the start): kernel 1 would still call itself 1 after the load. Ordinary [kexec](glossary.md#kexec) works
#   so.
# - **C** (-EADDRNOTAVAIL): the list of steps would end at *allocate*, where the checks are.
# - **D** ([page tables](glossary.md#page-table)): the steps of *copy* ran on CPU 0, by the host's tables.
#
# Kernel 1 did not notice until it was woken. The load had cleared its page tables: the CPU could not read the code of
# its handler, nor that of the fault handlers. A *triple fault* resets a PC, every kernel on it included. That is the
# RFC's defect 15 (`mklab defect 15`); the reset is what the machine's chipset does, not Linux.

# %% [markdown] id="check-idea"
# ## What the checks look at
# `kimage_alloc_init` copies the segments into a [kimage](glossary.md#kimage), and `sanity_check_segment_list`
# (kernel/kexec_core.c) goes through them, in this order:
#
# 1. each address: `mem` and `mem + memsz` are multiples of the page size, and the end lies below 2⁴⁶;
# 2. no two segments of **this image** overlap;
# 3. `bufsz` is at most `memsz`;
# 4. the segments take at most half of the RAM.
#
# A fault of the first kind gives -EADDRNOTAVAIL, one of the others -EINVAL. The machine shows the first two:

# %% id="check-example"
from mklab.kernel.kexec import KexecSegment

PAGE, AT = 4096, 0x3000000
good = [KexecSegment(b"\x90" * 100, AT, PAGE)]
late = [KexecSegment(b"\x90" * 100, AT + 0x800, PAGE)]
twice = [KexecSegment(b"", AT, 2 * PAGE), KexecSegment(b"", AT + PAGE, PAGE)]
host = lab01.fresh_host()
for name, segments in (("good", good), ("late", late), ("twice", twice)):
    print(f"{name:<6}", outcome(host.kexec_load, AT, segments))

# %% [markdown] id="loose"
# What they do not look at is as telling. Each of these loads is accepted, by this machine and by a real kernel with
# the RFC's patches: an entry outside every segment, a segment of no bytes, memory that does not exist.

# %% id="loose-run"
empty = [KexecSegment(b"", AT, 0)]
nowhere = [KexecSegment(b"\x90" * 100, 0x70000000, PAGE)]
print("entry outside every segment:", outcome(host.kexec_load, 0x1234, good))
print("memsz 0:", outcome(host.kexec_load, AT, empty))
print("no RAM there:", outcome(host.kexec_load, AT, nowhere))

# %% [markdown] id="sanity-text"
# ## Exercise 01.2: what the checks refuse
# *12 minutes. In Python.*
#
# **Given** `segments`, a list of `(mem, memsz, bufsz)`, and the number of pages of RAM. **Goal:** the function returns
# what kexec_load would: `"0"`, `"-EADDRNOTAVAIL"` or `"-EINVAL"`. Where an image has several faults, the order above
# decides. `PAGE_SIZE`, `LIMIT` (2⁴⁶) and `combinations` are there for you.

# %% id="sanity-imports"
from itertools import combinations

from mklab.kernel.kexec import KEXEC_DESTINATION_MEMORY_LIMIT as LIMIT
from mklab.kernel.kexec import PAGE_SIZE


# %% id="sanity" exercise="01.2"
def sanity_check_segment_list(segments, ram_pages):
    ### BEGIN SOLUTION
    places = [(mem, mem + memsz) for mem, memsz, _ in segments]
    if any(start % PAGE_SIZE or end % PAGE_SIZE or end >= LIMIT for start, end in places):
        return "-EADDRNOTAVAIL"
    if any(a < d and c < b for (a, b), (c, d) in combinations(places, 2)):
        return "-EINVAL"
    pages = sum(memsz for _, memsz, _ in segments) // PAGE_SIZE
    too_large = any(bufsz > memsz for _, memsz, bufsz in segments)
    return "-EINVAL" if too_large or pages > ram_pages // 2 else "0"
    ### END SOLUTION


# %% id="sanity-check" check="01.2"
course.check("01.2")

# %% id="sanity-hint"
course.hint("01.2")

# %% [markdown] id="tail-idea"
# ## Two sizes
# `bufsz` may be smaller than `memsz`. `kimage_load_multikernel_segment` (kernel/kexec_core.c, patch 1) goes through the
# place page by page: it maps a page, clears it, and copies into it what the buffer still has. A kernel counts on that:
# variables that begin as zero (`.bss`) need no bytes in the file.
#
# An example: memory full of 0xCC, and a segment of three pages with a buffer of 0x1234 bytes.

# %% id="tail-example"
host.machine.poke(AT, b"\xcc" * 0x4000)
host.kexec_load(AT, [KexecSegment(b"\x5a" * 0x1234, AT, 0x3000)])
for offset in (0x1233, 0x1234, 0x2FFF, 0x3000):
    print(f"{AT + offset:#x}: {host.machine.memory.read(AT + offset, 1).hex()}")

# %% [markdown] id="tail-text"
# ## Exercise 01.3: the tail of a segment
# *6 minutes. Memory.* **Given** a segment of your own (run the next cell). **Goal:** three values, as the machine would
# have them after the load. Work them out, or load such a segment on `host` and look.

# %% id="tail-given"
course.given("01.3")

# %% id="tail" exercise="01.3"
# The address of the last 0x5A, the byte right behind it, the address of the first 0xCC from mem on.
### BEGIN SOLUTION
last = 0x308611F
behind = 0
kept = 0x308B000
### END SOLUTION

# %% id="tail-check" check="01.3"
course.check("01.3")

# %% id="tail-hint"
course.hint("01.3")

# %% [markdown] id="bzimage-idea"
# ## A real kernel
# A [bzImage](glossary.md#bzimage) is a boot sector, then `setup_sects` sectors of code for [real
# mode](glossary.md#real-mode), then the protected-mode code. In it lie, compressed, the *payload*, which is the
# kernel itself, and a loader for it. kexec (arch/x86/kernel/kexec-bzimage64.c, `bzImage64_load`) leaves the first two
# out. It enters the third 0x200 behind its beginning, in 64-bit mode.
#
# This is Debian's. Recorded are only the parts that we need; `mklab inspect FILE` shows the same of any kernel that
# you have.

# %% id="debian"
from mklab.kernel.bootparam import HDR_OFFSET, SetupHeader

kernel = lab01.DEBIAN
print(f"{kernel.name}, {kernel.size:,} bytes, sha256 {kernel.sha256[:16]}...")
header = SetupHeader.from_buffer_copy(kernel.read(HDR_OFFSET, 0x7B))
print(kernel.read(0x200 + header.kernel_version, 0x40).decode())
for name in ("setup_sects", "syssize", "xloadflags", "pref_address", "payload_offset", "init_size"):
    print(f"{name:<15} {getattr(header, name):#x}")

# %% [markdown] id="sizes-text"
# `syssize` counts units of 16 bytes: that is what there is to copy. `init_size` is what the kernel needs while it
# unpacks itself: bufsz and memsz of the segment that kexec makes of it. And half of the RAM is the limit.

# %% id="sizes"
bufsz, memsz = header.syssize * 16, header.init_size
print(f"bufsz {bufsz / 2**20:.1f} MiB, memsz {memsz / 2**20:.1f} MiB")
segment = [KexecSegment(bytes(bufsz), 0x2000000, memsz)]
for ram in (64, 128):
    print(f"{ram} MiB of RAM:", outcome(lab01.fresh_host(ram).kexec_load, 0x2000200, segment))

# %% [markdown] id="bzimage-text"
# ## Exercise 01.4: a bzImage dissected
# *10 minutes. In Python.*
#
# **Given** the bytes of a bzImage, and the address `load` at which its protected-mode code will lie. **Goal:** return
# three numbers: the offset in the file at which that code begins; the address of the 64-bit entry in memory; the offset
# in the file of the payload. Three small images are loaded by your numbers, and a CPU enters each.
#
# | field | offset | bytes | meaning |
# |---|---|---|---|
# | setup_sects | 0x1F1 | 1 | sectors of setup code, of 512 bytes; **0 means 4** |
# | payload_offset | 0x248 | 4 | from the beginning of the protected-mode code |
#
# (Documentation/arch/x86/boot.rst)


# %% id="bzimage" exercise="01.4"
def dissect(image, load):
    ### BEGIN SOLUTION
    setup_sects = image[0x1F1] or 4
    code = (setup_sects + 1) * 512
    payload_offset = int.from_bytes(image[0x248:0x24C], "little")
    return code, load + 0x200, code + payload_offset
    ### END SOLUTION


# %% id="bzimage-check" check="01.4"
course.check("01.4")

# %% id="bzimage-hint"
course.hint("01.4")

# %% [markdown] id="loadpath-text"
# ## Exercise 01.5: the way of a load
# *7 minutes. Put lines into order.*
#
# **Given** nine lines of kexec_load. Three of them belong to an ordinary image, which is kept elsewhere until it is
# copied over its loader. **Goal:** the others in an order that works: a good image is copied and listed, a bad one
# leaves no trace, and another CPU that calls kexec_load meanwhile does no harm. Your order is carried out.

# %% id="loadpath-question"
course.question("01.5")

# %% id="loadpath" exercise="01.5"
### BEGIN SOLUTION
order = "GHDAEC"
### END SOLUTION

# %% id="loadpath-check" check="01.5"
course.check("01.5")

# %% id="loadpath-hint"
course.hint("01.5")

# %% [markdown] id="diagnose-text"
# ## Exercise 01.6: who killed kernel 1?
# *8 minutes. Diagnose.* Four images were loaded, and every load returned 0. Then kernel 1 got a message, and the
# platform was reset. **Given** the story of your machine. **Goal:** three values: the event that changed the memory of
# kernel 1, the event at which its CPU ended, and the lowest address of kernel 1 that was overwritten.

# %% id="diagnose-given"
course.given("01.6")

# %% id="diagnose-story"
case = lab01.case(course.progress.seed)
print(case.story)

# %% id="diagnose" exercise="01.6"
# Numbers of events, and an address.
### BEGIN SOLUTION
cause = 1370
crash = 1396
first = 0x20A4000
### END SOLUTION

# %% id="diagnose-check" check="01.6"
course.check("01.6")

# %% id="diagnose-hint"
course.hint("01.6")

# %% [markdown] id="diagnose-look"
# When you have passed: the same in the picture of memory, which finds such writes by itself. It compares what each CPU
# wrote with whose memory that is.

# %% id="diagnose-picture"
Dashboard(case.driver, ("memory",))

# %% [markdown] id="clobbers-text"
# ## Exercise 01.7: the check that is missing
# *10 minutes. In Python.*
#
# **Given** `images`, a list of `(name, [(mem, memsz), ...])`, all that was ever loaded, and the `(mem, memsz)` of the
# segments of a new image. **Goal:** the names of the images that the load would write over, in the order of `images`;
# an empty list where there are none. Your function guards a host with three running kernels: what it lets through is
# loaded.


# %% id="clobbers" exercise="01.7"
def clobbers(images, segments):
    ### BEGIN SOLUTION
    def lies_over(own):
        return any(a < b + m and b < a + n for a, n in own for b, m in segments)

    return [name for name, own in images if lies_over(own)]
    ### END SOLUTION


# %% id="clobbers-check" check="01.7"
course.check("01.7")

# %% id="clobbers-hint"
course.hint("01.7")

# %% [markdown] id="exit"
# ## Exercise 01.8: one more prediction
# *3 minutes. Prediction.* The same idea as in 01.1, in another dress. Decide before you run the cell below.

# %% id="exit-question"
course.question("01.8")

# %% id="exit-prediction" exercise="01.8"
### BEGIN SOLUTION
choice = "B"
confidence = "fairly"
### END SOLUTION

# %% id="exit-check" check="01.8"
course.check("01.8")

# %% id="exit-run"
host = lab01.fresh_host()
host.machine.poke(AT, b"\xcc" * 0x3000)
half = KexecSegment(b"\x5a" * 0x3000, AT, 0x3000, readable=0x1000)
print(outcome(host.kexec_load, AT, [half]))
for offset in (0, 0x1000, 0x2000):
    print(f"{AT + offset:#x}: {host.machine.memory.read(AT + offset, 4).hex(' ')}")

# %% [markdown] id="linux"
# ## What Linux does
# The steps are those of "kernel: Introduce multikernel architecture support" (RFC, version 1, September 2025).
#
# | step | function | file |
# |---|---|---|
# | flags, CAP_SYS_BOOT, at most 16 segments | `kexec_load_check` | kernel/kexec.c (the flag: patch 1) |
# | the lock | `kexec_trylock` in `do_kexec_load` | kernel/kexec.c (patch 1 leaves it as it is) |
# | a kimage; no control page for this type | `kimage_alloc_init` | kernel/kexec.c (patch 1) |
# | the checks | `sanity_check_segment_list` | kernel/kexec_core.c (its check of memory in use: `#if 0`, patch 1) |
# | the copy | `kimage_load_multikernel_segment` | kernel/kexec_core.c (patch 1) |
# | the list | `kimage_add_to_list` | kernel/kexec_core.c (patch 6) |
# | a bzImage | `bzImage64_probe`, `bzImage64_load` | arch/x86/kernel/kexec-bzimage64.c (not in the RFC) |
#
# A real kernel with these patches was observed: it refused what this machine refuses, with the same errno. A load over
# its own data returned 0 and changed the host's name; a load over its own text killed the caller, with the lock held,
# and every later load, unload and start gave -EBUSY.

# %% [markdown] id="fidelity"
# ## What is simplified
# Segments are copied 64 pages a step, where Linux copies page by page. The caller's memory is a Python bytes object:
# `readable=` says how much of it is mapped. "Half of the RAM" is half of this machine's; a host that was given less by
# `memmap=` takes half of that. Purgatory, which kexec-tools adds to each image, is left out here. The whole list is in
# [fidelity](../docs/fidelity.md).

# %% [markdown] id="summary"
# ## What you know now
# Write three sentences from memory before you read on: what a segment is, when its bytes move, what protects a kernel
# that runs there.
#
# <details><summary>Compare</summary>
#
# A segment is a buffer and a place, of two sizes; what the buffer does not fill is cleared. A multikernel image goes to
# its place during kexec_load, page by page, and what was written stays even if the call fails. Nothing protects a
# kernel that runs there: the checks compare an image with itself.
#
# </details>
#
# Next: the image lies in memory, and a CPU is offline. How does a CPU that wakes in 16-bit real mode get into 64-bit
# code? Lab 02.

# %% id="report"
course.report()
