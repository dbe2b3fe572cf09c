"""Untrusted archives: listed and checked completely before a member is read."""
