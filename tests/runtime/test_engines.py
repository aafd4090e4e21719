"""Where a process is in a job that others have started: from the environment that they set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evener.runtime import keys
from evener.runtime.engines import EngineError, Task

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "train 7",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "RANK": "3",
    "WORLD_SIZE": "5",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "3",
    "MASTER_ADDR": "192.0.2.7",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "4",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "192.0.2.[7-9]",
}


def found(environment: dict[str, str], **more: str) -> Task:
    task = Task.here({**environment, **more})
    assert task is not None
    return task


def test_torchrun() -> None:
    task = found(TORCHRUN)
    assert (task.engine, task.job, task.unique, task.restart) == ("torchrun", "torchrun-train_7", True, 2)
    assert (task.rank, task.size, task.local_rank, task.local_size, task.node, task.nodes) == (3, 5, 1, 2, 1, 3)
    assert (task.serves, task.one_host) == (False, False)
    assert found(TORCHRUN, RANK="0").serves


def test_torchruns_agents_have_a_store_where_they_say_so() -> None:
    assert found(TORCHRUN, TORCHELASTIC_USE_AGENT_STORE="True").store == ("192.0.2.7", 29500)
    assert found(TORCHRUN, TORCHELASTIC_USE_AGENT_STORE="False").store is None
    assert found(SLURM).store is None


def test_slurm() -> None:
    task = found(SLURM)
    assert (task.engine, task.job, task.leader) == ("slurm", "slurm-4711.0", "192.0.2.7")
    assert (task.rank, task.size, task.local_rank, task.local_size, task.node, task.nodes) == (4, 5, 0, 1, 2, 3)
    assert found(SLURM, SLURM_NODEID="1", SLURM_PROCID="2").local_size == 2


def test_torchrun_inside_of_slurm_is_torchrun() -> None:
    assert found({**SLURM, **TORCHRUN}).engine == "torchrun"


def test_what_torch_distributed_reads() -> None:
    task = found({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "192.0.2.7", "MASTER_PORT": "29500"})
    assert (task.engine, task.node, task.nodes, task.local_size, task.unique) == ("env", 1, 2, 1, False)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},  # a batch script
        {**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {**TORCHRUN, "EVENER_ENGINE": "none"},
    ],
)
def test_who_runs_alone(environment: dict[str, str]) -> None:
    assert Task.here(environment) is None


def test_all_processes_know_the_same_address_and_the_servers_own_host_takes_loopback() -> None:
    first, other = found(TORCHRUN, RANK="0", GROUP_RANK="0"), found(TORCHRUN)
    port = first.port
    assert (other.port, 20000 <= port < 30000) == (port, True)
    assert (first.listen, first.server, other.server) == (f"0.0.0.0:{port}", f"127.0.0.1:{port}", f"192.0.2.7:{port}")
    assert found(TORCHRUN, MASTER_ADDR="fd00::7").server == f"[fd00::7]:{port}"
    assert found(TORCHRUN, MASTER_ADDR="fd00::7", RANK="0").listen == f"[::]:{port}"
    assert found(TORCHRUN, EVENER_PORT="4000").server == "192.0.2.7:4000"
    assert found(TORCHRUN, TORCHELASTIC_RUN_ID="other").port != port


def test_a_job_on_one_host_stays_on_loopback() -> None:
    task = found(TORCHRUN, LOCAL_WORLD_SIZE="5", MASTER_ADDR="some-name")
    assert task.one_host
    assert task.listen == task.server == f"127.0.0.1:{task.port}"
    assert found(TORCHRUN, MASTER_ADDR="127.0.0.1").one_host


def test_a_server_elsewhere() -> None:
    task = found(TORCHRUN, RANK="0", EVENER_JOIN="192.0.2.1:4000")
    assert (task.serves, task.one_host, task.server) == (False, False, "192.0.2.1:4000")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RANK": "one"}, "RANK is 'one', which is no whole number from 0"),
        ({"RANK": "5"}, "rank 5 of 5 processes: ranks begin with 0"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is not set"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0', which is no whole number from 1"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({"EVENER_ENGINE": "lsf"}, "EVENER_ENGINE is 'lsf': set it to 'none'"),
        ({"EVENER_PORT": "70000"}, "a port is at most 65535"),
    ],
)
def test_a_damaged_environment(changes: dict[str, str], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        Task.here({**TORCHRUN, **changes})


def test_which_keys_are_a_hosts(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys.make(folder, ["job"])
    assert keys.worker_folder(folder, "gpu1.lab") == folder / "job"
    assert keys.worker_folder(folder / "job", "gpu1.lab") == folder / "job"
    keys.make(folder, ["gpu1", "gpu2.lab"])
    assert keys.worker_folder(folder, "gpu1.lab") == folder / "gpu1"
    assert keys.worker_folder(folder, "gpu2.lab") == folder / "gpu2.lab"
    with pytest.raises(keys.KeysError, match=r"and 3 in other folders there. Make one for this host with 'evener keys"):
        keys.worker_folder(folder, "gpu3.lab")


def test_a_users_own_keys_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_state_dir", lambda *_, **__: str(tmp_path / "state"))
    folder = keys.own()
    before = keys.ServerKeys(folder).public
    assert keys.own() == folder
    assert keys.ServerKeys(folder).public == before
    assert keys.WorkerKeys.read(keys.worker_folder(folder, "any")).server == before
    assert [path.name for path in (tmp_path / "state").iterdir()] == [folder.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file that is root's")
def test_roots_file_may_be_read_through_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.make(tmp_path / "keys", ["job"])
    file = tmp_path / "keys" / "job" / "worker.key"
    file.chmod(0o440)
    with pytest.raises(keys.KeysError, match="chmod 600"):
        keys.WorkerKeys.read(file.parent)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert keys.WorkerKeys.read(file.parent).name == "job"
    file.chmod(0o444)
    with pytest.raises(keys.KeysError, match="chmod 600"):
        keys.WorkerKeys.read(file.parent)
