"""What this server is compared with: bare programs and other servers."""
