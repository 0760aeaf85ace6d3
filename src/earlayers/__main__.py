"""`python -m earlayers`, and the command `earlayers`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; Ctrl-C is no error of Python, not even while the command line itself is imported.

    Returns:
        The exit status, see `cli.main`.
    """
    try:
        from earlayers import cli

        return cli.main()
    except KeyboardInterrupt:
        print("earlayers: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
