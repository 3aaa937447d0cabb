"""JSON Schemas (draft 2020-12) of a config and of a space, for completion and marks in an editor.

    config_schema()    from the settings classes, with the friendly forms that they also read: `controller: rl`, `10m`
    space_schema()     from the words of the language and the settings of the layers

A schema sees one value and what it holds. What needs more than that (names that are defined, ranges that are the wrong
way round, candidates that cannot be built) is for `nas space check`. What nas takes, the schemas accept,
with one exception that is meant: hyperparameters that bear the trainer's names (batch_size, optimizer, learning_rate,
weight_decay) are looked at as the trainer does, though an objective of one's own may give them other values.
"""

from nas.schema.config import config_schema
from nas.schema.space import space_schema

__all__ = ["config_schema", "space_schema"]
