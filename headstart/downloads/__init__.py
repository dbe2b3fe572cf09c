"""Files from the web: one streaming client, and files that resume where they stopped."""
