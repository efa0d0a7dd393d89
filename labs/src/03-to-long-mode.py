# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] id="title"
# # 03 The INIT trampoline II: what makes a CPU 64-bit?
#
# **Which comes first, the [page tables](glossary.md#page-table) or the bit?** A [SIPI](glossary.md#sipi) has sent
# CPU 1 into the [trampoline](glossary.md#trampoline); now it is in 32-bit [protected
# mode](glossary.md#protected-mode), with flat [segments](glossary.md#segment), and can reach 4 GiB. In this lab you
# build the tables that it pages with, and take it through the last steps to [long mode](glossary.md#long-mode) and
# into a 64-bit kernel. Then you look for the addresses at which the RFC's tables end.
#
# **Time:** 75 minutes. **Before:** [lab 02](02-from-sipi-to-protected-mode.ipynb).
#
# Afterwards you can
# - translate an address by hand, and find the entry that decides;
# - name the four conditions of 64-bit mode, in an order that works, and say what each missing one does;
# - say which memory the trampoline maps, and what happens one byte behind it.

# %% id="open"
from mklab import lab
from mklab.lab.lab02.pictures import kicked, steps, way
from mklab.lab.lab03 import pictures
from mklab.widgets.dashboard import Dashboard

course = lab.open("03")

# %% [markdown] id="recall"
# ## From memory
# Answer first, then open.
#
# <details><summary>In lab 02, where did the trampoline's two pushes go, and why?</summary>
#
# To 0x1200 and 0x11fc: SS had become flat, and ESP was still an offset in a segment that began at 0x96000.
#
# </details>
#
# <details><summary>What does the SIPI say that starts a CPU at 0x8f000?</summary>
#
# 0x8f, the number of the page: that is its [vector](glossary.md#vector). CS is then 0x8f00.
#
# </details>

# %% [markdown] id="way"
# ## What will happen
# The same machine: CPU 0 runs the host, CPU 1 goes through the [trampoline](glossary.md#trampoline) at 0x96000.
# Behind the [far jump](glossary.md#far-jump) it is in 32-bit [protected mode](glossary.md#protected-mode), its
# [segments](glossary.md#segment) flat. From there:
#
# 1. **tables:** six pages at 0x98000 become [page tables](glossary.md#page-table);
# 2. **switch:** [PAE](glossary.md#pae), CR3, [EFER](glossary.md#efer).LME, CR0.PG: [long
#    mode](glossary.md#long-mode);
# 3. **reload:** a far return brings a CS for 64-bit code;
# 4. **jump:** to the kernel's entry, which the host had left in the page.

# %% [markdown] id="predict-mode"
# ## Exercise 03.1: predict
# *3 minutes.* Decide before you run what comes below, and say how sure you are: `"guess"`, `"fairly"` or `"sure"`.

# %% id="mode-question"
course.question("03.1")

# %% id="mode" exercise="03.1"
### BEGIN SOLUTION
choice = "B"
confidence = "fairly"
### END SOLUTION

# %% id="mode-check" check="03.1"
course.check("03.1")

# %% [markdown] id="watch"
# ## Watch
# The recording stands where the 32-bit code begins. Step by **instruction**; where a loop would take thousands of
# steps, one step goes far. Watch the lamps: CR4.PAE, EFER.LME, CR0.PG, EFER.LMA, CS.L. One of them goes on without
# having been written. When paging is on, the picture also walks the tables; type `0xc0200000` as its address.

# %% id="dashboard"
Dashboard(pictures.from_startup_32(), parts=["stepper"])

# %% [markdown] id="run-mode"
# ## Run
# The instructions that change one of the bits, and the mode behind each:

# %% id="modes"
print(pictures.modes(way(), 0x5C, 0x104))

# %% [markdown] id="why-mode"
# **Why.** One instruction sets PG, and LMA follows: the CPU computes it, LME and PG. From there on paging has four
# levels. But CS is the old one, L = 0, D = 1: compatibility mode, 32-bit code in [long mode](glossary.md#long-mode).
# In 64-bit mode L would be 1 in that row; without LME, LMA would be 0; and an exception would have ended the table.
# So no single bit makes a CPU 64-bit. A real Linux with the RFC's patches left the CPU at its jump as you see it
# here: CR3 0x98000, CR4 0x20, CR0 0x80000011, EFER 0x500, CS 0x10.

