"""`relaypost demo`."""

import click


@click.command()
def demo() -> None:
    """Show two failovers."""
