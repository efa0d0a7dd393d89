"""A local APIC written a second time, from the manual, to compare with: slow, and in another style.

Registers are sets of vectors and dictionaries of named fields; priorities are found by trying every vector; the timer
is stepped unit by unit. SDM "Advanced Programmable Interrupt Controller (APIC)".
"""

Fields = dict[str, tuple[int, int]]
"""Name of a field: its lowest bit and its width."""

VECTOR: Fields = {"vector": (0, 8)}
INTERNAL: Fields = VECTOR | {"status": (12, 1), "mask": (16, 1)}
SENSOR: Fields = INTERNAL | {"delivery": (8, 3)}
PIN: Fields = SENSOR | {"polarity": (13, 1), "remote irr": (14, 1), "trigger": (15, 1)}
LVT_FIELDS: dict[int, Fields] = {
    0x320: INTERNAL | {"periodic": (17, 1)},
    0x330: SENSOR,
    0x340: SENSOR,
    0x350: PIN,
    0x360: PIN,
    0x370: INTERNAL,
}
"""SDM, figure "Local Vector Table (LVT)"."""
COMMAND: Fields = {"delivery": (8, 3), "logical": (11, 1), "status": (12, 1), "level": (14, 1), "trigger": (15, 1)}
ICR_FIELDS: Fields = VECTOR | COMMAND | {"shorthand": (18, 2)}
"""SDM, figure "Interrupt Command Register (ICR)"."""
DIVISORS = {0b0000: 2, 0b0001: 4, 0b0010: 8, 0b0011: 16, 0b1000: 32, 0b1001: 64, 0b1010: 128, 0b1011: 1}
"""SDM, figure "Divide Configuration Register"."""

XAPIC_REGISTERS = {
    *(0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0),
    *range(0x100, 0x280, 0x10),
    *(0x280, 0x300, 0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3E0),
}
"""SDM, table "Local APIC Register Address Map", for an APIC of six LVT entries."""


class ProtectionFault(Exception):  # noqa: N818  # the manual's name for #GP
    """#GP(0)."""


def fields_of(value: int, layout: Fields) -> dict[str, int]:
    return {name: value >> low & (1 << width) - 1 for name, (low, width) in layout.items()}


def word_of(values: dict[str, int], layout: Fields) -> int:
    return sum(values[name] << low for name, (low, _) in layout.items())


def has_only(value: int, layout: Fields) -> bool:
    return value == word_of(fields_of(value, layout), layout)


