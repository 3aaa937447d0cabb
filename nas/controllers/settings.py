"""What a person may set of each controller: small frozen models, read without importing torch or optuna.

Left out: anything that would only be turned to make a default work. The defaults are meant to be left alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RandomSettings(BaseModel):
    """Draws from the space's prior, each on its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str] = "random"


class EvolutionSettings(BaseModel):
    """Regularized evolution. The paper's 100 and 25 are for 20,000 trials; these are for hundreds (docs/log.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str] = "evolution"

    population: int = Field(default=20, ge=2, description="how many of the last told trials are alive")
    sample: int | None = Field(
        default=None, ge=1, description="how many of them each tournament draws; the population, if not given"
    )

    @model_validator(mode="after")
    def _tournament_fits(self) -> EvolutionSettings:
        if self.sample is not None and self.sample > self.population:
            raise ValueError(f"sample ({self.sample}) must be at most population ({self.population})")
        return self


class OptunaSettings(BaseModel):
    """Any Optuna sampler by name; every other key goes to its constructor (checked in controllers.optuna)."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: ClassVar[str] = "optuna"

    sampler: str = Field(default="tpe", description="a class of optuna.samplers, e.g. tpe, gp, cmaes, nsgaii, qmc")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class RLSettings(BaseModel):
    """The learned policy. See controllers.rl for what each term does and where it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str] = "rl"

    hidden: int = Field(default=32, ge=4, le=1024, description="width of the LSTM")
    learning_rate: float = Field(default=0.02, gt=0, le=1)
    warmup: int = Field(default=4, ge=1, description="trials told before the first update")
    update_every: int = Field(default=4, ge=1, description="trials told between updates")
    steps: int = Field(default=4, ge=0, description="gradient steps of one update; 0: the policy stays the prior")
    pool: int = Field(default=128, ge=0, description="draws that the reward model looks at each time; 0: there is none")
    window: int = Field(default=32, ge=1, description="trials last told that the policy gradient looks at")
    clip: float = Field(default=0.2, gt=0, lt=1, description="trust region of the probability ratio")
    elite: int = Field(default=6, ge=0, description="best trials that are replayed")
    replay_weight: float = Field(default=1.0, ge=0, description="of the replayed trials' log-likelihood")
    edits: float = Field(default=0.8, ge=0, le=1, description="share of proposals that edit one of the best trials")
    floor: float = Field(default=1.0, ge=0, description="decisions of a proposal that the prior draws, on average")


class AuditSettings(BaseModel):
    """No controller of a search: it is what the journal of an audit has for one (see nas/audit.py)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str] = "audit"

    run: str = Field(description="the id of the run that is audited")


Settings = RandomSettings | EvolutionSettings | OptunaSettings | RLSettings | AuditSettings
