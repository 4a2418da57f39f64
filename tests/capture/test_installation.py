"""Plans that meet a machine which has changed, and runs that were cut off."""

from pathlib import Path

import pytest

from claude_otel.capture.installation import (
    Plan,
    carry_out,
    is_registered,
    plan_disable,
    plan_setup,
)
from claude_otel.diagnostics import ConfigurationError
from claude_otel.state_folder import DataFolder, StateFolder


class Machine:
    def __init__(self, root: Path) -> None:
        self.state = StateFolder(root / "state")
        self.data = DataFolder(root / "data")
        self.project = root / "project"
        self.file = self.project / ".claude" / "settings.local.json"
        self.file.parent.mkdir(parents=True)

    def plan(self) -> Plan:
        return plan_setup(
            self.file, project=self.project, values={}, state=self.state, data=self.data
        )

    def set_up(self) -> None:
        carry_out(self.plan(), state=self.state, data=self.data)

    def disable(self) -> None:
        plan = plan_disable(self.file, state=self.state, data=self.data)
        carry_out(plan, state=self.state, data=self.data)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_file_that_changed_after_the_plan_is_not_overwritten(machine: Machine) -> None:
    machine.file.write_text("{}")
    plan = machine.plan()
    machine.file.write_text('{"model": "opus"}')
    with pytest.raises(ConfigurationError, match=r"changed by somebody else; run the command"):
        carry_out(plan, state=machine.state, data=machine.data)
    assert machine.file.read_text() == '{"model": "opus"}'
    machine.set_up()
    assert is_registered(machine.file, data=machine.data)
    machine.disable()
    assert machine.file.read_text() == '{"model": "opus"}'


def test_a_setup_that_was_cut_off_is_finished_by_the_next(machine: Machine) -> None:
    machine.file.write_text('{"hooks": { }}')
    plan = machine.plan()
    # All of it happened but for the settings file itself.
    carry_out(plan, state=machine.state, data=machine.data)
    machine.file.write_text('{"hooks": { }}')
    machine.set_up()
    machine.disable()
    assert machine.file.read_text() == '{"hooks": { }}'


def test_a_file_that_a_cut_off_setup_never_made_is_its_users_own(machine: Machine) -> None:
    machine.set_up()
    machine.file.write_text("{}")
    machine.set_up()
    machine.disable()
    assert machine.file.read_text() == "{}"


def test_without_our_record_the_hooks_still_go(machine: Machine) -> None:
    machine.file.write_text('{\n  "model": "opus"\n}\n')
    machine.set_up()
    machine.state.registrations.unlink()
    machine.disable()
    assert machine.file.read_text() == '{\n  "model": "opus"\n}\n'


@pytest.mark.parametrize(
    "damaged",
    [
        "[]",
        "{bad",
        '"text"',
        '{"x": {}}',
        '{"x": []}',
        '{"x": {"file_created": 1, "folder_created": 1, "created": [[{}]], "blanks": []}}',
        '{"x": {"file_created": 1, "folder_created": 1, "created": [], "blanks": [["a", "b"]]}}',
    ],
)
def test_a_record_that_cannot_be_understood_stops_setup_and_no_disable(
    machine: Machine, damaged: str
) -> None:
    before = '{\n  "model": "opus"\n}\n'
    machine.file.write_text(before)
    machine.set_up()
    registered = machine.file.read_bytes()
    machine.state.registrations.write_text(damaged)
    with pytest.raises(
        ConfigurationError,
        match=r"registrations\.json cannot be understood .* move it away and run",
    ):
        machine.plan()
    assert machine.file.read_bytes() == registered
    machine.disable()
    assert machine.file.read_text() == before
    assert machine.state.registrations.read_text() == damaged
