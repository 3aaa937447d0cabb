"""An objective that does what its candidate says."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from stepwise import stepwise

from nas.errors import InvalidCandidate, OutOfMemory
from nas.objective import Context
from nas.space import Candidate


def behave(candidate: Candidate, context: Context) -> float | Mapping[str, float]:
    settings = candidate.hyperparameters
    do = settings["do"]
    if "marker" in settings:  # proof that it ran, and where
        with Path(settings["marker"]).open("a") as marker:
            marker.write(f"{os.getpid()}\n")
    for facts in settings.get("notes", ()):
        context.note(**facts)
    match do:
        case "raise":
            raise ArithmeticError("no such number")
        case "invalid":
            raise InvalidCandidate("a kernel larger than its image")
        case "nan":
            return {"accuracy": float("nan"), "loss": 1.0}
        case "leave":
            sys.exit(3)
        case "_exit":
            os._exit(4)
        case "fault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "fill memory":
            kept = []
            while True:
                kept.append(b"x" * (10 << 20))
        case "sleep":
            time.sleep(60)
        case "start a process and sleep":
            with subprocess.Popen(["sleep", "60"]) as process:
                Path(settings["pids"]).write_text(str(process.pid))
                time.sleep(60)
        case "meet" | "meet and look around":  # returns when all that are to meet are there at once
            place = Path(settings["place"])
            place.mkdir(exist_ok=True)
            (place / str(context.trial)).touch()
            until = time.monotonic() + 20
            while len(list(place.iterdir())) < settings["guests"]:
                if time.monotonic() > until:
                    raise TimeoutError("nobody came")
                time.sleep(0.02)
            if do != "meet":
                look_around(context)
        case "out of memory":
            raise OutOfMemory("CUDA out of memory")
        case "alone or out of memory":  # the first waits for another, so that two of them do meet
            place, met = Path(settings["place"]), Path(settings["place"] + "-met")
            place.mkdir(exist_ok=True)
            mine = place / str(context.trial)
            mine.touch()
            look = time.monotonic()
            while time.monotonic() < look + (0.3 if met.exists() else 20.0):
                if len(list(place.iterdir())) > 1:
                    met.touch()
                    time.sleep(0.1)  # for the other to see it as well
                    mine.unlink()
                    raise OutOfMemory("CUDA out of memory")
                time.sleep(0.02)
            mine.unlink()
        case "need":
            return {"value": 1.0, "peak_memory": settings["bytes"]}
        case "count to nine":  # from where an earlier attempt stopped
            trained: list[int] = []

            def train_one(step: int) -> None:
                trained.append(step)
                time.sleep(settings.get("pause", 0.0))

            return {"step": stepwise(context, 9, meanwhile=train_one)[0], "trained": len(trained)}
        case "report until stopped":
            step = 1
            while not context.report(step, {"accuracy": 0.5}):
                step += 1
                time.sleep(0.01)
            return {"step": step}
        case "report":
            for step in range(1, 6):
                context.report(step, {"accuracy": step / 10, "loss": float("inf")})
        case "note a function":
            context.note(reason=print)
        case "note of a class that nobody else has":  # JSON takes it; its pickle loads in this process alone
            context.notes["size"] = class_of_this_process_alone()(width=3)
        case "name a file in Latin-1":
            Path(os.fsdecode("/no/such/caf\xe9".encode("latin-1"))).stat()
        case "print":
            print("to standard output", flush=False)
            os.system("echo to the shell; echo to standard error >&2")
            print("last words", file=sys.stderr)
        case "look around":
            look_around(context)
        case "train":
            return train(context)
        case "draw":
            return {"draw": random.random()}
        case "keep memory":
            KEPT.append(b"x" * settings["bytes"])
    return 1.0


behave.resumable = True  # those that count are


def class_of_this_process_alone() -> type:
    module = sys.modules["made_here"] = ModuleType("made_here")
    exec("from dataclasses import dataclass\n@dataclass\nclass Size:\n    width: int", module.__dict__)
    size: type = module.Size
    return size


KEPT: list[bytes] = []


def look_around(context: Context) -> None:
    names = ("OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "CUDA_VISIBLE_DEVICES")
    context.note(environment={name: os.environ.get(name) for name in names})
    context.note(device=context.device, threads=context.threads, memory=context.memory, halve=context.halve)


def train(context: Context) -> dict[str, float]:
    """Some steps of a small convolutional network, from the context's seed."""
    import torch
    from torch.nn import functional as F

    torch.manual_seed(context.seed)
    torch.set_num_threads(context.threads)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 10)
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    images, labels = torch.randn(256, 1, 8, 8), torch.randint(0, 10, (256,))
    for _ in range(10):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"loss": float(loss), "weights": float(sum(p.double().sum() for p in network.parameters()))}
