"""`nas submit`, `nas cancel`, and what `nas status` and `nas resume` have to do with a queue.

command.py      what they do: a run begun here, its jobs submitted, looked at, ended
controller.py   the program of the controller job
"""
