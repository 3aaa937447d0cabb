"""A space: what may be proposed. Read once, walked by everybody."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nas.documents import Document, copied, plain
from nas.errors import InputError, InvalidCandidate
from nas.space.candidate import Candidate
from nas.space.constraints import Constraint, Costs, Masks, masks
from nas.space.count import Count, count
from nas.space.decisions import Decision, Index, Integer, Real, draw_prior
from nas.space.partial import Known
from nas.space.tree import Choose, Node, Walk, all_decisions

if TYPE_CHECKING:
    import numpy as np

    from nas.space.batch import Batch, ChooseMany
    from nas.space.grammar.settings import KnownLayer, KnownSection

REDRAWS = 1_000  # of a draw that violates a constraint, before the space counts as exhausted


@dataclass(frozen=True, slots=True)
class Draw:
    """One way through a space: the decisions that were active, in the order drawn, and what they make."""

    decisions: dict[str, int | float]
    candidate: Candidate
    invalid: str = ""  # why the candidate cannot be trained; "" where nothing is known against it
    violated: str = ""  # the first constraint that it violates (blame.py: all): such a draw must not be proposed
    costs: Mapping[str, float] = field(
        default_factory=dict
    )  # where they are known, and neither of the above is the case


@dataclass(frozen=True, eq=False)
class Space:
    """See ``Space.read``. Immutable; ``source`` and ``task`` are what a journal records, and read back give the same.

    >>> space = Space.read({"hyperparameters": {"rate": {"choice": [0.1, 0.01]}}})
    >>> space.replay({"hyperparameters.rate": 1}).candidate.hyperparameters
    {'rate': 0.01}
    """

    name: str
    source: dict[str, Any] = field(repr=False)
    task: dict[str, int | float | str] = field(repr=False)
    architecture: Node | None = field(repr=False)
    hyperparameters: Node = field(repr=False)
    constraints: tuple[Constraint, ...] = field(default=(), repr=False)
    costs: Costs | None = field(default=None, repr=False)
    start: tuple[Mapping[str, int | float], ...] = field(default=(), repr=False)  # what is tried first: decisions

    @staticmethod
    def read(
        document: Document | Mapping[str, Any],
        task: Mapping[str, int | float | str] | None = None,
        *,
        layers: Mapping[str, KnownLayer] | None = None,
        hyperparameters: KnownSection | None = None,
        costs: Costs | None = None,
    ) -> Space:
        """Read a space; ``task`` are the values of ``=task.*``, ``layers`` those to allow (None: any), and
        ``hyperparameters`` what is known of those that are trained with (None: nothing).

        With ``costs`` a walk also finds out what each candidate costs and whether it can be built at all. Without
        them, constraints over costs are read and not judged.

        Raises:
            InputError: with every problem of the document, at its place.
        """
        from nas.space.grammar.read import read_space
        from nas.space.grammar.settings import with_usual_ranges
        from nas.space.grammar.start import read_start

        if not isinstance(document, Document):
            document = plain(document)
        if hyperparameters is not None:
            document = replace(document, data=with_usual_ranges(document.data, hyperparameters))
        priced = None if costs is None else costs.names
        name, architecture, others, constraints = read_space(document, task or {}, layers, hyperparameters, priced)
        source = copied(document.data)
        space = Space(name, source, dict(task or {}), architecture, others, constraints, costs)
        return replace(space, start=read_start(document, space)) if "start" in source else space

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision that can ever be active, in document order, repetitions unfolded."""
        return tuple(all_decisions(self._roots))

    @property
    def _roots(self) -> list[Node]:
        return [self.hyperparameters] if self.architecture is None else [self.architecture, self.hyperparameters]

    @cached_property
    def by_path(self) -> Mapping[str, Decision]:
        return {decision.path: decision for decision in self.decisions}

    @cached_property
    def numbers(self) -> Mapping[str, Integer | Real]:
        """Decisions that are numbers, of more than one value."""
        return {one.path: one for one in self.decisions if not isinstance(one, Index) and one.high > one.low}

    @cached_property
    def _masks(self) -> Masks | None:
        return masks(self.constraints)

    def walk(self, choose: Choose, *, masked: bool = True) -> Draw:
        """Ask ``choose`` for each decision as it becomes active, in order; values outside a domain raise ValueError.

        Where the space has constraints, ``choose`` is handed a *view* of a decision: without the values that can only
        lead to a violation, given what was drawn before (``allowed`` of an Index, narrower bounds of the others). A
        value that the view leaves out raises ValueError; ``masked=False`` asks for the whole decisions. What no view
        can rule out is found in the end: see ``Draw.violated``.
        """
        walk = Walk(choose, self._masks.view if masked and self._masks else None)
        architecture = None if self.architecture is None else self.architecture.value(walk)
        hyperparameters = self.hyperparameters.value(walk)
        return self._judged(Draw(walk.decisions, Candidate(architecture, hyperparameters), walk.invalid))

    def _judged(self, draw: Draw) -> Draw:
        """With the constraint that it violates, why it cannot be trained, its costs. Cheap questions first.

        What cannot be built has no costs, and violates a constraint over them, as any constraint is violated that
        cannot be computed: else a constraint that few satisfy would leave mostly candidates that cannot be built.
        """
        known = Known(draw.decisions)
        for constraint in self.constraints:
            if not constraint.costs and not constraint.holds(known):
                return replace(draw, violated=constraint.text)
        if self.costs is None:
            return draw
        over_costs = [constraint for constraint in self.constraints if constraint.costs]
        try:
            known.costs = {} if draw.invalid else self.costs.of(draw.candidate)
        except InvalidCandidate as error:
            draw = replace(draw, invalid=str(error))
        if draw.invalid:
            return replace(draw, violated=over_costs[0].text) if over_costs else draw
        violated = next((constraint.text for constraint in over_costs if not constraint.holds(known)), "")
        return replace(draw, violated=violated, costs=known.costs)

    def views(self, decisions: Mapping[str, int | float]) -> dict[str, Decision]:
        """Of these decisions, replayed, the views that were smaller than the decision itself."""
        if self._masks is None:
            return {}
        narrowed: dict[str, Decision] = {}

        def choose(decision: Decision) -> int | float:
            if decision is not self.by_path[decision.path]:
                narrowed[decision.path] = decision
            return decisions[decision.path]

        walk = Walk(choose, self._masks.view)
        for root in self._roots:
            root.value(walk)
        return narrowed

    def replay(self, decisions: Mapping[str, int | float]) -> Draw:
        """The draw that these decisions make. Values for decisions that are not active are left out.

        Raises:
            InputError: an active decision has no value, or one outside its domain.
        """

        return self.walk(_recorded(decisions), masked=False)

    def seen(self, decisions: Mapping[str, int | float]) -> Any:
        """The architecture that these decisions make, as ``replay`` has it, to be looked at only: its parts are the
        space's own. None for a space without one.

        Raises:
            InputError: as ``replay``.
        """
        walk = Walk(_recorded(decisions), shared=True)
        return None if self.architecture is None else self.architecture.value(walk)

    def prior(self, rng: random.Random) -> Draw:
        """One draw from the prior, under masks. It may violate a constraint; ``sample`` draws again then."""
        return self.walk(lambda decision: draw_prior(decision, rng))

    def walk_many(self, count: int, choose: ChooseMany) -> Batch:
        """The decisions of ``count`` draws at once, under masks (see batch.py); ``choose`` is asked for many values."""
        from nas.space.batch import walk_many  # numpy, which most commands do without

        return walk_many(self._roots, count, choose, self._masks)

    def prior_many(self, count: int, rng: np.random.Generator) -> Batch:
        """The decisions of many draws from the prior, under masks; as those of ``prior``, they may violate."""
        from nas.space.batch import choose_prior

        return self.walk_many(count, choose_prior(rng))

    def sample(self, rng: random.Random) -> Draw:
        """One draw from the prior that satisfies the constraints.

        Raises:
            InputError: 1,000 draws in a row did not; the constraint to blame is named.
        """
        from nas.space.blame import blame

        rejected: list[Draw] = []
        for _ in range(REDRAWS + 1):
            draw = self.prior(rng)
            if not draw.violated:
                return draw
            rejected.append(draw)
        raise InputError(blame(self, rejected, f"{len(rejected):,} draws in a row violate a constraint"))

    def count(self) -> Count:
        """How many assignments of decisions there are, constraints aside."""
        return count(self._roots)


def _recorded(decisions: Mapping[str, int | float]) -> Choose:
    """Each active decision has the value recorded for it."""

    def value(decision: Decision) -> int | float:
        try:
            return decision.accept(decisions[decision.path])
        except KeyError:
            raise InputError(f"the decision '{decision.path}' is active and has no value") from None
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from None

    return value
