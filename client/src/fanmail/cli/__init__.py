"""The `fanmail` command: a file for each group of its subcommands, `main` with all of them."""
