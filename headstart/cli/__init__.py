"""The subcommands of `headstart`. A command imports heavy modules only when it runs."""
