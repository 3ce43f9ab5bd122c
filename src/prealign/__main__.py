"""Entry point of `python -m prealign`, the form that torchrun uses."""

from prealign.cli.main import main

if __name__ == "__main__":
    main()