class ReferenceApic:
    """One local APIC; what it sends is appended to ``outbox`` as ``(fields of ICR, destination, x2APIC)``."""

    def __init__(self, apic_id: int, bsp: bool) -> None:
        self.apic_id = apic_id
        self.bsp, self.on, self.extended = bsp, True, False
        self.outbox: list[tuple[dict[str, int], int, bool]] = []
        self.initialise()

    def initialise(self) -> None:
        """Local APIC State After Power-Up or Reset; INIT too, which keeps the id and IA32_APIC_BASE."""
        self.requested: set[int] = set()
        self.in_service: set[int] = set()
        self.task_priority = 0
        self.spurious, self.software_enabled = 0xFF, False
        self.logical, self.model = 0, 0xF
        self.seen: set[int] = set()
        self.shown: set[int] = set()
        self.error_interrupt_armed = True
        self.command = fields_of(0, ICR_FIELDS)
        self.destination = 0
        self.lvt = {entry: dict.fromkeys(layout, 0) | {"mask": 1} for entry, layout in LVT_FIELDS.items()}
        self.initial = self.left = self.prescaler = 0
        self.divide = 0

    # Interrupts

    def priority(self) -> int:
        """PPR."""
        classes = [self.task_priority // 16, *(vector // 16 for vector in self.in_service)]
        own = self.task_priority % 16 if max(classes) == self.task_priority // 16 else 0
        return max(classes) * 16 + own

    def dispatchable(self) -> int | None:
        if not (self.on and self.software_enabled):
            return None
        ready = [vector for vector in self.requested if vector // 16 > self.priority() // 16]
        return max(ready, default=None)

    def arrive(self, vector: int) -> bool | None:
        """A fixed interrupt; whether it merged, None where the vector is illegal."""
        if vector in range(16):
            self.error(6)
            return None
        merged = vector in self.requested
        self.requested.add(vector)
        return merged

    def inta(self) -> int:
        vector = self.dispatchable()
        if vector is None:
            return self.spurious
        self.requested.remove(vector)
        self.in_service.add(vector)
        return vector

    def eoi(self) -> None:
        self.in_service -= {max(self.in_service, default=None)}

    def error(self, bit: int) -> None:
        self.seen.add(bit)
        entry = self.lvt[0x370]
        if self.error_interrupt_armed and not entry["mask"]:
            self.error_interrupt_armed = False
            self.arrive(entry["vector"])

    # Timer

    def advance(self, units: int) -> None:
        for _ in range(units):
            if not self.left:
                return
            self.prescaler += 1
            if self.prescaler == DIVISORS[self.divide]:
                self.prescaler = 0
                self.left -= 1
                if not self.left:
                    entry = self.lvt[0x320]
                    if not entry["mask"]:
                        self.arrive(entry["vector"])
                    if entry["periodic"]:
                        self.left = self.initial

    # Registers that both modes have

    def get(self, offset: int) -> int:
        banks = {0x100: self.in_service, 0x180: set(), 0x200: self.requested}
        for base, bank in banks.items():
            if base <= offset < base + 0x80:
                first = (offset - base) * 2
                return sum(1 << vector - first for vector in bank if first <= vector < first + 32)
        if offset in self.lvt:
            return word_of(self.lvt[offset], LVT_FIELDS[offset])
        return {
            0x30: 0x50014,
            0x80: self.task_priority,
            0xA0: self.priority(),
            0xF0: self.spurious + 256 * self.software_enabled,
            0x280: sum(1 << bit for bit in self.shown),
            0x300: word_of(self.command, ICR_FIELDS),
            0x380: self.initial,
            0x390: self.left,
            0x3E0: self.divide,
        }[offset]

    def put(self, offset: int, value: int) -> None:
        match offset:
            case 0x80:
                self.task_priority = value % 256
            case 0xB0:
                self.eoi()
            case 0xF0:
                self.spurious, self.software_enabled = value % 256, bool(value >> 8 & 1)
                if not self.software_enabled:
                    for entry in self.lvt.values():
                        entry["mask"] = 1
            case 0x280:
                self.shown, self.seen = self.seen, set()
                self.error_interrupt_armed = True
            case 0x380:
                self.initial = self.left = value
                self.prescaler = 0
            case 0x3E0:
                self.divide = value & 0b1011
                self.prescaler = 0
            case _ if offset in self.lvt:
                self.lvt[offset] = fields_of(value, LVT_FIELDS[offset])
                for own in {"status", "remote irr"} & self.lvt[offset].keys():
                    self.lvt[offset][own] = 0
                if not self.software_enabled:
                    self.lvt[offset]["mask"] = 1
            case _:
                raise AssertionError(hex(offset))

    def order(self, command: dict[str, int], destination: int) -> None:
        if command["delivery"] in (0, 1) and command["vector"] < 16:
            self.error(5)
        self.outbox.append((command, destination, self.extended))

    def write_command(self, low: int, destination: int) -> None:
        self.command = fields_of(low, ICR_FIELDS) | {"status": 0}
        self.order(self.command, destination)

    # xAPIC

    def page_read(self, offset: int) -> int:
        if not self.on or self.extended:
            return 0
        if offset not in XAPIC_REGISTERS:
            self.error(7)
            return 0
        if offset in (0x90, 0xB0, 0xC0):
            return 0
        special = {
            0x20: self.apic_id % 256 << 24,
            0xD0: self.logical << 24,
            0xE0: self.model << 28 | 0xFFFFFFF,
            0x310: self.destination << 24,
        }
        return special[offset] if offset in special else self.get(offset)

    def page_write(self, offset: int, value: int) -> None:
        if not self.on or self.extended:
            return
        if offset not in XAPIC_REGISTERS:
            self.error(7)
        elif offset == 0xD0:
            self.logical = value >> 24
        elif offset == 0xE0:
            self.model = value >> 28
        elif offset == 0x310:
            self.destination = value >> 24
        elif offset == 0x300:
            self.write_command(value, self.destination)
        elif offset not in (0x20, 0x30, 0x90, 0xA0, 0xC0, 0x390, *range(0x100, 0x280, 0x10)):
            self.put(offset, value)

    # x2APIC, table "Local APIC Register Address Map Supported by x2APIC"

    def rdmsr(self, msr: int) -> int:
        readable = {0x802, 0x803, 0x808, 0x80A, 0x80D, 0x80F, *range(0x810, 0x829), 0x830, *range(0x832, 0x83A), 0x83E}
        if not (self.on and self.extended) or msr not in readable:
            raise ProtectionFault
        if msr == 0x802:
            return self.apic_id
        if msr == 0x80D:
            cluster, place = divmod(self.apic_id, 16)
            return cluster % 0x10000 * 0x10000 + (1 << place)
        offset = (msr - 0x800) * 16
        return self.get(offset) + (self.destination << 32 if msr == 0x830 else 0)

    def wrmsr(self, msr: int, value: int) -> None:
        if not (self.on and self.extended):
            raise ProtectionFault
        layouts: dict[int, Fields] = {
            0x808: VECTOR,
            0x80B: {},
            0x80F: VECTOR | {"enable": (8, 1)},
            0x828: {},
            0x830: ICR_FIELDS | {"destination": (32, 32)},
            0x838: {"count": (0, 32)},
            0x83E: {"low": (0, 2), "high": (3, 1)},
            0x83F: VECTOR,
        } | {0x800 + entry // 16: layout for entry, layout in LVT_FIELDS.items()}
        if msr not in layouts or not has_only(value, layouts[msr]):
            raise ProtectionFault
        if msr == 0x830:
            self.destination = value >> 32
            self.write_command(value % 0x100000000, self.destination)
        elif msr == 0x83F:
            self.order(fields_of(0, ICR_FIELDS) | {"vector": value, "shorthand": 1}, 0)
        else:
            self.put((msr - 0x800) * 16, value)

    # IA32_APIC_BASE, figure "Local x2APIC State Transitions with IA32_APIC_BASE, INIT, and Reset"

    def base(self) -> int:
        return 0xFEE00000 + self.bsp * 256 + self.extended * 1024 + self.on * 2048

    def set_base(self, value: int) -> None:
        layout: Fields = {"bsp": (8, 1), "extended": (10, 1), "on": (11, 1), "address": (12, 52)}
        new = fields_of(value, layout)
        allowed = {
            (True, False): {(1, 0), (1, 1), (0, 0)},
            (True, True): {(1, 1), (0, 0)},
            (False, False): {(0, 0), (1, 0)},
        }
        if not has_only(value, layout) or new["address"] != 0xFEE00:
            raise ProtectionFault
        if (new["on"], new["extended"]) not in allowed[self.on, self.extended]:
            raise ProtectionFault
        if new["extended"] and not self.extended:
            self.logical = self.destination = 0
        self.bsp, self.on, self.extended = bool(new["bsp"]), bool(new["on"]), bool(new["extended"])
        if not self.on:
            self.initialise()