# %% [markdown] id="idea-walk"
# ## 1 An address is four indexes and an offset
# In long mode the CPU cuts an address into 9 + 9 + 9 + 9 + 12 bits. CR3 holds the address of the first table, the
# PML4; each index chooses one of 512 entries of 8 bytes, and the entry holds the address of the next table: PDPT,
# directory, page table. Bits 51:12 are the address, the others are flags: P (bit 0, present), RW (1), US (2), A (5,
# was used), D (6, was written), PS (7), NX (63). An entry of the directory with PS = 1 is the last one: it maps a
# page of 2 MiB, and the offset has 21 bits.
#
# The walk is the CPU's own; in Linux the tables are written by `x86_trampoline_bsp_start`,
# arch/x86/kernel/trampoline_64_bsp.S (patch 2). A walk, as the CPU would do it on the trampoline's tables:

# %% id="walk-example"
machine = kicked()
# %mk mem 0x98000 16
# %mk mem 0x99000 32
# %mk mem 0x9d000 32

# %% [markdown] id="walk-example-text"
# 0xc0200000 is PML4 0, PDPT 3, directory 1, offset 0. The PML4's entry 0 leads to 0x99000, the PDPT's entry 3 to
# 0x9d000, and the directory's entry 1 is 0xc0200183: P, RW, PS, G. The page begins at 0xc0200000, the same number:
# an [identity mapping](glossary.md#identity-mapping). Where an entry ends in 27 and not in 07, the CPU has set A.

# %% [markdown] id="walk-text"
# ### Exercise 03.2: a page walk
# *15 minutes. In Python, on the machine's memory.* **Given** `memory.read_u64(address)`, which reads eight bytes of
# physical memory; `cr3`; and an address. **Goal:** the physical address that the CPU would come to, or `None` where
# nothing is mapped. It is tried on the trampoline's tables and on the host's, which also have pages of 4 KiB.


# %% id="walk" exercise="03.2"
def walk(memory, cr3, vaddr):
    ### BEGIN SOLUTION
    table = cr3
    for shift in (39, 30, 21, 12):
        entry = memory.read_u64(table + 8 * (vaddr >> shift & 0x1FF))
        table = entry & 0x000FFFFFFFFFF000
        if not entry & 1 or (shift == 21 and entry & 0x80):
            break
    rest = (1 << shift) - 1
    return (table & ~rest | vaddr & rest) if entry & 1 else None
    ### END SOLUTION


# %% id="walk-check" check="03.2"
course.check("03.2")

# %% id="walk-hint"
course.hint("03.2")

# %% [markdown] id="entry-text"
# ### Exercise 03.3: where an entry lies
# *8 minutes. Memory.* The address is yours. Give the physical address of its entry in the PDPT (`pdpte`), that of
# its entry in the directory (`pde`), and the value (`entry`) that the trampoline has written there. Work it out;
# then look.

# %% id="entry-given"
course.given("03.3")

# %% id="entry" exercise="03.3"
### BEGIN SOLUTION
pdpte = 0x99008
pde = 0x9BFD8
entry = 0x7F600183
### END SOLUTION

# %% id="entry-check" check="03.3"
course.check("03.3")

# %% id="entry-hint"
course.hint("03.3")

# %% [markdown] id="tables-text"
# ### Exercise 03.4: two thousand entries
# *12 minutes. In assembly, 32-bit.* **Given** the trampoline with a hole: the six pages at `pgtable` are zeros, the
# PML4's entry 0 and the PDPT's entries 0 to 3 are written, and ESI holds the address of the trampoline's first page,
# so `LOW(pgtable)(%esi)` is the PML4. **Goal:** the four directories, which begin at `pgtable` + 0x2000 and follow
# each other, map 0 to 4 GiB to itself in pages of 2 MiB, present and writable. **Leave alone** ESI.

