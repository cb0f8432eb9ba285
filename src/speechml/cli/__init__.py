"""What people type: `speechml` and its commands, and what the Hydra apps share."""


def app() -> None:
    """Entry point of `speechml`."""
    from speechml.cli.main import app as run  # Typer, which the Hydra apps do without

    run()
