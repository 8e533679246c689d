"""pcn-api: Polycube's REST API over documents, plans and applies. A process of its own, whose end harms nothing."""
