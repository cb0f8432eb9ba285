"""Several processes for one run: started here, or by a cluster on one machine or several.

Every further rank starts from the frozen config of the run's folder, never from the command line, with which the ranks of a
sweep would train different configs.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig, OmegaConf

from speechml import __version__
from speechml.children import start_worker
from speechml.config.compose import resolve_config
from speechml.contracts import Config
from speechml.engine.distributed import RankInfo
from speechml.engine.fit import fit_and_test
from speechml.engine.parts import build_data, build_parts
from speechml.engine.saving import NOTHING, SAVE
from speechml.engine.signals import Stop, Stopped
from speechml.errors import UserError, echo, machine_failure
from speechml.process import SIGNALS, gather_from_ranks, in_group, prepare_process
from speechml.runs.card import load_card

if TYPE_CHECKING:
    from torch.distributed import TCPStore

Ranks = list[subprocess.Popen[bytes]]
LOST = ("onnection", "Broken pipe", "aborted")  # in what gloo and NCCL say of a rank that is no longer there
GRACE_S = 20.0  # that a rank gets to notice by itself that another has ended
PATIENCE_S = 1800.0  # that a rank waits for word of the first one, which may be packing the data; torch's own limit
STORE_OFFSET = 10000  # how far above the port of process groups our store listens
_store: TCPStore | None = None  # where rank 0 says what the others are to do; for all runs of a process
# How often this process has worked on each run, as all ranks have: none reads old news.
_sessions: Counter[str] = Counter()


@contextmanager
def other_ranks(info: RankInfo | None, count: int, folder: Path, checkpoint: Path | None) -> Iterator[None]:
    """Inside, the other ranks train a run with this one, the first; without `info`, of a cluster, they are started here.

    Raises:
        UserError: another rank has ended.
    """
    ranks: Ranks = []
    with restored_environment():
        if info:
            _announce(folder.name, folder, checkpoint)
        else:
            ranks = _start_ranks(count, [str(path.absolute()) for path in (folder, checkpoint) if path])
        ended = threading.Event()
        threading.Thread(target=_watch, args=(ranks, ended), daemon=True).start()
        try:
            yield
        except UserError:  # every rank is refused alike
            raise
        except Exception as error:
            deadline = time.monotonic() + 2  # its connection ends before its process
            while ranks and not any(process.poll() for process in ranks) and time.monotonic() < deadline:
                time.sleep(0.05)
            codes = [process.poll() for process in ranks]
            if not any(codes) and not is_lost_connection(error):
                raise
            why = f"exit codes {codes}; -9 is kill -9, or no memory left" if ranks else ""
            fix = "the same command goes on from the last checkpoint"
            raise UserError(f"{folder}: one of the other ranks has ended", why, fix) from error
        finally:
            ended.set()
            leave_group(ranks)


@contextmanager
def restored_environment() -> Iterator[None]:
    """Inside, the environment may be changed: the next run of a sweep starts clean."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _export(info: RankInfo) -> None:
    """Say in the environment what Lightning looks for; it then starts no processes, with the command line, itself."""
    os.environ.update(
        MASTER_ADDR=info.address, MASTER_PORT=str(info.port), NODE_RANK=str(info.node),
        LOCAL_RANK=str(info.local_rank), WORLD_SIZE=str(info.world),
    )  # fmt: skip


def _start_ranks(count: int, words: list[str]) -> Ranks:
    """Start the further ranks of a run on this machine, from its folder and perhaps a checkpoint."""
    _export(RankInfo(0, count, 0, 0, "127.0.0.1", find_free_network_port()))
    return [start_worker("rank", *words, env={**os.environ, "LOCAL_RANK": str(rank)}) for rank in range(1, count)]


def _watch(ranks: Ranks, ended: threading.Event) -> None:
    """End this process too where another rank has failed and the wait for it would never end.

    Lightning's own observer kills this process five seconds after another ended, a sweep with it.
    """
    while not ended.wait(0.2):
        if any(process.poll() for process in ranks):
            if not ended.wait(GRACE_S):
                codes = [process.poll() for process in ranks]
                echo(f"error: a rank has failed (exit codes of the others: {codes}); the run ends", file=sys.stderr)
                for process in ranks:
                    process.kill()
                os._exit(1)
            return


