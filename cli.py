"""The command line from a checkout: `python cli.py search configs/digits.yaml`. Two lines on nas.cli."""

from nas.cli import main

if __name__ == "__main__":
    main()
