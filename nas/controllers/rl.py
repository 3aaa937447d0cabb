"""The RL controller: a learned policy draws, a reward model says what of it to try, and rewards train both.

A draw is fresh, or (``edits`` of them, once there is something to edit) one of the best trials with a decision or a few
drawn again: the policy decides those, given what is kept, and its recorded log-probability is of those alone (as in
Evo-NAS, Maziarz et al. 2018). A number may move a little instead, which counts as kept. From the ``warmup`` on,
proposals are what the reward model finds most promising in a pool of such draws, less what they will take where the
search ends by time (see imagination.py, cost_model.py); where it has nothing to say, they are the policy's next draws.
What was proposed before is drawn again, fresh draws with a higher exploration floor up to the prior itself, edits with
one more decision.

Constraints are seen as masks: heads are masked and renormalised when a candidate is drawn, and again when its trial is
learned from (masks follow from the decisions, so they need not be recorded). What was rejected in the end is forgotten.

Every ``update_every`` trials told, after the first ``warmup``, the policy takes ``steps`` Adam steps (more seldom when
there are many trials, told or running: imagination.interval) on

    - mean_window  min(r A, clip(r, 1 - c, 1 + c) A)       clipped policy gradient (Schulman et al. 2017, eq. 7)
    - w_replay * mean_elite  log policy                    priority queue training (Abolafia et al. 2018)

r is the ratio of a trial's probability now to the one recorded when it was drawn, both under the mixture with the prior
that draws proposals: rewards may come late and out of order, and a stale trial's pull is clipped. (That a proposal was
then chosen from a pool is not in its probability: the gradient is of the policy's draws, not of the choice.) A is the
trial's rank among all told (failures last, ties shared), less a moving average of ranks, so the scale of rewards does
not matter.
The elite are the best distinct candidates so far; replay counts each by how far its rank is above the middle, so a
constant reward teaches nothing. With several objectives all of this, and the reward model, goes by what a preference of
the moment says (see preferences.py), and the elite are the best by it of an archive of fronts.

Under a scheduler rewards are of several lengths of training: all of this goes by levels then (see fidelity.py), and a
trial that went on is told again, in its own place; it is not one trial more.

What an earlier run found out teaches the reward model (imagination.py), and its best candidates stand for the best
trials until the warm-up is over: they are edited, and are in the pool themselves, as not even the same candidate need
be worth here what it was worth there. The policy learns from this run alone.

Learning is a function of the sequence of tells: counts decide when, one torch thread and derived seeds decide the bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import orjson
import torch

from nas.controllers import Lessons
from nas.controllers.bins import moved
from nas.controllers.fidelity import Curve, Levels
from nas.controllers.imagination import Imagination, Sketch, interval
from nas.controllers.policy import Drawn, Masks, Policy
from nas.controllers.preferences import Preferences
from nas.controllers.proposals import FROM_PRIOR, REDRAWS, Rejections, best, nothing_new, redraw_seed, to_proposal
from nas.controllers.settings import RLSettings
from nas.controllers.threads import one_thread
from nas.errors import NasError
from nas.pareto import Vector
from nas.records import CandidateFailure, Exhausted, Proposal, Reward
from nas.seeds import derive
from nas.space import Draw, Space

FLOOR_AT_MOST = 0.25  # of the first draw, however few the decisions
FLOOR_RAISED = 1e-3  # what is doubled where the first draw's is less: ``floor: 0`` would else draw repeats for ever
RAISED_AFTER = 4  # repeats drawn, before the exploration floor is doubled or one more decision edited
PARENTS = 3  # the best trials that are edited
ANOTHER_EDIT = 0.5  # the chance to edit one decision more, again and again
MOVES = 0.5  # the chance that a number to be edited moves from where it is, by a step ...
STEPS = (0.1, 0.05, 0.025, 0.0125)  # ... normal with one of these deviations, in parts of its range
EDIT_FLOOR = 0.6  # exploration floor of an edit: what is drawn again should mostly become something else
PRIOR_DRAWS = 64  # to learn how many decisions a candidate has, on average
BASELINE_DECAY = 0.9  # per update
ADAM = (0.9, 0.999, 1e-8)
FORMAT = 6


@dataclass(frozen=True, slots=True)
class Told:
    """A trial and its reward; None is a failure, worse than any number."""

    number: int
    hash: str
    decisions: Mapping[str, int | float]
    steps: Sequence[tuple[int, int]]  # the same as (decision, bin)
    drawn: Sequence[bool]  # for each step, whether the policy decided it; the others were kept from a parent
    log_mixture: float | None  # of those at ask time, without densities; None where the policy did not draw it
    floor: float
    vector: tuple[float, ...] | None  # where it was trained for less than others may be, its level (see fidelity.py)
    masks: Masks = ()  # what constraints had ruled out when it was drawn
    curve: Curve = ()  # under a scheduler, what its level is made of


@dataclass(frozen=True, slots=True)
class Parent:
    """One of the best trials, to be edited."""

    run: str  # "parent": of this run, "taught": of the earlier one; the key in a proposal's notes
    number: int
    decisions: Mapping[str, int | float]


class RLController:
    def __init__(self, settings: RLSettings, space: Space, seed: int, objectives: int = 1) -> None:
        self._settings = settings
        self._space = space
        self._seed = seed
        with one_thread():
            self._policy = Policy(space, settings.hidden, derive(seed, "policy"))
        unpriced = replace(space, costs=None)
        draws = [unpriced.prior(Random(derive(seed, "length", i))) for i in range(PRIOR_DRAWS)]
        length = max(1.0, sum(len(draw.decisions) for draw in draws) / PRIOR_DRAWS)
        self._floor = min(FLOOR_AT_MOST, settings.floor / length)
        self._known: dict[str, None] = {}  # hashes proposed, in that order: a set has none that could be saved
        self._count = 0  # trials told
        self._window: deque[Told] = deque(maxlen=settings.window)
        self._preferences = Preferences(seed, objectives)
        self._levels = Levels()
        self._archive: list[Told] = []  # of distinct hashes, what the elite are chosen from
        self._elite: list[Told] = []  # best first
        self._taught: list[Parent] = []  # the best of an earlier run, likewise
        self._baseline = 0.0
        self._updates = 0
        self._steps = 0  # Adam's
        self._moments = torch.zeros(2, len(self._policy.theta))
        self._imagination = Imagination(space, seed, draws, settings.pool, self._preferences, objectives)

    # The protocol ----------------------------------------------------------------------------------------------------

    def ask(self, number: int) -> Proposal | Exhausted:
        rejections = Rejections(self._space)
        for imagined in self._imagination.queue:
            draw = self._space.replay(imagined.decisions)
            if not rejections.takes(draw) and not draw.invalid and draw.candidate.hash not in self._known:
                return to_proposal(
                    number,
                    draw,
                    log_probability=imagined.log_probability,
                    policy=imagined.policy,
                    notes=imagined.notes,
                    rejected=len(rejections),
                )
        repeat: Draw | None = None
        repeats = 0
        for redraw in range(REDRAWS + 1):
            rng = Random(redraw_seed(self._seed, number, redraw))
            drawn, notes = self._drawn(rng, repeats, len(rejections))
            if rejections.takes(drawn.draw):
                continue
            if drawn.draw.candidate.hash not in self._known:
                return to_proposal(
                    number,
                    drawn.draw,
                    log_probability=drawn.log_probability,
                    policy=self._updates,
                    notes=notes,
                    rejected=len(rejections),
                )
            repeat, repeats = drawn.draw, repeats + 1
        if repeat is None:
            return rejections.exhausted()
        found = nothing_new(self._space, self._known, repeat)
        if isinstance(found, Exhausted):
            return found
        return to_proposal(number, found, policy=self._updates, rejected=len(rejections))

    def _drawn(self, rng: Random, repeats: int, rejected: int) -> tuple[Drawn, dict[str, Any]]:
        if rejected >= FROM_PRIOR:
            return self._policy.draw(rng, 1.0), {"floor": 1.0}
        return self._edit(rng, repeats) if self._edits(rng) else self._fresh(rng, repeats)

    def _edits(self, rng: Random) -> bool:
        return bool(self._parents()) and rng.random() < self._settings.edits

    def _parents(self) -> list[Parent]:
        """What is edited: until the warm-up is over what was taught, if anything was, then the best told."""
        if self._count < self._settings.warmup:
            return self._taught[:PARENTS]
        return [Parent("parent", told.number, told.decisions) for told in self._elite[:PARENTS]]

    def _fresh(self, rng: Random, repeats: int) -> tuple[Drawn, dict[str, Any]]:
        floor = self._raised(repeats // RAISED_AFTER)
        return self._policy.draw(rng, floor), {"floor": floor}

    def _raised(self, times: int) -> float:
        """The exploration floor of a fresh draw, doubled so often."""
        return min(1.0, max(self._floor, FLOOR_RAISED) * 2.0**times) if times else self._floor

    def _edit(self, rng: Random, repeats: int) -> tuple[Drawn, dict[str, Any]]:
        """One of the best with a decision, or a few, drawn again; what thereby becomes active is drawn, too."""
        parents = self._parents()
        parent = parents[rng.randrange(len(parents))]
        kept = self._kept(parent, np.random.default_rng(rng.randrange(2**63)), repeats // RAISED_AFTER)
        drawn = self._policy.draw(rng, EDIT_FLOOR, kept)
        return drawn, {"floor": EDIT_FLOOR, parent.run: parent.number, "drawn": list(drawn.drawn)}

    def _sketches(self, rng: np.random.Generator, count: int, raised: int) -> list[Sketch]:
        """Many draws at once, fresh ones and edits, for the reward model to choose from.

        ``raised``: how often the floor of a fresh draw is doubled, and one decision more edited, as for repeats.
        """
        edited = self._parents()
        shares = (rng.random(count) < self._settings.edits) & bool(edited)
        parents = [edited[int(rng.integers(len(edited)))] if edit else None for edit in shares]
        kept = [self._kept(parent, rng, raised) if parent else {} for parent in parents]
        if self._count < self._settings.warmup:  # and those that were taught, as they are
            shares = np.append(shares, [True] * len(self._taught))
            parents += self._taught
            kept += [dict(parent.decisions) for parent in self._taught]
        floors = np.where(shares, EDIT_FLOOR, self._raised(raised))
        many = self._policy.draw_many(rng, floors, kept)
        found: list[Sketch] = []
        for row, parent in enumerate(parents):
            notes: dict[str, Any] = {"floor": float(floors[row])}
            decisions = many.batch.row(row)
            if parent:
                drawn = [path for path in decisions if many.drawn[path][row]]
                notes |= {parent.run: parent.number, "drawn": drawn}
            found.append(Sketch(decisions, float(many.log_probability[row]), notes))
        return found

    def _kept(self, parent: Parent, rng: np.random.Generator, raised: int) -> dict[str, int | float]:
        """All but one decision or some, which the policy is to draw again; numbers among these may move a little."""
        paths = list(parent.decisions)
        count = min(int(rng.geometric(1.0 - ANOTHER_EDIT)) + raised, len(paths))
        again = [paths[at] for at in rng.choice(len(paths), count, replace=False)]
        kept = {path: value for path, value in parent.decisions.items() if path not in again}
        for path in again:
            decision = self._space.numbers.get(path)
            if decision and rng.random() < MOVES:
                step = rng.normal(0.0, rng.choice(STEPS))
                kept[path] = moved(decision, parent.decisions[path], step)
        return kept

    def teach(self, lessons: Lessons) -> None:
        self._taught = [
            Parent("taught", lesson.trial, dict(lesson.decisions))
            for lesson, _ in best(lessons)[: self._settings.elite]
        ]
        self._imagination.teach(lessons)
        if self._taught and self._space.decisions and self._settings.pool:
            with one_thread():
                self._imagination.think(self._sketches, 0, self._updates, 1)

    def began(self, proposal: Proposal) -> None:
        self._known[proposal.hash] = None
        self._imagination.began(proposal)

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        policy, decisions = self._policy, dict(proposal.decisions)
        decided = proposal.notes.get("drawn", decisions)
        log_mixture = None
        if proposal.log_probability is not None:
            log_mixture = proposal.log_probability - policy.density_of(decisions, decided)
        curve, vector = self._levelled(result)
        told = Told(
            number=proposal.number,
            hash=proposal.hash,
            decisions=decisions,
            steps=policy.encoded(decisions),
            drawn=[path in decided for path in decisions],
            log_mixture=log_mixture,
            floor=float(proposal.notes.get("floor", 1.0)),
            vector=vector,
            masks=policy.masks(decisions),
            curve=curve,
        )
        if result.again:
            self._remember_instead(told)
            self._imagination.told_again(proposal, vector, curve)
            return
        self._remember(told)
        self._imagination.told(proposal, vector, curve, result.seconds if isinstance(result, Reward) else None)
        settings, past_warmup = self._settings, self._count - self._settings.warmup
        if (past_warmup < 0 and not self._taught) or not self._space.decisions:
            return
        until = interval(self._count, max(0, len(self._known) - self._count))
        thinks = self._count % until == 0
        learns = thinks if until > 1 else past_warmup >= 0 and past_warmup % settings.update_every == 0
        if learns or thinks:
            self._relevel()
            self._preferences.renew(self._count)
            self._elite = self._preferences.best(self._archive, settings.elite)
        with one_thread():
            if learns and settings.steps:
                self._update()
            if thinks and settings.pool:
                self._imagination.think(self._sketches, self._count, self._updates, until)

    def _levelled(self, result: Reward | CandidateFailure) -> tuple[Curve, Vector | None]:
        if isinstance(result, CandidateFailure):
            return (), None
        if not result.curve:
            return (), result.vector
        self._levels.add(result.curve, again=result.again)
        return result.curve, self._levels.of(result.curve)

    def _relevel(self) -> None:
        """Levels change with each trial that reaches a rung."""

        def now(one: Told) -> Told:
            return replace(one, vector=self._levels.of(one.curve)) if len(one.curve) > 1 else one

        self._window = deque(map(now, self._window), self._settings.window)
        self._archive = [now(one) for one in self._archive]
        self._imagination.relevel(self._levels)

    def _remember(self, told: Told) -> None:
        self._count += 1
        self._window.append(told)
        self._preferences.told(told.curve[0][1] if told.curve else told.vector)
        self._keep(told)

    def _remember_instead(self, told: Told) -> None:
        """A trial told before, which went on; what it was worth at its first rung stands among the others' still."""
        self._window = deque(
            (told if one.number == told.number else one for one in self._window), self._settings.window
        )
        if told.vector is None:
            self._preferences.told(None)
        self._archive = [other for other in self._archive if other.hash != told.hash]
        self._elite = [other for other in self._elite if other.hash != told.hash]
        self._keep(told)

    def _keep(self, told: Told) -> None:
        if told.vector is not None and all(told.hash != other.hash for other in self._archive):
            kept = self._settings.elite * self._preferences.wishes
            self._archive = self._preferences.lasting([*self._archive, told], kept)
            self._elite = self._preferences.best(self._archive, self._settings.elite)

    # Learning --------------------------------------------------------------------------------------------------------

    def _update(self) -> None:
        settings, policy = self._settings, self._policy
        window = [told for told in self._window if told.log_mixture is not None]
        trials = [*window, *self._elite]
        ranks = np.array([self._preferences.standing(told.vector) for told in trials], np.float32)
        in_window = torch.arange(len(trials)) < len(window)
        if window:
            mean = float(ranks[: len(window)].mean())
            self._baseline = (
                mean if not self._updates else (BASELINE_DECAY * self._baseline + (1 - BASELINE_DECAY) * mean)
            )
        rank = torch.from_numpy(ranks)
        advantage = torch.where(in_window, rank - self._baseline, 0.0) / max(1, len(window))
        replay = torch.where(in_window, 0.0, rank.clamp(min=0.0)) / max(1, len(self._elite))
        before = torch.tensor([told.log_mixture or 0.0 for told in trials])
        floor = torch.tensor([told.floor for told in trials])
        replayed = [(told.steps, [True] * len(told.steps), told.masks) for told in self._elite]
        batch = policy.sequences([*((told.steps, told.drawn, told.masks) for told in window), *replayed])
        for _ in range(settings.steps):
            theta = policy.theta.requires_grad_()
            scores = policy.score(theta, batch, floor)
            ratio = (scores.log_mixture - before).clamp(-20.0, 20.0).exp()
            clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
            gain = torch.minimum(ratio * advantage, clipped * advantage).sum()
            likelihood = (scores.log_policy * replay).sum()
            loss = -gain - settings.replay_weight * likelihood
            (gradient,) = torch.autograd.grad(loss, theta)
            policy.theta = self._adam(theta.detach(), gradient)
        policy.refresh()
        self._updates += 1

    def _adam(self, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """One step of Kingma & Ba 2015, algorithm 1."""
        beta1, beta2, epsilon = ADAM
        self._steps += 1
        self._moments[0].lerp_(gradient, 1 - beta1)
        self._moments[1].lerp_(gradient**2, 1 - beta2)
        mean = self._moments[0] / (1 - beta1**self._steps)
        scale = (self._moments[1] / (1 - beta2**self._steps)).sqrt() + epsilon
        return theta - self._settings.learning_rate * mean / scale

    # Snapshot --------------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """One line of JSON, then the parameters and Adam's two moments as little-endian float32."""
        header = {
            "format": FORMAT,
            "parameters": len(self._policy.theta),
            "known": list(self._known),
            "count": self._count,
            "preferences": self._preferences.save(),
            "levels": self._levels.save(),
            "window": list(self._window),
            "archive": self._archive,
            "taught": self._taught,
            "baseline": self._baseline,
            "updates": self._updates,
            "steps": self._steps,
            "imagination": self._imagination.save(),
        }
        arrays = [self._policy.theta.detach(), *self._moments]
        return orjson.dumps(header) + b"\n" + b"".join(array.numpy().astype("<f4").tobytes() for array in arrays)

    def load(self, state: bytes) -> None:
        head, _, body = state.partition(b"\n")
        data: dict[str, Any] = orjson.loads(head)
        if data["format"] != FORMAT or data["parameters"] != len(self._policy.theta):
            raise NasError("the snapshot is of another version or space; replay the journal instead")
        self._known = dict.fromkeys(data["known"])
        self._count = data["count"]
        self._preferences.load(data["preferences"])
        self._levels.load(data["levels"])
        self._window = deque((Told(**told) for told in data["window"]), self._settings.window)
        self._archive = [Told(**told) for told in data["archive"]]
        self._elite = self._preferences.best(self._archive, self._settings.elite)
        self._taught = [Parent(**taught) for taught in data["taught"]]
        self._baseline, self._updates, self._steps = data["baseline"], data["updates"], data["steps"]
        self._imagination.load(data["imagination"])
        arrays = torch.from_numpy(np.frombuffer(body, "<f4").astype(np.float32).reshape(3, -1))
        self._policy.theta, self._moments = arrays[0].clone(), arrays[1:].clone()
        self._policy.refresh()
