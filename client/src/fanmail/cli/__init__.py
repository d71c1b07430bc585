"""The `fanmail` command: one module per group of subcommands, all of which `main` combines."""
