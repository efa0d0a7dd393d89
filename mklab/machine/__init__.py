"""What the SDM and the PC describe: CPUs, memory, local APICs, serial ports."""
