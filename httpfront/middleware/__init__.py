"""What every request passes: host and origin checks, API keys and rights, request ids, problem documents."""
