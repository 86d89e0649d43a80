"""`python -m tongwen`: the same as `tongwen`, where the script is not on the path."""

from tongwen.cli.main import main

if __name__ == "__main__":
    main()
