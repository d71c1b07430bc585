"""The `fanmail-server` command of the installed package, which starts the programs behind `bin/`."""
