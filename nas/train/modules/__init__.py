"""The torch modules that layers build. Nothing else in nas/train/layers needs torch, so each layer imports its modules
in its ``build``: what an architecture is and costs is known a second and a half sooner than it can be trained.
"""
