"""pcn-api: Polycube's REST API over documents, plans and applies. A separate process; nothing depends on it."""
