"""``python -m nas``: the command without its script on the path."""

from nas.cli import main

if __name__ == "__main__":
    main()
