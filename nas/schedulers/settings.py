"""What a person may set of each scheduler: small frozen models, in the words of Ray Tune and Optuna.

A resource is a step that the objective reports; for the shipped trainer an epoch.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from nas.errors import InputError


class NoneSettings(BaseModel):
    """Every trial is trained to its end."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str] = "none"


class _Measured(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]

    min_resource: int = Field(default=1, ge=1, description="steps that every trial is trained")
    max_resource: int | None = Field(
        default=None, ge=2, description="steps of a whole training; the trainer's epochs, where they are known"
    )

    def whole(self, length: int | None) -> int:
        """Steps of a whole training. Raises InputError where it is not known, or shorter than ``min_resource``."""
        if length is not None and self.max_resource not in (None, length):
            raise InputError(f"max_resource is {self.max_resource}, and a training has {length} epochs: leave it out")
        whole = self.max_resource if length is None else length
        if whole is None:
            example = f'scheduler={{"{self.kind}": {{"max_resource": 27}}}}'
            raise InputError(
                f"{self.kind} must know how many steps a whole training reports, and of this objective nothing "
                f"says so; write {example}"
            )
        if self.min_resource >= whole:
            raise InputError(
                f"{self.kind}: min_resource is {self.min_resource}, and a whole training has {whole} steps; "
                "nothing is left to decide: take fewer, or scheduler none"
            )
        return whole


class AshaSettings(_Measured):
    """Asynchronous successive halving: rungs at min_resource times the powers of reduction_factor."""

    kind: ClassVar[str] = "asha"

    reduction_factor: int = Field(default=3, ge=2, description="one in so many of a rung goes on to the next")


class HyperbandSettings(_Measured):
    """Ladders of asynchronous successive halving that begin at each of its rungs; trials are shared out among them."""

    kind: ClassVar[str] = "hyperband"

    reduction_factor: int = Field(default=3, ge=2, description="one in so many of a rung goes on to the next")


class Watching(BaseModel):
    """Of those that look at reports, and compare what each says that a trial is worth (nas.reward.progress)."""

    kind: ClassVar[str]

    def require_one_objective(self, objectives: int) -> None:
        """Raises InputError where there are several."""
        if objectives > 1:
            raise InputError(
                f"{self.kind} compares trials by one number, and the reward has {objectives} objectives: take asha or "
                "hyperband, which promote by non-dominated rank, or one objective with limits on the others"
            )


class MedianSettings(Watching):
    """The median stopping rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str] = "median"

    min_resource: int = Field(default=1, ge=1, description="steps that every trial is trained")
    min_trials: int = Field(default=5, ge=1, description="trials that have ended before one is stopped")


class ExtrapolateSettings(_Measured, Watching):
    """Stops what will hardly beat the best, by its learning curve and those of the run."""

    kind: ClassVar[str] = "extrapolate"

    min_resource: int = Field(default=3, ge=3, description="steps that every trial is trained")
    min_trials: int = Field(default=5, ge=2, description="trials trained to their end before one is stopped")
    probability: float = Field(
        default=0.05, gt=0, lt=1, description="of becoming the best, below which a trial is stopped"
    )


def whole_length(settings: Settings, epochs: int | None) -> int | None:
    """Steps of a whole training: those known, else what the settings say; None where nothing does."""
    return settings.max_resource if epochs is None and isinstance(settings, _Measured) else epochs


Settings = NoneSettings | AshaSettings | HyperbandSettings | MedianSettings | ExtrapolateSettings