def is_lost_connection(error: Exception) -> bool:
    """Whether an error is of a connection, closed or reset by a rank that has ended; torch has no type for it."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in LOST)


def leave_group(ranks: Ranks) -> None:
    """End the process group and the other ranks."""
    if in_group():
        dist.destroy_process_group()
    for process in ranks:
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def leader_session(info: RankInfo, run: str) -> Iterator[None]:
    """Inside, rank 0 of a cluster works on a run; afterwards the others stop waiting, should they not have been needed."""
    _sessions[run] += 1
    with restored_environment():
        _export(info)
        _open_store(info)
        try:
            yield
        finally:
            _announce(run)


def _open_store(info: RankInfo) -> TCPStore:
    """The store that rank 0 keeps, and the others read. Raises UserError where it cannot be kept, or reached."""
    global _store
    if _store is None:
        from torch.distributed import TCPStore

        port = info.port + STORE_OFFSET if info.port + STORE_OFFSET < 65536 else info.port - STORE_OFFSET
        try:
            _store = TCPStore(
                info.address, port, is_master=info.rank == 0, timeout=timedelta(seconds=PATIENCE_S),
                wait_for_workers=False,
            )  # fmt: skip
        except RuntimeError as error:  # of torch, as all that its stores raise
            raise UserError(
                f"rank {info.rank} cannot reach rank 0 at {info.address}:{port}", why=str(error).splitlines()[0],
                fix="set MASTER_ADDR to its address, and MASTER_PORT to a port that is free there",
            ) from error  # fmt: skip
    return _store


def _announce(run: str, folder: Path | None = None, checkpoint: Path | None = None) -> None:
    """Tell the other ranks of a cluster to train a run, from a checkpoint or from the beginning; without a folder: nothing."""
    if _store is not None:
        _store.set(
            f"{run} {_sessions[run]}", json.dumps([str(path.absolute()) for path in (folder, checkpoint) if path])
        )


def follow(info: RankInfo, run: str) -> None:
    """Be one of the ranks that a cluster has started for a run, but the first, as long as that one wants it.

    Whatever this rank is refused or loses, rank 0 is as well, and says so; its exit code counts.
    """
    _sessions[run] += 1
    key = f"{run} {_sessions[run]}"
    with restored_environment():
        _export(info)
        deadline = time.monotonic() + PATIENCE_S
        try:
            store = _open_store(info)
            while not store.check([key]):
                if time.monotonic() > deadline:
                    return
                time.sleep(0.1)
            places = json.loads(store.get(key))
        except (RuntimeError, UserError):  # rank 0 has ended, and has said why
            return
        try:
            if places:
                train_rank(*map(Path, places))
        finally:
            leave_group([])


def train_rank(folder: Path, checkpoint: Path | None = None) -> int:
    """Be one further rank of the run in `folder`; the exit code. Whatever it is refused, rank 0 is as well, and says so."""
    frozen = OmegaConf.load(folder / "config.yaml")
    assert isinstance(frozen, DictConfig)
    config = resolve_config(frozen)
    prepare_process(config["threads"])
    try:
        stop = Stop()
        with stop.listening():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            parts, card = build_parts(config, build_data(config), folder, stop=stop), load_card(folder)
            assert card, folder  # rank 0 has written it
            fit_and_test(parts, folder, checkpoint, card)
    except Stopped:
        return 0  # as all ranks
    except UserError:
        return 2
    except OSError as error:  # of this rank alone
        if not (failure := machine_failure(error)):
            raise
        echo(f"error: rank {os.environ.get('LOCAL_RANK')}: {failure}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if is_lost_connection(error):  # to a rank that has ended, which says why
            return 1
        raise
    return 0


def check_same_config(config: Config) -> None:
    """Raises UserError, on every rank, where one has another config than rank 0; before the first step."""
    text = json.dumps([__version__, str(torch.__version__), config], sort_keys=True, default=str)
    first, *others = gather_from_ranks(hashlib.sha256(text.encode()).hexdigest()[:10])
    for rank, other in enumerate(others, 1):
        if other != first:
            raise UserError(
                f"rank {rank} has config {other} and rank 0 has {first}",
                why="hashes, versions of speechml and torch included",
                fix="they would train different networks: start all from one folder and one installation",
            )


class Agreement:
    """What ranks do before a step, the same on all: the greatest of what they wished one step earlier.

    The wishes travel while the step is computed, so nobody waits for them. To be made by every rank once their group stands.
    """

    def __init__(self) -> None:
        group = dist.new_group(backend="gloo")  # of the CPU, whatever the gradients travel by
        assert isinstance(group, dist.ProcessGroup)  # every rank is a member
        self.group = group
        self.pending: tuple[torch.Tensor, dist.Work] | None = None

    def reach(self, wish: int) -> int:
        """What all ranks do now; `wish` is what this one would do."""
        agreed = self.close()
        # What is done now need not be wished for the next step as well.
        value = torch.tensor(NOTHING if agreed == wish == SAVE else wish)
        work = dist.all_reduce(value, dist.ReduceOp.MAX, group=self.group, async_op=True)
        self.pending = (value, work) if work else None
        return agreed

    def close(self) -> int:
        """Wait for what is under way."""
        if self.pending is None:
            return NOTHING
        value, work = self.pending
        self.pending = None
        work.wait()
        return int(value)
