"""From a state to the states behind it: transitions by memory of what was performed before, and sleep sets.

A transition's effect depends on the CPU's own part, its local APIC, the platform, and the shared words that it reads.
Where all of these are as they were once before, the machine need not run again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from mklab.errors import MklabError
from mklab.machine.icr import Icr
from mklab.machine.machine import Machine
from mklab.timeline.explore.invariants import Invariant, Situation
from mklab.timeline.explore.probe import Probe
from mklab.timeline.explore.stage import Stage
from mklab.timeline.explore.state import State
from mklab.timeline.explore.touched import Touched
from mklab.timeline.explore.transition import Transition

__all__ = ["Child", "Expander", "Expansion", "Partition"]


@dataclass(frozen=True)
class Partition:
    """What CPUs share, as far as is known.

    Attributes:
        shared: words of memory (ascending), by number.
        others: the numbers of APICs, ports and consoles that they share.
        points: those of both at which interleavings are enumerated.
        forget: whether what lies below stack pointers may be forgotten.
    """

    shared: tuple[int, ...] = ()
    others: tuple[int, ...] = ()
    points: frozenset[int] = frozenset()
    forget: bool = True


@dataclass(frozen=True, slots=True)
class Child:
    """A state reached: by whom, and which CPUs need not be tried there (bits)."""

    cpu: int
    state: State
    sleep: int


@dataclass(slots=True)
class Expansion:
    """What comes behind a state.

    Attributes:
        children: the states reached.
        pruned: the transitions that were not followed, for another order of the same leads there, too.
        violations: what the invariants say of the state.
        final: whether nothing can run there.
        engine: transitions that the machine performed; the others were known.
    """

    children: list[Child] = field(default_factory=list)
    pruned: list[Child] = field(default_factory=list)
    violations: list[tuple[str, str]] = field(default_factory=list)
    final: bool = False
    engine: int = 0


_Variants = dict[tuple[int, ...], dict[tuple[int, ...], Transition]]


class Expander:
    """Expands states, on a machine of its own process.

    Args:
        machine: as it is at the beginning; :meth:`close` makes it so again.
        invariants: asked in every state.
        partition: what CPUs share.
        known: who has touched what else.
        reduce: whether sleep sets are used; without, everything is enumerated.
    """

    def __init__(
        self,
        machine: Machine,
        invariants: Sequence[Invariant],
        partition: Partition,
        known: Touched,
        *,
        reduce: bool = True,
    ) -> None:
        self._machine = machine
        self._invariants = invariants
        self._reduce = reduce
        self.partition = partition
        self.stage = Stage(machine, partition.shared, forget=partition.forget)
        numbers = [*partition.shared, *partition.others]
        places = {word: place for place, word in enumerate(numbers)}
        self._probe = Probe(self.stage, places, partition.points, known)
        self._words = len(partition.shared)
        self._apic_bits = [places.get(-1 - cpu) for cpu in range(len(machine.cpus))]
        self._memory: dict[tuple[int, bytes, bytes, bytes, int], _Variants] = {}
        self._effects: dict[tuple[Icr, int, int, bytes, bytes], tuple[bytes, bytes]] = {}
        self.performed = 0
        self._probe.witness.__enter__()

    def close(self) -> None:
        """The machine is as it was, and records again."""
        try:
            self.stage.leave()
        finally:
            self._probe.witness.__exit__(None, None, None)

    def learn(self, known: Touched) -> None:
        """Who has touched what, as all processes know it now."""
        self._probe.learn(known)

    def take_fresh(self) -> Touched:
        """Who has touched what since the last time."""
        return self._probe.take_fresh()

    @property
    def remembered(self) -> bool:
        """Whether a CPU has read what was forgotten."""
        return self._probe.remembered

    # Transitions

    def try_out(self, state: State, cpu: int, longest: int) -> Transition | None:
        """Like :meth:`transition`; where all is taken for each CPU's own, for ``longest`` instructions at most."""
        if self.partition.points:
            return self.transition(state, cpu)
        return self._probe.perform(state, cpu, longest)

    def transition(self, state: State, cpu: int) -> Transition | None:
        """What ``cpu`` does next in ``state``; None: it met with a surprise."""
        key = (cpu, state.locals[cpu], state.apics[cpu], state.platform, state.wakes[cpu])
        variants = self._memory.get(key)
        shared = state.shared
        if variants is not None:
            for places, by_values in variants.items():
                known = by_values.get(tuple([shared[place] for place in places]))
                if known is not None:
                    return known
        self.performed += 1
        transition = self._probe.perform(state, cpu)
        if transition is None:
            return None
        touched = transition.reads | transition.writes
        places = tuple(place for place in range(self._words) if touched >> place & 1)
        by_values = self._memory.setdefault(key, {}).setdefault(places, {})
        by_values[tuple([shared[place] for place in places])] = transition
        return transition

    def after(self, state: State, transition: Transition) -> State:
        """The state that ``transition`` leads to."""
        cpu = transition.cpu
        locals_, apics = list(state.locals), list(state.apics)
        locals_[cpu], apics[cpu] = transition.local, transition.apic
        shared, wakes = state.shared, state.wakes
        if transition.stored:
            values = list(shared)
            for place, value in transition.stored:
                values[place] = value
            shared = tuple(values)
        if transition.slept or any(wakes):
            gone = transition.instructions
            wakes = tuple(transition.slept if one == cpu else max(0, left - gone) for one, left in enumerate(wakes))
        for sender, icr, targets in transition.commands:
            for target in targets:
                locals_[target], apics[target] = self._reach(locals_[target], apics[target], sender, icr, target, state)
        return State(tuple(locals_), tuple(apics), shared, transition.platform, wakes)

    def _reach(
        self, local: bytes, apic: bytes, sender: int, icr: Icr, target: int, state: State
    ) -> tuple[bytes, bytes]:
        """What the command makes of its target."""
        if icr.delivery == "lowest":
            raise MklabError("an IPI with lowest-priority delivery is not explored: who gets it depends on everybody")
        key = (icr, sender, target, local, apic)
        known = self._effects.get(key)
        if known is None:
            stage, machine = self.stage, self._machine
            locals_, apics = list(state.locals), list(state.apics)
            locals_[target], apics[target] = local, apic
            stage.put(state._replace(locals=tuple(locals_), apics=tuple(apics)))
            machine._interrupts.reach(machine.cpus[target], sender, icr)
            known = self._effects[key] = stage.note_local(target, {}), stage.note_apic(target)
        return known

    def settled(self, state: State) -> State:
        """``state``, or where nothing can run, the one in which the next sleeping call wakes."""
        if any(state.wakes) and not self.stage.enabled(state):
            least = min(left for left in state.wakes if left)
            return state._replace(wakes=tuple(max(0, left - least) for left in state.wakes))
        return state

    # Expansion

    def expand(self, state: State, sleep: int) -> Expansion:
        """The states behind ``state``, but for those that the CPUs in ``sleep`` lead to."""
        result = Expansion()
        before = self.performed
        enabled = self.stage.enabled(state)
        found: list[Transition] = []
        for cpu in enabled:
            transition = self.transition(state, cpu)
            if transition is not None:
                found.append(transition)
        result.final = not enabled
        result.violations = self._ask(state, found)
        timed = any(state.wakes)
        tried: list[Transition] = []
        for transition in found:
            if sleep >> transition.cpu & 1:
                result.pruned.append(Child(transition.cpu, self.settled(self.after(state, transition)), 0))
                tried.append(transition)
        for transition in found:
            if sleep >> transition.cpu & 1:
                continue
            asleep = 0
            if self._reduce and not timed and not transition.slept and not transition.stopped:
                for other in tried:
                    if transition.independent_of(other) and not other.slept and not other.stopped:
                        asleep |= 1 << other.cpu
            result.children.append(Child(transition.cpu, self.settled(self.after(state, transition)), asleep))
            tried.append(transition)
        result.engine = self.performed - before
        return result

    def ask_stuck(self, state: State) -> list[tuple[str, str]]:
        """What the invariants say of a state that comes again and again."""
        found = [self.transition(state, cpu) for cpu in self.stage.enabled(state)]
        return self._ask(state, [one for one in found if one is not None], stuck=True)

    def _ask(self, state: State, found: Collection[Transition], *, stuck: bool = False) -> list[tuple[str, str]]:
        situation = Situation(self._machine, self.stage, state, found, stuck=stuck)
        violations = []
        for invariant in self._invariants:
            words = invariant.violated(situation)
            if words:
                violations.append((invariant.name, words))
        return violations
