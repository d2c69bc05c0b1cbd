"""`python -m relaypost_server` is the same as `relaypost`."""

from relaypost_server.cli import main

if __name__ == "__main__":
    main()
