"""Who sits out is called back when those who do not sit out hang."""

from evener.core import commands as c
from evener.core.policies import Balanced
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
