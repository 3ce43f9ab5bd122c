"""`python -m prealign`, as torchrun calls it."""

from prealign.cli import main

if __name__ == "__main__":
    main()
