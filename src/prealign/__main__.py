"""`python -m prealign`, as torchrun calls it."""

from prealign.cli.main import main

if __name__ == "__main__":
    main()
