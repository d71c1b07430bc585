"""The long column of the fault tests, by `bin/soak`."""
