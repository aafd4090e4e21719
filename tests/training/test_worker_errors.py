"""What goes wrong in one worker's script ends that worker, and nobody else."""

from __future__ import annotations

import pytest

from evener.core import events as e
from evener.observe import summarise

from .harness import Launch, says

SCRIPT = """
session = evener.join()
weights = nn.ParameterList([nn.Parameter(torch.zeros(480, dtype=torch.float64))])
optimizer = torch.optim.SGD(weights.parameters(), lr=0.5)
loader = DataLoader(Positions(480), batch_size=48, shuffle=True)
model, optimizer, loader = session.prepare(weights, optimizer, loader)
for epoch in session.epochs(1):
    for number, positions in enumerate(loader):
        if index == 1:
            fail()
        if number == 0:
            wait_for("known")  # or they might do it all before
        optimizer.zero_grad()
        model[0][positions].mean().backward()
        optimizer.step()
keep(weights=model[0].detach().clone())
"""

# Under the balanced policy who is slow to get going sits out, and has nothing to fail at.
ERRORS = {
    "a device error": ("raise torch.OutOfMemoryError('CUDA out of memory')", "asynchronous"),
    "an exception": ("raise RuntimeError('the label is missing')", "synchronous"),
    "a hard exit": ("os._exit(9)", "synchronous"),
    "a crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "asynchronous"),
}


@pytest.mark.parametrize(("error", "policy"), ERRORS.values(), ids=ERRORS)
def test_what_goes_wrong_in_one_worker_ends_that_worker_alone(launch: Launch, error: str, policy: str) -> None:
    script = f"def fail():\n    {error}\n{SCRIPT}"
    run = launch(script, workers=3, policy=policy, gates=["known"], place={"prompt": True})
    run.wait_line(says(e.Left, 1))
    run.let("known", 2)
    codes = run.wait()
    assert codes.pop("worker1") != 0
    assert set(codes.values()) == {0}, run.told("others ended badly, too")
    accounting = run.proved()
    assert accounting.complete
    assert accounting.total("applied") == 480
    weights = run.kept("server")["weights"]
    assert weights.min().item() == pytest.approx(weights.max().item(), rel=1e-9)
    (failed,) = [worker for worker in summarise(run.folder / "record").workers if worker.worker == 1]
    assert failed.left, "the summary does not say that it went"
