"""Starting servers, measuring them, private folders."""