# %% id="tables" exercise="03.4" lang="asm"
# ### BEGIN SOLUTION
# leal LOW(pgtable) + 0x2000(%esi), %edi
# movl $0x183, %eax
# movl $2048, %ecx
# 1: movl %eax, (%edi)
# addl $0x200000, %eax
# addl $8, %edi
# decl %ecx
# jnz 1b
# ### END SOLUTION

# %% id="tables-check" check="03.4"
course.check("03.4")

# %% id="tables-hint"
course.hint("03.4")

# %% [markdown] id="idea-switch"
# ## 2 Three enables and a return
# Long mode is switched on by paging. PG with LME = 1 makes LMA 1, and the CPU refuses it, #GP, unless PAE is set:
# tables with 64-bit entries. CR3 must point to tables that map the very next instruction, at the address at which it
# is running: hence the identity mapping. Then only CS is missing. A far return takes an address and a
# [selector](glossary.md#selector) from the stack; [descriptor](glossary.md#descriptor) 0x10 has L = 1.
#
# In Linux: `x86_trampoline_bsp_start`, 32-bit part, arch/x86/kernel/trampoline_64_bsp.S (patch 2). A second
# [GDT](glossary.md#gdt) is loaded first: it has null at 0x08, where the running CS came from. Does that stop the
# CPU? Look at CS below.

# %% id="switch-steps"
print(steps(way(), 0x67, 0x80))
print("...")
print(steps(way(), 0xD4, 0x104))

# %% [markdown] id="order-text"
# ### Exercise 03.5: to long mode, in order
# *8 minutes. Lines to be put into order.* GDT 2 is loaded, the six pages are empty. `fill_pgtable` writes the
# tables. One line is not needed. Any order that works will pass.

# %% id="order-question"
course.question("03.5")

# %% id="order" exercise="03.5"
### BEGIN SOLUTION
order = "GDFACE"
### END SOLUTION

# %% id="order-check" check="03.5"
course.check("03.5")

# %% [markdown] id="last-text"
# ### Exercise 03.6: the last steps
# *10 minutes. In assembly, 32-bit.* **Given** the trampoline with a hole: PAE is set, CR3 points to the tables, and
# on the stack lie the address of `startup_64` and the selector 0x10. **Goal:** CPU 1 executes 64-bit code and comes
# into the kernel. EFER is the model-specific register 0xC0000080, LME its bit 8. Write it without the lines above.

# %% id="last" exercise="03.6" lang="asm"
# ### BEGIN SOLUTION
# movl $0xC0000080, %ecx
# rdmsr
# btsl $8, %eax
# wrmsr
# movl %cr0, %eax
# btsl $31, %eax
# movl %eax, %cr0
# lret
# ### END SOLUTION

# %% id="last-check" check="03.6"
course.check("03.6")

# %% id="last-hint"
course.hint("03.6")

# %% [markdown] id="idea-above"
# ## 3 Above 4 GiB
# The kernel's entry may lie above 4 GiB, where the four directories do not reach. `startup_64` then takes a seventh
# page as one more directory, and stores its address in the PDPT, at index entry >> 30. This is all that it does: one
# entry of the PDPT, one GiB, chosen by the entry alone. And the trampoline's [IDT](glossary.md#idt) has no entry:
# whatever exception comes, is a triple fault, and resets the platform with every kernel on it.
#
# In Linux: `x86_trampoline_bsp_start`, 64-bit part, arch/x86/kernel/trampoline_64_bsp.S (patch 2).

# %% [markdown] id="crossing-text"
# ### Exercise 03.7: predict
# *3 minutes.*

# %% id="crossing-question"
course.question("03.7")

# %% id="crossing" exercise="03.7"
### BEGIN SOLUTION
choice = "C"
confidence = "fairly"
### END SOLUTION

# %% id="crossing-check" check="03.7"
course.check("03.7")

# %% [markdown] id="crossing-run-text"
# And so it goes; the first number is the time, in instructions:

# %% id="crossing-run"
print(pictures.crossing_run())

# %% [markdown] id="map-text"
# ### Exercise 03.8: the loop that is missing
# *12 minutes. In Python, on the machine's memory.* **Given** `memory.read_u64(address)`, `memory.write_u64(address,
# value)`, the PDPT's address, and a list of spare pages, empty ones, exactly as many as are needed. **Goal:** every
# byte of the image, from `start` up to but without `end`, is mapped to itself in pages of 2 MiB. A spare page
# becomes the directory of a whole GiB. **Leave alone** what is mapped already: the CPU runs on it.


