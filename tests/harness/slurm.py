"""A private Slurm of one node, for tests: own key, ports and folder, bound to loopback, nothing left behind.

with slurm(folder) as env:
    subprocess.run(["srun", "hostname"], env=env)

Needs slurmctld, slurmd, munged and the clients: apt-get install slurmctld slurmd slurm-client munge.
"""

import contextlib
import getpass
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

LOCALHOST = "127.0.0.1"
DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "scontrol", "squeue", "scancel")

CONF = """\
ClusterName=tests
SlurmctldHost={host}({local})
NodeName={host} NodeAddr={local} CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ctld}
SlurmdPort={slurmd}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,defer_batch=0
"""

# submitit asks sacct, which wants an accounting database; scontrol knows the same of recent jobs
SACCT = """\
#!{python}
import subprocess, sys
print("JobID|State|NodeList")
for job in [after for flag, after in zip(sys.argv, sys.argv[1:]) if flag == "-j"]:
    found = subprocess.run(["scontrol", "-o", "show", "job", job], capture_output=True, text=True).stdout
    for line in filter(None, found.splitlines()):
        said = dict(word.split("=", 1) for word in line.split() if "=" in word)
        task = said.get("ArrayTaskId")
        name = said["ArrayJobId"] + "_" + (task if task.isdigit() else "[" + task + "]") if task else said["JobId"]
        print(name, said["JobState"], said.get("NodeList", ""), sep="|")
"""


def lacking() -> list[str]:
    """The programs of Slurm that are not installed."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=path) is None]


@contextlib.contextmanager
def slurm(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start the daemons; gives the environment in which the clients find them."""
    folder.chmod(0o755)
    bins, host = folder / "bin", socket.gethostname().split(".")[0]
    for name in ("bin", "state", "spool"):
        (folder / name).mkdir()
    sacct = bins / "sacct"
    sacct.write_text(SACCT.format(python=sys.executable))
    sacct.chmod(sacct.stat().st_mode | stat.S_IXUSR)
    conf = folder / "slurm.conf"
    ctld, slurmd = free_ports(2)
    conf.write_text(
        CONF.format(
            host=host, local=LOCALHOST, cpus=cpus, user=getpass.getuser(), folder=folder, ctld=ctld, slurmd=slurmd
        )
    )
    (folder / "munge.key").write_bytes(os.urandom(64))
    (folder / "munge.key").chmod(0o400)
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SUBMITIT_"))}
    env = outer | {"SLURM_CONF": str(conf), "PATH": f"{bins}:{os.environ['PATH']}:/usr/sbin:/sbin"}
    munge = [f"--{what}={folder}/munge.{end}" for what, end in MUNGE.items()]
    with contextlib.ExitStack() as daemons:

        def start(*command: str) -> None:
            log = daemons.enter_context((folder / f"{command[0]}.log").open("w"))
            daemons.enter_context(daemon([*command], env, log))

        start("munged", "--foreground", "--force", "--num-threads=1", *munge)
        wait_until((folder / "munge.socket").exists, 10, lambda: logs(folder))
        start("slurmctld", "-D", "-c")
        start("slurmd", "-D", "-N", host)
        wait_until(lambda: "idle" in output(env, "sinfo", "-h", "-o", "%t"), 20, lambda: logs(folder))
        try:
            yield env
        finally:
            drain(env)


MUNGE = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}


@contextlib.contextmanager
def daemon(command: list[str], env: dict[str, str], log: IO[str]) -> Iterator[None]:
    """Keep a daemon while in the with-block; it ends with this process, however that ends."""
    process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], env=env, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def drain(env: dict[str, str]) -> None:
    """End every job, so that no step outlives the daemons."""
    user = getpass.getuser()
    for how in ([], ["--signal=KILL", "--full"]):
        subprocess.run(["scancel", *how, "--user", user], env=env, check=False, timeout=20, capture_output=True)
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not output(env, "squeue", "-h"), 15)


def output(env: dict[str, str], *command: str) -> str:
    """What a client prints; nothing where it fails."""
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=20).stdout.strip()


def wait_until(
    condition: Callable[[], object], seconds: float, said: Callable[[], str] = str, every_s: float = 0.1
) -> None:
    """Ask until it is so; TimeoutError where it does not come."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds:g} s {said()}")
        time.sleep(every_s)


def logs(folder: Path) -> str:
    """The ends of the daemons' logs."""
    return "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in sorted(folder.glob("*.log")))


def free_ports(count: int) -> list[int]:
    """Ports of this host that nothing listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOCALHOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
