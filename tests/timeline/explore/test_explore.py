"""Exploring as a whole: what it leaves behind, what it claims, how it stops, what it finds late."""

import os
import signal

import pytest

from mklab.errors import MklabError
from mklab.machine.machine import Machine
from mklab.machine.schedule import choices_of
from mklab.machine.state import state
from mklab.timeline.explore import Always, AtTheEnd, NoDataRace, NoDeadlock, NoLostMessage, explore
from mklab.timeline.explore.clocks import unordered
from tests.timeline.explore.tiny import Op, address, interleavings, machine_of, outcome_of

LOST_UPDATE = [[Op("load"), Op("add", value=1), Op("save")], [Op("load"), Op("add", value=1), Op("save")]]


def one(machine: Machine) -> str | None:
    return "the word is 1 at the end" if outcome_of(machine)[0][0] == 1 else None


class TestTheMachine:
    """The machine that was explored."""

    def test_is_left_as_it_was(self) -> None:
        machine = machine_of(LOST_UPDATE)
        before = state(machine)
        explore(machine, AtTheEnd(one))
        assert state(machine) == before

    def test_goes_on_as_if_nothing_had_been(self) -> None:
        machine, twin = machine_of(LOST_UPDATE), machine_of(LOST_UPDATE)
        explore(machine, AtTheEnd(one))
        machine.run()
        twin.run()
        assert machine.trace.sha256 == twin.trace.sha256
        assert state(machine) == state(twin)

    def test_is_left_as_it_was_when_the_question_fails(self) -> None:
        machine = machine_of(LOST_UPDATE)
        before = state(machine)

        def broken(_: Machine) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            explore(machine, broken)
        assert state(machine) == before

    def test_a_counterexample_replays_on_a_fresh_one(self) -> None:
        found = explore(machine_of(LOST_UPDATE), AtTheEnd(one)).counterexample
        assert found is not None
        fresh = machine_of(LOST_UPDATE)
        assert found.replay(fresh) is None
        assert fresh.idle
        assert one(fresh) == found.what
        assert tuple(choices_of(fresh.trace)) == found.choices


class TestWhatIsClaimed:
    """The statement of what was covered."""

    def test_complete(self) -> None:
        result = explore(machine_of(LOST_UPDATE), Always(lambda _: None))
        assert result.holds
        assert result.coverage.complete
        assert "every interleaving: " in str(result)

    def test_a_bound_on_the_depth_is_said_and_kept(self) -> None:
        full = explore(machine_of(LOST_UPDATE), Always(lambda _: None)).coverage
        bounded = explore(machine_of(LOST_UPDATE), AtTheEnd(one), depth=full.depth - 1)
        assert bounded.holds, "the end lies one operation deeper"
        assert not bounded.coverage.complete
        assert f"every interleaving of up to {full.depth - 1} visible operations" in str(bounded)
        assert not explore(machine_of(LOST_UPDATE), AtTheEnd(one), depth=full.depth).holds

    def test_a_bound_that_cuts_nothing_off_is_complete(self) -> None:
        assert explore(machine_of(LOST_UPDATE), Always(lambda _: None), depth=100).coverage.complete

    def test_ctrl_c_keeps_what_was_found(self) -> None:
        machine, asked = machine_of([[Op("inc")] * 6, [Op("inc")] * 6]), []
        before = state(machine)

        def question(_: Machine) -> None:
            asked.append(1)
            if len(asked) == 20:
                os.kill(os.getpid(), signal.SIGINT)

        result = explore(machine, question)
        assert len(asked) == 20
        assert result.coverage.interrupted
        assert not result.coverage.complete
        assert "(stopped there)" in result.coverage.statement
        assert result.coverage.states >= 20
        assert state(machine) == before

    def test_only_where_it_is_asked_to(self) -> None:
        code = [[Op("inc", 0), Op("inc", 1)], [Op("inc", 0), Op("inc", 1)]]
        everywhere = explore(machine_of(code), Always(lambda _: None)).coverage
        one_word = explore(machine_of(code), Always(lambda _: None), at=[(address(0), address(1))]).coverage
        assert one_word.states < everywhere.states
        nowhere = explore(machine_of(code), Always(lambda _: None), at=[]).coverage
        assert nowhere.depth == 2, "each CPU runs to its end at once"

    def test_a_path_is_shortest(self) -> None:
        result = explore(machine_of([[Op("inc")] * 3, [Op("inc")] * 3]), lambda m: _when(m, 4))
        assert result.counterexample is not None
        assert len(result.counterexample.steps) == 4


def _when(machine: Machine, value: int) -> str | None:
    return "there" if outcome_of(machine)[0][0] == value else None


class TestWhatIsFoundLate:
    """Memory that CPUs share only in some interleavings, and what lies below a stack pointer."""

    SECRET = (
        [Op("store", 0, value=1), Op("store", 0, value=0), Op("store", 2, value=5)],
        [Op("load", 0, 0), Op("skip", register=0), Op("inc", 2)],
    )

    def test_a_word_that_plain_runs_do_not_show_to_be_shared(self) -> None:
        found = set()
        result = explore(machine_of(self.SECRET), AtTheEnd(lambda machine: found.add(outcome_of(machine))))
        assert result.coverage.passes > 1
        assert found == {outcome for _, _, outcome in interleavings(self.SECRET)}

    # push $7; pop %rax; incq DATA; mov -8(%rsp), %rcx; incq DATA; hlt
    BELOW = bytes.fromhex("6a0758") + bytes.fromhex("48ff042500600000488b4c24f848ff042500600000f4")

    def test_what_is_read_below_the_stack_pointer_is_not_forgotten(self) -> None:
        machine = machine_of([[Op("inc")], [Op("inc")]])
        machine.poke(0x4000, self.BELOW)
        seen = set()
        result = explore(machine, AtTheEnd(lambda one: seen.add(one.registers(0).rcx)))
        assert seen == {7}
        assert result.coverage.passes > 1

    def test_what_is_not_read_again_makes_no_difference(self) -> None:
        # mov DATA, %rax; push %rax; pop %rax; xor %eax, %eax; incq DATA + 8; hlt: what was read is left below the stack
        machine = machine_of([[Op("inc", 1)], [Op("inc", 0), Op("inc", 1)]])
        machine.poke(0x4000, bytes.fromhex("488b042500600000505831c048ff042508600000f4"))
        result = explore(machine, AtTheEnd(lambda _: None))
        assert result.coverage.passes == 1
        assert result.coverage.finals == 1


