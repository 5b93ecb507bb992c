"""Run dnf as its command does, but only print what it would install, a NEVRA a line: rpmpeer_dnf.py WORD…

For /usr/bin/python3, which has dnf.
"""

import sys


def main() -> int:
    from dnf.cli import main as dnf_main  # type: ignore[import-not-found,unused-ignore]
    from dnf.cli.cli import BaseCli  # type: ignore[import-not-found,unused-ignore]

    def do_transaction(self: "BaseCli", display: object = ()) -> int:
        for item in sorted(self.transaction.install_set, key=str):
            epoch = f"{item.epoch}:" if item.epoch else ""
            print(f"NEVRA {item.name}-{epoch}{item.version}-{item.release}.{item.arch}")
        return 0

    BaseCli.do_transaction = do_transaction
    return int(dnf_main.main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
