"""In which numbers to train: asked for, or chosen for a device and a network, and returned together with the reason.

policy      what a precision does to a network and its training
devices     which of them a device has
choice      from what was asked for to the policy, with its reason and whatever was used instead
probe       a few timed steps of the network itself, where a rule leaves doubt
scaling     fp16's loss scaling
float8      linear layers in fp8
"""

from nas.train.precision.choice import Work, choose, recorded
from nas.train.precision.policy import Precision
from nas.train.precision.scaling import LossScaling

__all__ = ["LossScaling", "Precision", "Work", "choose", "recorded"]
