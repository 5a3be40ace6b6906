"""The `tallylight` command."""


def main() -> None:
    from gateway.cli import tallylight

    tallylight()


if __name__ == "__main__":
    main()
