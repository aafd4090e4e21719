"""Who sits out, and who is called back."""

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.coordinator import Coordinator
from evener.core.policies import Balanced
from evener.core.standing import Standing
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation


def test_a_hang_of_the_only_active_worker_does_not_stop_the_run():
    # Worker 1 is so slow that it sits out; then worker 0 stops for longer than anybody would wait.
    hosts = (Host(pace=2000.0, stalls=((0.5, 25.0),)), Host(pace=40.0))
    simulation = Simulation(Cluster(hosts), Settings(batch=64, epochs=1, workers=2), Balanced(), positions=6400)
    outcome = simulation.run()
    assert any(isinstance(command, c.SitOut) and command.why for _, _, said in outcome.log for command in said)
    steps = [t for t, _, said in outcome.log if any(isinstance(command, c.Step) for command in said)]
    during = [t for t in steps if 0.6 < t < 25.0]
    assert len(during) >= 8  # 40 samples/s make a step of 64 every 1.6 s


@pytest.mark.parametrize("cold", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_a_slow_worker_is_not_judged_by_its_first_micro_batch(cold):
    # It takes up to five times what later ones take: caches are cold, and warming up has used up its share of the CPU.
    hosts = (*[Host(pace=1000.0)] * 3, Host(pace=100.0, stalls=((0.01, cold),)))
    settings = Settings(batch=512, epochs=1, workers=4)
    outcome = Simulation(Cluster(hosts), settings, Balanced(), positions=60 * 512).run()
    said = [command for _, _, commands in outcome.log for command in commands]
    assert not [command for command in said if isinstance(command, c.SitOut)]
    computed = [event for _, event, _ in outcome.log if isinstance(event, e.Computed) and event.worker == 3]
    assert len(computed) > 100, "and it is given something in nearly every step, small tickets if need be"


def test_of_two_steps_that_open_at_once_the_second_is_none_in_which_somebody_got_nothing():
    run = Coordinator(Settings(512, epochs=1, workers=2), Balanced(), Standing(version=5))
    for worker in range(2):
        run.handle(e.Joined(worker, 5, 100.0), 0.0)
    granted = run.handle(e.EpochDrawn(0, 51_200), 0.0)
    assert {said.step for said in granted if isinstance(said, c.Grant)} == {5}
    assert sorted(run.state.ledger.lots) == [5, 6]
    assert [member.pace.value for member in run.state.members.values()] == [100.0, 100.0]
