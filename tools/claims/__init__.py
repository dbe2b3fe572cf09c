"""The tutorials' claims, measured: `make claims` writes docs/claims.json and docs/claims.md."""
