"""`python -m src`: Python requires this name. The commands are in `cli`."""

from src.cli import app

if __name__ == "__main__":  # pragma: no branch — Python only ever runs this file
    app(prog_name="python -m src")