# %% id="map" exercise="03.8"
def map_image(memory, pdpt, spare, start, end):
    ### BEGIN SOLUTION
    for gib in range(start >> 30, (end - 1 >> 30) + 1):
        if memory.read_u64(pdpt + 8 * gib) & 1:
            continue
        directory = spare.pop(0)
        for number in range(512):
            memory.write_u64(directory + 8 * number, gib << 30 | number << 21 | 0x183)
        memory.write_u64(pdpt + 8 * gib, directory | 7)
    ### END SOLUTION


# %% id="map-check" check="03.8"
course.check("03.8")

# %% id="map-hint"
course.hint("03.8")

# %% [markdown] id="diagnose-text"
# ## Diagnose: an entry beyond the table
# ### Exercise 03.9
# *10 minutes.* A kernel lies above 512 GiB; the numbers are yours. The platform was reset. What the last instruction
# met is not all that went wrong. Give the `index` into the PDPT that the trampoline computed, the physical address
# that it `wrote` the extra directory's address to, the first linear address whose translation was `lost` by that,
# and the physical address of the entry that was `needed` to translate the kernel's entry.

# %% id="diagnose-given"
course.given("03.9")

# %% id="diagnose" exercise="03.9"
### BEGIN SOLUTION
index = 0x207
wrote = 0x9A038
lost = 0xE00000
needed = 0x98008
### END SOLUTION

# %% id="diagnose-check" check="03.9"
course.check("03.9")

# %% id="diagnose-hint"
course.hint("03.9")

# %% [markdown] id="linux"
# ## What Linux does
# The steps are those of "kernel: Introduce multikernel architecture support" (RFC, version 1, September 2025).
#
# | step | function or label | file |
# |---|---|---|
# | PAE, tables, CR3, LME, PG | `x86_trampoline_bsp_start`, 32-bit | arch/x86/kernel/trampoline_64_bsp.S (patch 2) |
# | extra directory, jump | `x86_trampoline_bsp_start`, 64-bit | arch/x86/kernel/trampoline_64_bsp.S (patch 2) |
# | entry and boot_params are left in the page | `do_multikernel_boot_cpu` | arch/x86/kernel/smpboot.c (patch 1) |
#
# The check whether the CPU has long mode at all is there, and commented out. On a real kernel with the patches, an
# entry at 5 GiB ran; one at 512 GiB, and a read in another GiB, reset the machine.

# %% [markdown] id="fidelity"
# ## What is simplified
# Tables, walks, exceptions and modes are those of the CPU that the machine executes with. Two things are ours: a
# translation is forgotten when a slice of the run begins, where real hardware may keep it until it is told; and a
# far return does not set bit A of the descriptor that it loads. Exercise 03.8 mends in Python what in Linux would be
# assembly. [Every departure from hardware or from Linux](../docs/fidelity.md) is listed, with a test that shows it.

# %% [markdown] id="from-memory"
# ## From memory
# Close this page, and draw the way from SIPI to the kernel: four modes, and on each arrow what it takes. Then open.
#
# <details><summary>A drawing to compare with</summary>
#
# real → (GDT, PE, far jump) → protected, 32-bit → (GDT 2, PAE, tables, CR3, LME, PG) → compatibility, 32-bit → (far
# return to a CS with L = 1) → 64-bit → (the entry's GiB, jump) → the kernel.
#
# </details>

# %% [markdown] id="next"
# ## What you know now
# Long mode is three enables that wait for a fourth, and a segment. Tables must map the code that switches them on.
# And a table ends somewhere: at 4 GiB, at the entry's GiB, at 512 entries; behind the end nobody stops the CPU, or a
# store. Your CPU is in the kernel now. How does anybody talk to it? Lab 04 sends it an interrupt.

# %% [markdown] id="progress"
# ## How far you are
# Your progress lies in a file beside this notebook. It leaves this computer only if you download it.

# %% id="report"
course.report()