class TestInvariants:
    """Those that are built in."""

    def test_a_data_race_shows_both_accesses(self) -> None:
        result = explore(machine_of([[Op("inc", 1)], [Op("store", 1, value=3)]]), NoDataRace())
        found = result.counterexample
        assert found is not None
        assert found.what == (
            f"data race at {address(1):#x}: CPU 0: incq {address(1):#x} at 0x4000 reads 8 bytes at "
            f"{address(1):#x}, CPU 1: movq $3, {address(1):#x} at 0x4400 writes 8 bytes at "
            f"{address(1):#x}, and nothing orders the two"
        )

    def test_its_clocks_order_what_synchronises(self) -> None:
        code = [[Op("xchg", 0), Op("store", 1, value=1)], [Op("xchg", 0), Op("load", 1)]]
        found = explore(machine_of(code), NoDataRace()).counterexample
        assert found is not None
        assert [step.split(":")[0] for step in found.steps] == ["CPU 0", "CPU 1"]
        first, second = found.clocks
        assert not unordered(first, 0, second, 1), "the one XCHG happens before the other"
        assert first == (1, 0)
        assert second == (1, 1)

    def test_synchronising_words_are_no_race(self) -> None:
        code = [[Op("store", 0, value=1)], [Op("load", 0)]]
        assert not explore(machine_of(code), NoDataRace()).holds
        assert explore(machine_of(code), NoDataRace([(address(0), address(1))])).holds

    def test_a_loop_that_never_ends_is_a_deadlock(self) -> None:
        machine = machine_of([[Op("inc")], [Op("store", 0, value=5)]])
        # 1: cmpq $7, DATA; jne 1b; hlt
        machine.poke(0x4000, bytes.fromhex("48833c25006000000775f5f4"))
        result = explore(machine, NoDeadlock())
        assert result.coverage.complete
        assert result.counterexample is not None
        assert "goes round for ever" in result.counterexample.what

    def test_a_loop_that_ends_is_none(self) -> None:
        machine = machine_of([[Op("inc")], [Op("store", 0, value=7)]])
        machine.poke(0x4000, bytes.fromhex("48833c25006000000775f5f4"))
        assert explore(machine, NoDeadlock()).holds

    def test_an_interrupt_that_nobody_will_take_is_a_deadlock(self) -> None:
        machine = machine_of([[Op("inc")], [Op("inc")]])
        machine.apics[1].svr = 0x1FF
        machine.apics[1].accept(0x40)
        result = explore(machine, NoDeadlock())
        assert result.counterexample is not None
        assert "CPU 1 is halted, with interrupts off, and interrupt 0x40 waits" in result.counterexample.what

    def test_lost_messages_are_counted(self) -> None:
        code = [[Op("store", 0, value=1)], [Op("store", 0, value=2)]]
        lost = NoLostMessage(lambda _: [1, 2], lambda machine: [outcome_of(machine)[0][0]])
        result = explore(machine_of(code), lost)
        assert result.counterexample is not None
        assert result.counterexample.what in (
            "sent 1, 2, received 2: 1 was lost",
            "sent 1, 2, received 1: 2 was lost",
        )


class TestMistakes:
    """What it is called with."""

    def test_what_is_not_explored(self) -> None:
        machine = machine_of(LOST_UPDATE)
        machine.apics[0].svr = 0x1FF
        machine.apics[0].lvt[0x320] = 0x40
        machine.apics[0].write(0x380, 1000)
        before = state(machine)
        with pytest.raises(MklabError, match="the timer of a local APIC runs"):
            explore(machine, AtTheEnd(one))
        assert state(machine) == before

    def test_a_clock(self) -> None:
        machine = machine_of(LOST_UPDATE)
        machine.poke(0x4000, bytes.fromhex("48ff0425006000000f31f4"))  # incq DATA; rdtsc; hlt
        before = state(machine)
        with pytest.raises(MklabError, match="CPU 0 reads the time stamp counter"):
            explore(machine, AtTheEnd(one))
        assert state(machine) == before

    def test_other_processes_need_a_name(self) -> None:
        with pytest.raises(ValueError, match="machine must be the name of a function"):
            explore(machine_of(LOST_UPDATE), AtTheEnd(one), processes=2)

    @pytest.mark.parametrize("name", ["nothing", "nowhere:function", "os:getcwd", "mklab.lab.interleavings:nothing"])
    def test_names_of_nothing(self, name: str) -> None:
        with pytest.raises(ValueError, match=r"factory must name a function .*, not "):
            explore(name)

    def test_points_that_there_are_not(self) -> None:
        with pytest.raises(ValueError, match="each of at must be 'memory', 'interrupts' or a range"):
            explore(machine_of(LOST_UPDATE), AtTheEnd(one), at=["everything"])

    def test_no_invariant(self) -> None:
        with pytest.raises(TypeError, match="invariant must be one that is built in, or a function"):
            explore(machine_of(LOST_UPDATE), [3])  # type: ignore[list-item]
