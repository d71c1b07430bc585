"""`python -m fanmail` is the `fanmail` command."""

from fanmail.cli.main import main

main()
