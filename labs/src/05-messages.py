# %% id="identity" exercise="05.1"
### BEGIN SOLUTION
choice = "B"
confidence = "sure"
### END SOLUTION

# %% id="slot" exercise="05.2"
### BEGIN SOLUTION
slot = 0x1ffa880
sender = 4
kind = 0x192
payload = b'shutdown'
### END SOLUTION

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

# %% id="repair" exercise="05.4" lang="c"
# #include "abi.h"
# extern struct mk_ipi_data *const mk_shared_data;
# int physical_id(void);                /* of the CPU that asks: its APIC id */
# int smp_processor_id(void);           /* of the CPU that asks: its number in this kernel */
# int arch_cpu_physical_id(int cpu);    /* from this kernel's number to the APIC id */
# /* slot_to_fill(cpu), slot_to_read(), ipi_destination(cpu) */
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

# %% id="boot" exercise="05.6"
### BEGIN SOLUTION
choice = "B"
confidence = "fairly"
### END SOLUTION

# %% id="slack" exercise="05.7"
### BEGIN SOLUTION
size = 30208
last = 110
torn = 111
mapped = 119
### END SOLUTION

# %% id="pages" exercise="05.8"
### BEGIN SOLUTION
refused = [1, 2, 3]
because = 'ABA'
danger = 5
### END SOLUTION
