"""What each subcommand of `headstart` does. A module imports what it needs when it is called."""
